"""VICRegL: VICReg for images and for the cells of their feature maps (Bardes et al. 2022, arXiv:2210.01571)."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS, SMALL_CROP, multi_crop
from ssl_seg.augment.view_list import require_views
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool, mlp
from ssl_seg.nn.statistics import covariance_term, variance_term
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe

_LARGE = 2  # views that are compared with all others


class Weights(NamedTuple):
    """Of the three terms of VICReg."""

    invariance: float
    variance: float
    covariance: float


@full_precision
def spread(points: Tensor, weights: Weights) -> Tensor:
    """The variance and the covariance term over the images of all processes, weighted.

    Args:
        points: (B, D), or (B, K, D): then the mean over the K places.
    """
    points = all_gather(points)
    return weights.variance * variance_term(points) + weights.covariance * covariance_term(points)


@full_precision
def distance(one: Tensor, two: Tensor) -> Tensor:
    """The mean squared difference, VICReg's invariance term."""
    return F.mse_loss(one, two)


def image_loss(points: Sequence[Tensor], weights: Weights) -> Tensor:
    """VICReg of whole images: distances of each large view to all others, and the spread of every view.

    Args:
        points: (B, D) projections of each view; the first two are the large ones.
    """
    distances = torch.stack([distance(points[one], points[two]) for one, two in _pairs(len(points))])
    spreads = torch.stack([spread(each, weights) for each in points])
    return weights.invariance * distances.mean() + spreads.mean()


def cell_loss(
    cells: Sequence[Tensor], centres: Sequence[Tensor], matches: tuple[int, int], weights: Weights
) -> Tensor:
    """VICReg of matched cells: of those that show the same place, plus of those that look alike.

    Args:
        cells: (B, S, D) projected cells of each view; the first two views are the large ones.
        centres: (B, S, 2) where in the image they lie.
        matches: how many cells of a large view are kept, those with the nearest partners in the other view,
            and how many of the other.
    """
    terms = []
    for one, two in _pairs(len(cells)):
        for points in (centres, cells):
            for here, there, count in ((one, two, matches[0]), (two, one, matches[1])):
                rows, partners = nearest(points[here], points[there], count)
                terms.append(_criterion(_take(cells[here], rows), _take(cells[there], partners), weights))
    # two ways to match, and the mean of both directions
    return 2.0 * torch.stack(terms).mean()


@torch.no_grad()
@full_precision
def nearest(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows whose nearest neighbour among the others is closest, and these neighbours.

    Args:
        points, others: (B, S, D) and (B, T, D), compared by Euclidean distance.
        count: rows to keep; at most S of them are.

    Returns:
        (B, count) int64 rows of `points`, the closest first, and rows of `others`.
    """
    distances, partners = torch.cdist(points, others).min(dim=2)
    rows = distances.topk(min(count, points.shape[1]), dim=1, largest=False).indices
    return rows, partners.gather(1, rows)


def _criterion(one: Tensor, two: Tensor, weights: Weights) -> Tensor:
    return weights.invariance * distance(one, two) + (spread(one, weights) + spread(two, weights)) / 2.0


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    """Each large view with every other view."""
    return ((one, two) for one in range(_LARGE) for two in range(count) if one != two)


def _take(cells: Tensor, rows: Tensor) -> Tensor:
    return cells.gather(1, rows[:, :, None].expand(-1, -1, cells.shape[2]))


class VICRegL(SSLMethod):
    """VICReg on pooled maps and on their cells, matched by position and by similarity.

    Variance and covariance of cells are taken over the images for each rank of closeness.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layers; 8192 in the paper.
        dimensions: width of an image's projection; 8192 in the paper.
        cell_dimensions: width of all layers of the cells' projector.
        alpha: weight of the loss of images; the loss of cells has 1 - alpha. The paper has 0.9, and 0.75 for
            segmentation. 1: VICReg with half its weight of the covariance.
        level: feature map whose cells are compared; -1: the deepest. For small images, -2 has more cells.
        matches: cells of a view that are compared, those with the nearest partners.
        back_matches: cells of the other view that are compared.
        crops: small views per image; 6 in the paper for ConvNeXt.
        invariance, variance, covariance: weights of the three terms of both losses.
    """

    family = "dense"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.03, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1e-6},  # the paper's
    }
    paper = PaperRecipe(
        options={"hidden": 8192, "dimensions": 8192, "alpha": 0.9},
        recipe={"optimizer": "lars", "lr": 0.3, "lr_end": 0.0003, "weight_decay": 1e-6, "warmup": 10 / 300},
        epochs=300,
        batch_size=2048,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 1024,
        cell_dimensions: int = 512,
        alpha: float = 0.75,
        level: int = -1,
        matches: int = 20,
        back_matches: int = 4,
        crops: int = 0,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0.0 < alpha <= 1.0:
            raise UsageError(f"ssl.alpha must be above 0 and at most 1, got {alpha}")
        self.views = multi_crop(BYOL_VIEWS, crops, SMALL_CROP, border=0.14) if crops else BYOL_VIEWS
        self.backbone = backbone
        deep: dict[str, Any] = {"num_layers": 3, "last_bias": False}  # no term of the loss sees a shift
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, **deep)
        self.cell_projector = mlp(backbone.channels[level], cell_dimensions, cell_dimensions, **deep)
        self.alpha, self.level, self.matches = alpha, level, (matches, back_matches)
        self.weights = Weights(invariance, variance, covariance)

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        views = require_views(views, "vicregl")
        maps = [self.backbone(view) for view in views]
        points = [self.projector(global_pool(each)) for each in maps]
        cells = [self._cells(each[self.level]) for each in maps]
        sizes = views.sizes[:, None]
        centres = [
            views.cells(view, each[self.level].shape[-1]).flatten(1, 2) * sizes
            for view, each in enumerate(maps)
        ]
        of_images = image_loss(points, self.weights)
        of_cells = cell_loss(cells, centres, self.matches, self.weights)
        loss = self.alpha * of_images + (1.0 - self.alpha) * of_cells
        return {"loss": loss, "loss_image": of_images, "loss_cells": of_cells, "embedding": points[0]}

    def _cells(self, features: Tensor) -> Tensor:
        """(B, S, D) projections of the cells of a map."""
        rows = features.flatten(2).mT
        projected: Tensor = self.cell_projector(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        return projected


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"vicregl": VICRegL}
