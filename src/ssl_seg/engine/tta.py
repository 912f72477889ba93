"""Test-time augmentation: the probabilities of a model, averaged over several views of an image."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

from ssl_seg.base import Model
from ssl_seg.errors import UsageError, did_you_mean

NAMES = ("flips", "scales")
SCALES = (0.75, 1.0, 1.25)


class Pass(NamedTuple):
    """One forward pass: the image at a scale, mirrored or not."""

    scale: float = 1.0
    flipped: bool = False


ONCE = (Pass(),)


def passes_of(text: str | None) -> tuple[Pass, ...]:
    """`flips,scales` -> every combination of `SCALES` with the image and its mirror image; `ONCE` of nothing.

    Raises:
        UsageError: another name.
    """
    names = [word.strip() for word in (text or "").split(",") if word.strip()]
    for name in names:
        if name not in NAMES:
            raise UsageError(
                f"no test-time augmentation {name!r}{did_you_mean(name, NAMES)}", next="--tta flips,scales"
            )
    scales = SCALES if "scales" in names else (1.0,)
    return tuple(
        Pass(scale, flipped) for scale in scales for flipped in (False, True)[: 1 + ("flips" in names)]
    )


class Averaged(nn.Module):
    """A model as a function from images to the logarithms of its mean probabilities over several passes.

    With one pass it gives the model's logits, divided by the temperature. `softmax` gives the probabilities of both.

    Args:
        model: images -> (B, C) or (B, C, H, W) logits.
        passes: see `passes_of`.
        temperature: what the logits are divided by.
    """

    def __init__(self, model: Model, passes: Sequence[Pass] = ONCE, temperature: float = 1.0) -> None:
        super().__init__()
        self.model, self.passes, self.temperature = model, tuple(passes), temperature

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalized images -> float32 logits."""
        if self.passes == ONCE:
            return self._logits(images)
        first, *others = self.passes
        probabilities = self._probabilities(images, first)
        for one in others:
            probabilities += self._probabilities(images, one)
        return (probabilities / len(self.passes)).log()

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images).float()
        return logits if self.temperature == 1.0 else logits / self.temperature

    def _probabilities(self, images: Tensor, one: Pass) -> Tensor:
        size = images.shape[-2:]
        if one.scale != 1.0:
            images = interpolate(images, self._scaled(size, one.scale), mode="bilinear", antialias=True)
        probabilities = self._logits(images.flip(-1) if one.flipped else images).softmax(dim=1)
        if probabilities.dim() == 2:
            return probabilities
        probabilities = probabilities.flip(-1) if one.flipped else probabilities
        return probabilities if one.scale == 1.0 else interpolate(probabilities, size, mode="bilinear")

    def _scaled(self, size: Sequence[int], scale: float) -> list[int]:
        """Sides at a scale, as the backbone takes them."""
        multiple = self.model.backbone.side_multiple
        return [max(1, int(side * scale / multiple + 0.5)) * multiple for side in size]
