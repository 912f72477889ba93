"""The nouns. Everything else in the library makes, trains or measures one of these."""

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
    """Turns images into a pyramid of feature maps, shallow to deep.

    Attributes:
        channels: of each map.
        strides: image pixels per step of each map.
        patch: of a plain transformer, the side in pixels of the patches that its tokens stand for; 0: it has no tokens.
        width: of a token, if it has any.
        prefix: number of tokens before those of the patches (class and register tokens), if it has any.
    """

    channels: Sequence[int]
    strides: Sequence[int]
    patch: int = 0
    width: int
    prefix: int

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised images -> one (B, channels[i], H / strides[i], ...) per level."""
        raise NotImplementedError

    @property
    def side_multiple(self) -> int:
        """What sides of images must be multiples of: a transformer's patch. Small crops are cut so; see `View.side`."""
        return max(1, self.patch)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patches down and across an image of this size; they are numbered row by row."""
        return height // self.patch, width // self.patch

    def tokens(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, prefix + N, width) tokens behind the last norm.

        Args:
            images: their sides are multiples of `patch`.
            keep: (B, K) int64 numbers of patches; only these are computed, in this order, so N = K. A patch
                that is not kept has no influence on any token.
            hide: (B, N) bool; these patches are replaced by `mask_token` once embedded, before their position
                is added.
            mask_token: (width,), a parameter of the method.

        Raises:
            UsageError: the backbone has no tokens, or the images have another size.
        """
        raise UsageError(
            f"{type(self).__name__} has no tokens", next="a plain transformer: vit_small_patch16_224"
        )

    def summary(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, channels[-1]), one vector for each image.

        The mean of the deepest map over space, unless the network has a better one: a transformer's class token.
        Methods that compare images train it, and `probe_knn`, `evaluate` and `embed` measure it.
        """
        return self(images)[-1].mean(dim=(2, 3))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Turns the pyramid into logits.

    Attributes:
        pools: whether it looks at nothing but the mean of the deepest map over space. Then a
            (B, C, 1, 1) map of pooled features gives the same logits, and those of a frozen backbone
            need to be computed only once.
    """

    pools: bool = False

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Feature maps -> (B, classes) or (B, classes, *size) logits."""
        raise NotImplementedError


class Model(nn.Module):
    """A backbone with a head on it.

    Args:
        backbone, head: the parts.
        excluded: class indices that are never predicted. They are not trained, so what the head says of
            them means nothing: their logits are minus infinity, in training as afterwards.
    """

    excluded: Tensor

    def __init__(self, backbone: Backbone, head: Head, *, excluded: Sequence[int] = ()) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("excluded", torch.tensor(list(excluded), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, classes) or (B, classes, H, W) logits."""
        logits: Tensor = self.head(self.backbone(images), (images.shape[-2], images.shape[-1]))
        return self.without_excluded(logits)

    def without_excluded(self, logits: Tensor) -> Tensor:
        """The head's (B, classes, ...) logits, minus infinity for the excluded classes."""
        return logits.index_fill(1, self.excluded, -torch.inf) if len(self.excluded) else logits


class SSLMethod(nn.Module):
    """A way to train a backbone without labels.

    A factory takes the backbone and keyword-only options. One `training_step` does every forward
    pass, so the module can be wrapped once for several GPUs. A target network has
    `requires_grad=False`, shares no storage with the online one, and moves only in `after_step`.

    Attributes:
        backbone: what is kept.
        views: the recipe of each view that `training_step` wants.
        recipe: the run options that suit the method and hold where the user gives none: `optimizer`; `lr`
            and `lr_end` for a batch of 256, `weight_decay`, `weight_decay_end`, `momentum` and `betas` of
            that optimizer; `warmup`, `schedule` and `clip`. What differs with another optimizer stands in a
            table of its name: `"lars": {"lr": 0.2}`. Where an optimizer has no rate, `--lr` has to be given.
            `lr` grows with the batch for SGD and LARS alone, unless `lr_scaling` is `linear` or `none`.
        paper: the published options and recipe, which `-o ssl.recipe=paper` takes.
        param_groups: parameters that are trained otherwise than the rest.
        family: of ideas, as `contrastive`; `ssl-seg list ssl` shows it.
        network: what it can train: `convnet` alone, `transformer` if it needs tokens (`Backbone.patch`), or `any`.
        needs_labels: it trains on the classes of the images, `views.targets`.
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
        """One (B, 3, H, W) tensor per view -> numbers.

        `loss` is stepped on. `embedding`, if present, is a (B, D) tensor that the collapse alarm
        watches. Every other entry is a scalar and is logged.
        """
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after `optimizer.step()`; `progress` in (0, 1] is the finished part of the run."""

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        return self.training_step(views)


class Metric:
    """A number that is summed over batches, with torchmetrics' verbs."""

    def reset(self) -> None:
        """Forget everything."""
        raise NotImplementedError

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in one batch."""
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """The numbers by name, over everything since `reset`."""
        raise NotImplementedError


class Dataset:
    """A list of images with labels.

    Attributes:
        classes: names; empty when there are no labels.
        samples: (path, target) pairs; the target is a class index, or -1 without labels.
        masks: whether there is a class for every pixel.
    """

    masks: bool = False
    classes: Sequence[str]
    samples: Sequence[tuple[str, int]]

    def __len__(self) -> int:
        return len(self.samples)

    def origin(self, index: int) -> str:
        """Where a sample is named, for people: its path, or a file and a line in it."""
        return self.samples[index][0]

    def file(self, index: int) -> str:
        """The file of a sample as a path that can be opened, if it is one; else its name."""
        return self.samples[index][0]

    def identity(self, index: int) -> str:
        """Text that changes whenever the image does; the store is keyed by it."""
        raise NotImplementedError

    def size(self, index: int) -> tuple[int, int]:
        """The true height and width of an image.

        Raises:
            ValueError: it cannot be read; the text says why.
        """
        return self.image(index, 32)[1]

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """The (h, w, 3) image, reduced to fit a square of side `canvas`, and its true (h, w).

        Raises:
            ValueError: it cannot be read; the text says why.
        """
        raise NotImplementedError

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        """The class of every pixel of what `image` gives: (h, w), `IGNORE_INDEX` where there is none.

        Raises:
            ValueError: it cannot be read, or does not fit the image; the text says why.
        """
        raise NotImplementedError
