"""Base classes of backbones, heads, methods, metrics and datasets."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_seg.augment.recipes import View
from ssl_seg.errors import UsageError
from ssl_seg.utils.training_recipe import ADAMW_RECIPE as ADAMW_RECIPE  # noqa: PLC0414
from ssl_seg.utils.training_recipe import PaperRecipe as PaperRecipe  # noqa: PLC0414
from ssl_seg.utils.training_recipe import ParamGroup as ParamGroup  # noqa: PLC0414

IGNORE_INDEX = 255  # in a mask: a pixel without a class
IGNORE = IGNORE_INDEX  # deprecated: the name in version 0.1.0, which plugins import


class Backbone(nn.Module):
    """A network that computes a pyramid of feature maps, shallow to deep.

    Attributes:
        in_chans: channels of the images.
        channels: channels of each map.
        strides: stride of each map, in image pixels.
        patch: patch size of a plain transformer, in pixels; 0: the backbone has no tokens.
        width: width of a token, if there are tokens.
        prefix: number of class and register tokens before the patch tokens.
    """

    in_chans: int = 3
    channels: Sequence[int]
    strides: Sequence[int]
    patch: int = 0
    width: int
    prefix: int

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, in_chans, H, W) normalized images -> one (B, channels[i], H / strides[i], ...) per level."""
        raise NotImplementedError

    @property
    def side_multiple(self) -> int:
        """Image sides must be multiples of it: `patch`, or 1. Small crops are rounded to it; see `View.side`."""
        return max(1, self.patch)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Number of patch rows and columns of an image; patches are numbered row by row."""
        return height // self.patch, width // self.patch

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """(B, in_chans, H, W) normalized images -> (B, prefix + N, width) tokens after the last norm.

        Args:
            images: sides must be multiples of `patch`.
            keep: (B, K) int64 patch indices; only these are computed, in this order, so N = K. Other patches have
                no influence on any token.
            hide: (B, N) bool; the embeddings of these patches are replaced by `mask_token`, before the position
                embedding is added.
            mask_token: (width,), a parameter of the method.

        Raises:
            UsageError: the backbone has no tokens, or the images have another size.
        """
        raise UsageError(
            f"{type(self).__name__} has no tokens", next="a plain transformer: vit_small_patch16_224"
        )

    def summary(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) normalized images -> (B, channels[-1]), one vector per image.

        By default the spatial mean of the deepest map; of a timm transformer the class token. Methods that compare
        images train it; `probe_knn`, `evaluate` and `embed` use it.
        """
        return self(images)[-1].mean(dim=(2, 3))  # type: ignore[no-any-return]


class Head(nn.Module):
    """A network that computes logits from the feature maps.

    Attributes:
        pools: the head uses only the spatial mean of the deepest map. A (B, C, 1, 1) map of pooled features
            then gives the same logits, and features of a frozen backbone are computed only once.
    """

    pools: bool = False

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes) or (B, classes, *size) logits."""
        raise NotImplementedError


class Model(nn.Module):
    """A backbone with a head.

    Args:
        backbone, head: the two networks.
        excluded: class indices that are neither trained nor predicted: their logits are minus infinity.
    """

    excluded: Tensor

    def __init__(self, backbone: Backbone, head: Head, *, excluded: Sequence[int] = ()) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("excluded", torch.tensor(list(excluded), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, in_chans, H, W) normalized images -> (B, classes) or (B, classes, H, W) logits."""
        logits: Tensor = self.head(self.backbone(images), (images.shape[-2], images.shape[-1]))
        return self.without_excluded(logits)

    def without_excluded(self, logits: Tensor) -> Tensor:
        """Set the (B, classes, ...) logits of the excluded classes to minus infinity."""
        return logits.index_fill(1, self.excluded, -torch.inf) if len(self.excluded) else logits


