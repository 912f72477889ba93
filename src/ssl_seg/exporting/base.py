"""The model to export, and the comparison of its outputs."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
from ssl_seg.base import Backbone, Head, Model
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.nn.layers import global_pool, in_chans_of
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.load import excluded_in


@dataclass(frozen=True)
class ExportModel:
    """A backbone with its weights, with or without a head, on the CPU. Both are set to evaluation mode.

    Attributes:
        image_size: side of the training images, in pixels.
        mean, std: of the normalization, for channels in [0, 1].
        classes: names, in the order of the logits; empty without a head.
        metadata: other entries of its file: `backbone`, `options`, `task`, `colours`, ...
    """

    backbone: Backbone
    head: Head | None = None
    image_size: int = 224
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    classes: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

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
        return excluded_in({**self.metadata, "classes": self.classes})

    @property
    def timm_call(self) -> tuple[str, dict[str, Any]] | None:
        """Name and arguments of the timm network of the backbone; None if it is not from timm."""
        return getattr(self.backbone, "timm_call", None)

    @property
    def safetensors_metadata(self) -> dict[str, Any]:
        """The metadata of a backbone file, which `--init` reads."""
        keys = ("backbone", "options", "trained_by", "range", "bands")
        known = {key: self.metadata[key] for key in keys if key in self.metadata}
        known[MARK] = untrained_in(self.backbone)
        return known | {"image_size": self.image_size, "mean": list(self.mean), "std": list(self.std)}

    def sample_images(self, count: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        """Return (count, C, H, W) fixed random images for a comparison, by default of the training size."""
        shape = size or (self.image_size, self.image_size)
        channels = in_chans_of(self.backbone)
        return torch.randn(count, channels, *shape, generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def pooled_features(self, images: Tensor) -> Tensor:
        """Return (B, C) means of the deepest map."""
        return global_pool(self.backbone(images))


@torch.no_grad()
def as_linear(head: Head, channels: int) -> tuple[Tensor, Tensor] | None:
    """Return a head on pooled features as weight and bias, if it is affine in evaluation mode.

    A normalization layer is folded in.

    Args:
        head: evaluated on zeros, unit vectors and random features.
        channels: C, of the deepest map.

    Returns:
        (classes, C) and (classes,) float32, or None.
    """
    if not head.pools:
        return None
    head = copy.deepcopy(head).double().eval()

    def logits_of(features: Tensor) -> Tensor:
        logits: Tensor = head([features[:, :, None, None]], (1, 1))
        return logits

    bias = logits_of(torch.zeros(1, channels, dtype=torch.float64))
    weight = (logits_of(torch.eye(channels, dtype=torch.float64)) - bias).T
    random = torch.randn(16, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if difference(10 * random @ weight.T + bias, logits_of(10 * random)) > 1e-9:
        return None
    return weight.float().contiguous(), bias[0].float().contiguous()


def difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value of the second; infinities must be equal."""
    finite = other.isfinite()
    if one.shape != other.shape or not torch.equal(one[~finite], other[~finite]):
        return float("inf")
    one, other = one[finite], other[finite]
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))


def check_difference(value: float, tolerance: float, library: str) -> float:
    """Return a difference that is within tolerance.

    Raises:
        WeightsError: it is larger, or NaN.
    """
    if not value <= tolerance:
        raise WeightsError(f"export aborted: outputs in {library} differ by {value:.1g}")
    return value


def unsupported(library: str, reason: str, next: str) -> UsageError:
    """Return the error for a network that a library does not have."""
    return UsageError(f"--to {library}: {reason}", next=next)


def last_child(network: nn.Module) -> str:
    """Return the name of the last child module of a network: its classifier."""
    return [name for name, _ in network.named_children()][-1]
