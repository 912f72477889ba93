"""SparK: masked modelling for convolutional networks (Tian et al. 2023, arXiv:2301.03580)."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import MASKED_VIEW
from ssl_seg.augment.view_list import require_views
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import in_chans_of
from ssl_seg.nn.patches import (
    check_mask,
    hidden_patch_error,
    normalize_patches,
    patchify,
    visible_patches,
)
from ssl_seg.nn.visible_cells import VisibleCells
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def reconstruction_loss(predictions: Tensor, patches: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error of hidden patches, whose pixels are normalised patch by patch.

    Args:
        predictions, patches: (B, N, D); the second hold the image's own pixels.
        hidden: (B, N) bool.
    """
    return hidden_patch_error(predictions, normalize_patches(patches), hidden)


class Densify(nn.Module):
    """Fill the hidden cells of a map with a learnt vector, and project it to the decoder's width.

    Args:
        channels, width: before and after.
        kernel: side of the projection.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.token = nn.Parameter(torch.zeros(channels))  # one dimension: it does not decay
        nn.init.trunc_normal_(self.token, std=0.02)
        self.project = nn.Conv2d(channels, width, kernel, padding=kernel // 2)

    def forward(self, maps: Tensor, cells: VisibleCells) -> Tensor:
        """(B, channels, h, w) -> (B, width, h, w)."""
        with cells:
            normed = self.norm(maps)
        token = self.token.to(normed.dtype)[:, None, None]
        projected: Tensor = self.project(torch.where(cells.hidden(maps), token, normed))
        return projected


def up_block(channels: int, width: int) -> nn.Sequential:
    """(B, channels, h, w) -> (B, width, 2h, 2w), a step of the U-Net's decoder."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


class SparK(SSLMethod):
    """Reconstruct masked patches with a light decoder; a convolutional network processes only visible patches.

    A patch is as large as a cell of the deepest map. The backbone computes visible patches only, as a sparse
    convolution does, and is exported unchanged. Images need several patches: with a ResNet at least 128 px, or
    `backbone.output_stride=8`.

    Args:
        backbone: trained and kept: a convolutional network.
        mask: fraction of masked patches.
        width: channels of the decoder at the deepest map, halved at each level; 768 in the paper.

    Raises:
        UsageError: the backbone is no convolutional network; in a step, an image has fewer than four patches.
    """

    views = (MASKED_VIEW,)
    family = "masked"
    network = "convnet"
    loss_over = "image"
    recipe: ClassVar = {**ADAMW_RECIPE, "weight_decay": 0.04}
    paper = PaperRecipe(
        options={"width": 768},
        recipe={
            "optimizer": "adamw",  # the paper's is LAMB
            "lr": 2e-4,
            "lr_end": 2e-7,
            "lr_scaling": "linear",
            "weight_decay": 0.04,
            "weight_decay_end": 0.2,
            "betas": (0.9, 0.95),
            "warmup": 40 / 1600,
            "clip": 5.0,
        },
        epochs=1600,
        batch_size=4096,
    )

    def __init__(self, backbone: Backbone, *, mask: float = 0.6, width: int = 256) -> None:
        super().__init__()
        self.backbone, self.mask, self.patch = backbone, check_mask(mask), backbone.strides[-1]
        _check(backbone, self.patch)
        steps = self.patch.bit_length() - 1
        # of maps of one size the deepest is taken
        self.levels = {stride: level for level, stride in enumerate(backbone.strides)}
        widths = [max(8, width >> step) for step in range(steps + 1)]
        self.densify = nn.ModuleDict(
            {
                str(stride): Densify(
                    backbone.channels[level],
                    widths[steps + 1 - stride.bit_length()],
                    1 if stride == self.patch else 3,
                )
                for stride, level in self.levels.items()
            }
        )
        self.decoder = nn.ModuleList(up_block(deep, shallow) for deep, shallow in pairwise(widths))
        self.paint = nn.Conv2d(widths[-1], in_chans_of(backbone), 1)

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        views = require_views(views, "spark")
        (images,) = views
        side = self._side(images)
        cells = VisibleCells(visible_patches(views.chance(side * side), self.mask), side)
        with cells:
            maps = self.backbone(images)
        hidden = ~cells.visible.flatten(1)
        painted = self._decode(maps, cells)
        predictions, patches = (patchify(each, self.patch) for each in (painted, images))
        return {"loss": reconstruction_loss(predictions, patches, hidden)}

    def _decode(self, maps: list[Tensor], cells: VisibleCells) -> Tensor:
        """(B, C, H, W), from the deepest map up; each map joins where its size is reached."""
        stride = self.patch
        features = self.densify[str(stride)](maps[self.levels[stride]], cells)
        for block in self.decoder:
            features, stride = block(features), stride // 2
            if stride in self.levels:
                features = features + self.densify[str(stride)](maps[self.levels[stride]], cells)
        painted: Tensor = self.paint(features)
        return painted

    def _side(self, images: Tensor) -> int:
        height, width = images.shape[2:]
        side = height // self.patch
        if height != width or height % self.patch or side < 2:
            raise UsageError(
                f"spark cuts images into patches of {self.patch} px, at least 2 x 2, and got {height} x {width}",
                next=f"--image-size {max(4, round(height / self.patch)) * self.patch}",
            )
        return side


@torch.no_grad()
def _check(backbone: Backbone, patch: int) -> None:
    """Look whether the backbone can be computed from visible patches.

    Raises:
        UsageError: it cannot.
    """
    training = backbone.training
    try:
        if patch.bit_length() - 1 < 1 or patch & (patch - 1):
            raise UsageError(f"the stride of its deepest map is {patch}, and must be a power of two")
        with VisibleCells(torch.tensor([[0, 3]]), 2):
            backbone.eval()(torch.zeros(1, in_chans_of(backbone), 2 * patch, 2 * patch))
    except UsageError as error:
        raise UsageError(
            f"spark needs a convolutional network: {error.what}",
            next="--backbone resnet50 or convnext_tiny; for a transformer, --ssl mae",
        ) from error
    finally:
        backbone.train(training)


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"spark": SparK}