class SSLMethod(nn.Module):
    """A self-supervised training method of a backbone.

    A factory accepts the backbone and keyword-only options. One `training_step` runs all forward
    passes, so the module can be wrapped once for several GPUs. A target network has
    `requires_grad=False`, shares no storage with the online network, and moves only in `after_step`.

    Attributes:
        backbone: the trained and exported network.
        views: the recipe of each view that `training_step` receives.
        recipe: default run options: `optimizer`; `lr` and `lr_end` for a batch of 256, `weight_decay`,
            `weight_decay_end`, `momentum` and `betas` of that optimizer; `warmup`, `schedule` and `clip`. Values of
            another optimizer are in a table with its name: `"lars": {"lr": 0.2}`. An optimizer without `lr`
            requires `--lr`. `lr` scales with the batch only for SGD and LARS, unless `lr_scaling` is
            `linear` or `none`.
        paper: the published options and recipe, selected by `-o ssl.recipe=paper`.
        param_groups: parameters with their own learning rate, freezing or weight decay.
        family: type of method, for example `contrastive`; shown by `ssl-seg list ssl`.
        network: supported backbones: `convnet`, `transformer` (needs tokens, `Backbone.patch`), or `any`.
        needs_labels: the method trains on the classes of the images, `views.targets`.
        loss_over: `image` if the loss is a mean over images of what each has on its own, `batch` if it
            compares images with each other; None: unknown. With `--accumulate` only the first is the same.
    """

    backbone: Backbone
    views: Sequence[View]
    param_groups: Sequence[ParamGroup] = ()
    family: ClassVar[str] = ""
    network: ClassVar[Literal["any", "convnet", "transformer"]] = "any"
    needs_labels: bool = False
    recipe: ClassVar[dict[str, Any]] = {}
    paper: ClassVar[PaperRecipe | None] = None
    loss_over: Literal["image", "batch"] | None = None

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        """One (B, 3, H, W) tensor per view -> loss and scores.

        `loss` is minimized. `embedding`, if present, is a (B, D) tensor for the collapse
        monitor. Every other entry is a scalar that is logged.
        """
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Update a target network; called after `optimizer.step()` with `progress` in (0, 1]."""

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        return self.training_step(views)


class Metric:
    """Scores accumulated over batches, with the interface of torchmetrics."""

    def reset(self) -> None:
        """Clear the state."""
        raise NotImplementedError

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add one batch."""
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """The scores by name, over all batches since `reset`."""
        raise NotImplementedError


class Dataset:
    """A list of images, optionally with labels or masks.

    Attributes:
        classes: class names; empty without labels.
        samples: (path, target) pairs; the target is a class index, or -1 without labels.
        masks: whether the images have masks.
        channels: of the images.
        bands: numbers of the bands that the channels are, from 1; empty for red, green and blue.
    """

    masks: bool = False
    channels: int = 3
    bands: Sequence[int] = ()
    classes: Sequence[str]
    samples: Sequence[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.samples)

    def origin(self, index: int) -> str:
        """Location of a sample for messages: its path, or a file and a line."""
        return self.samples[index][0]

    def file(self, index: int) -> str:
        """Path of the file of a sample, or its name if it is not a file."""
        return self.samples[index][0]

    def identity(self, index: int) -> str:
        """Text that changes whenever the image changes; key of the image cache."""
        raise NotImplementedError

    def size(self, index: int) -> tuple[int, int]:
        """Original height and width of an image.

        Raises:
            ValueError: it cannot be read; the message states the reason.
        """
        return self.image(index, 32)[1]

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The (h, w, channels) image, reduced to fit a square of side `canvas`, and its original (h, w).

        Raises:
            ValueError: it cannot be read; the message states the reason.
        """
        raise NotImplementedError

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """(h, w) class indices of the pixels of `image`, `IGNORE_INDEX` where unlabeled.

        Raises:
            ValueError: it cannot be read, or does not fit the image; the message states the reason.
        """
        raise NotImplementedError
