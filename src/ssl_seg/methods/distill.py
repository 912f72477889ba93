"""Feature distillation from a frozen network (Wei et al. 2022, arXiv:2205.14141)."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import View
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import in_chans_of
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe

_BETA = 2.0  # the paper's: errors below it are squared


@full_precision
def feature_loss(student: Tensor, teacher: Tensor, loss: Literal["smooth_l1", "cosine"]) -> Tensor:
    """How far features are from those of the teacher: a mean over images and cells.

    `smooth_l1` is the paper's: the teacher's features are normalised to mean 0 and variance 1 over the channels, a
    layer norm without parameters. `cosine` is 1 - cos, in [0, 2].

    Args:
        student, teacher: (B, C, H, W).
    """
    if loss == "cosine":
        return (1.0 - F.cosine_similarity(student, teacher, dim=1)).mean()
    whitened = F.layer_norm(teacher.movedim(1, -1), teacher.shape[1:2]).movedim(-1, 1)
    return F.smooth_l1_loss(student, whitened, beta=_BETA)


def pooled_to(maps: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *grid): means over equal areas, as matrix products, whose gradients are deterministic."""
    for dim, size in zip((2, 3), grid, strict=True):
        if size != maps.shape[dim]:
            shares = F.adaptive_avg_pool1d(torch.eye(maps.shape[dim], device=maps.device)[None], size)[0]
            maps = torch.tensordot(maps, shares.to(maps.dtype), ([dim], [0])).movedim(-1, dim)
    return maps


class Distill(SSLMethod):
    """Predict the features of a frozen teacher, of any architecture, from the same view with one linear layer.

    The teacher sees each view at the size and with the normalization of its own training. Where the two maps differ in
    size, the finer one is averaged to the coarser. The class token of a transformer is trained by `match=summary` alone.

    Args:
        backbone: trained and kept.
        teacher: whose features are predicted: a run, a weight file or a name, as for `--init`. Checkpoints do not
            contain it.
        teacher_size: side in pixels at which the teacher sees a view; default: that of its training.
        loss: `smooth_l1` on normalized features, as in the paper, or `cosine`.
        match: what is predicted: each cell of the deepest `map`, or the `summary` of the image.
    """

    views = (View(jitter_p=0.0, gray_p=0.0),)
    family = "distillation"
    loss_over = "image"
    recipe: ClassVar = ADAMW_RECIPE
    paper = PaperRecipe(
        options={},
        recipe={
            "optimizer": "adamw",
            "lr": 1.5e-4,
            "lr_end": 2.5e-6,
            "lr_scaling": "linear",
            "weight_decay": 0.05,
            "warmup": 10 / 300,
            "clip": 3.0,
        },
        epochs=300,
        batch_size=2048,
    )
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        teacher: str = "",
        teacher_size: int | None = None,
        loss: Literal["smooth_l1", "cosine"] = "smooth_l1",
        match: Literal["map", "summary"] = "map",
    ) -> None:
        super().__init__()
        self.backbone, self.teacher_name, self.teacher_size = backbone, teacher, teacher_size
        self.loss, self.match = loss, match
        self._outside: list[Backbone] = []
        self.register_buffer("scale", torch.ones(in_chans_of(backbone), 1, 1), persistent=False)
        self.register_buffer("shift", torch.zeros(in_chans_of(backbone), 1, 1), persistent=False)
        if not teacher:  # the network as it is now, which is found nowhere else
            self.start = copy.deepcopy(backbone)
            self._prepare(self.start)

    def use_teacher(
        self,
        network: Backbone,
        *,
        size: int | None = None,
        normalization: Mapping[str, Sequence[float]] | None = None,
        of_views: Mapping[str, Sequence[float]] | None = None,
    ) -> Self:
        """Learn from a network; to be called before training, and again before a run is resumed.

        Args:
            network: the teacher; changed in place: frozen, in evaluation mode.
            size: side in pixels at which it sees a view, unless the option `teacher_size` says so; None: the view's.
            normalization, of_views: `mean` and `std` with which it was trained, and those of the views; None: equal.
        """
        self._modules.pop("start", None)
        self._outside = [network]
        self.teacher_size = self.teacher_size or size
        if normalization is not None and of_views is not None:
            (mean, std), (own_mean, own_std) = (
                [torch.tensor(each[name])[:, None, None] for name in ("mean", "std")]
                for each in (normalization, of_views)
            )
            self.scale, self.shift = own_std / std, (own_mean - mean) / std
        self._prepare(network)
        return self

    def _prepare(self, teacher: Backbone) -> None:
        teacher.requires_grad_(False).eval()
        self.projection = nn.Conv2d(self.backbone.channels[-1], teacher.channels[-1], 1)

    @property
    def teacher(self) -> Backbone:
        """The frozen network.

        Raises:
            UsageError: `use_teacher` has not been called.
        """
        if self._outside:
            return self._outside[0]
        if "start" not in self._modules:
            raise UsageError(
                f"the teacher {self.teacher_name!r} is not loaded", next="method.use_teacher(network)"
            )
        return self.start

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but the teacher."""
        super().train(mode)
        if "start" in self._modules:
            self.start.eval()
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move the teacher along to a device or a type, though it is no part of the state."""
        for network in self._outside:
            network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        (images,) = views
        teacher = self.teacher
        with torch.no_grad():
            target = self._features(teacher, self._as_teacher_sees(images, teacher.side_multiple))
        features = self._features(self.backbone, images)
        grid = [min(sides) for sides in zip(features.shape[2:], target.shape[2:], strict=True)]
        predicted = self.projection(pooled_to(features, grid))
        loss = feature_loss(predicted, pooled_to(target, grid), self.loss)
        return {"loss": loss, "embedding": predicted.mean(dim=(2, 3))}

    def _features(self, network: Backbone, images: Tensor) -> Tensor:
        """(B, C, H, W)."""
        if self.match == "summary":
            return network.summary(images)[:, :, None, None]
        deepest: Tensor = network(images)[-1]
        return deepest

    def _as_teacher_sees(self, images: Tensor, multiple: int) -> Tensor:
        """The views with the teacher's normalization, at its size."""
        side = self.teacher_size or images.shape[-1]
        side = multiple * max(1, round(side / multiple))
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return images * self.scale + self.shift


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"distill": Distill}
