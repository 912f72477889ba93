"""What is exported, and what is said of it afterwards."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
from ssl_seg.base import Backbone, Head, Model
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.nn.layers import global_pool
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.load import excluded_in


@dataclass(frozen=True)
class Subject:
    """A backbone with its weights, with or without a head, on the CPU. Both are set to evaluation mode.

    Attributes:
        size: side of the images it was trained on, in pixels.
        mean, std: of the normalisation, for channels in [0, 1].
        classes: names, in the order of the logits; empty without a head.
        about: what else its file says: `backbone`, `options`, `task`, `colours`, ...
    """

    backbone: Backbone
    head: Head | None = None
    size: int = 224
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    classes: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backbone.eval()
        if self.head is not None:
            self.head.eval()

    @property
    def model(self) -> Model | None:
        """Backbone and head, if there is a head."""
        if self.head is None:
            return None
        return Model(self.backbone, self.head, excluded=self.excluded).eval()

    @property
    def excluded(self) -> list[int]:
        """Indices of the classes that are never predicted."""
        return excluded_in({**self.about, "classes": self.classes})

    @property
    def timm_call(self) -> tuple[str, dict[str, Any]] | None:
        """The name and the arguments with which timm makes the backbone's network, if it has it."""
        return getattr(self.backbone, "timm_call", None)

    @property
    def header(self) -> dict[str, Any]:
        """What a backbone's file says of it, so that `--init` knows."""
        known = {key: self.about[key] for key in ("backbone", "options", "trained_by") if key in self.about}
        known[MARK] = untrained_in(self.backbone)
        return known | {"image_size": self.size, "mean": list(self.mean), "std": list(self.std)}

    def images(self, count: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        """(count, 3, H, W) random images for a comparison, always the same; H and W as in training."""
        shape = size or (self.size, self.size)
        return torch.randn(count, 3, *shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def pooled(self, images: Tensor) -> Tensor:
        """(B, C) features, as `embed` gives them."""
        return global_pool(self.backbone(images))


@torch.no_grad()
def affine(head: Head, channels: int) -> tuple[Tensor, Tensor] | None:
    """A head on pooled features as one matrix and one bias, if that is what it is in evaluation mode.

    A normalisation without or with parameters is folded in.

    Args:
        head: is asked what it makes of zeros, of unit vectors, and of random features.
        channels: C, of the deepest map.

    Returns:
        (classes, C) and (classes,) float32, or None.
    """
    if not head.pools:
        return None
    head = copy.deepcopy(head).double().eval()

    def ask(features: Tensor) -> Tensor:
        logits: Tensor = head([features[:, :, None, None]], (1, 1))
        return logits

    bias = ask(torch.zeros(1, channels, dtype=torch.float64))
    weight = (ask(torch.eye(channels, dtype=torch.float64)) - bias).T
    random = torch.randn(16, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    said = ask(10 * random)
    if difference(10 * random @ weight.T + bias, said) > 1e-9:
        return None
    return weight.float().contiguous(), bias[0].float().contiguous()


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest number of the second; infinities must be the same."""
    finite = other.isfinite()
    if one.shape != other.shape or not torch.equal(one[~finite], other[~finite]):
        return float("inf")
    one, other = one[finite], other[finite]
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))


def check(found: float, allowed: float, library: str) -> float:
    """Hold a difference against what is allowed.

    Raises:
        WeightsError: it is larger, or not a number.
    """
    if not found <= allowed:
        raise WeightsError(f"export aborted: outputs in {library} differ by {found:.1g}")
    return found


def cannot(library: str, why: str, next: str) -> UsageError:
    """What is said of a network that a library does not have."""
    return UsageError(f"--to {library}: {why}", next=next)


def last_child(network: nn.Module) -> str:
    """The name of the part that a network ends in: its classifier."""
    return [name for name, _ in network.named_children()][-1]
