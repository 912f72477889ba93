"""PixPro: propagate yourself, pixel-level consistency (Xie et al. 2021, arXiv:2011.10043)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.augment.view_list import Views, require_views
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import ema_decay_schedule, global_pool, make_ema_copy, mlp, update_ema
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


def near(views: Views, one: int, two: int, side: int, threshold: float) -> Tensor:
    """Which cells of two views' maps show the same place.

    Their centres are closer, in shares of the image, than the diagonal of the larger cell times the threshold.

    Args:
        one, two: numbers of the views.
        side: cells along each side of a map.

    Returns:
        (B, side**2, side**2) bool, row: cell of `one`, column: cell of `two`.
    """
    first, second = (views.cells(view, side).flatten(1, 2) for view in (one, two))
    diagonals = views.boxes[[one, two], :, 2:].norm(dim=2) / side
    close: Tensor = torch.cdist(first, second) < threshold * diagonals.amax(dim=0)[:, None, None]
    return close


@full_precision
def consistency(smoothed: Tensor, targets: Tensor, pairs: Tensor) -> Tensor:
    """-2 times the mean over images of the mean cosine of their pairs of cells; an image without a pair has 0.

    Args:
        smoothed, targets: (B, S, D) cells of two views; no gradient flows into `targets`.
        pairs: (B, S, S) bool, which cells belong together.
    """
    cosines = F.normalize(smoothed, dim=2) @ F.normalize(targets.detach(), dim=2).mT
    of_image = (cosines * pairs).sum(dim=(1, 2)) / (pairs.sum(dim=(1, 2)) + 1e-6)
    return -2.0 * of_image.mean()


@full_precision
def propagate(cells: Tensor, values: Tensor, sharpness: float) -> Tensor:
    """Each cell as a sum of the values of all cells, weighted by how similar these are.

    Args:
        cells: (B, S, D), compared by cosine similarity; negative ones count as 0.
        values: (B, S, D).
        sharpness: power of the similarity.
    """
    points = F.normalize(cells, dim=2)
    weights: Tensor = (points @ points.mT).clamp(min=0.0) ** sharpness
    return weights @ values


class PixPro(SSLMethod):
    """BYOL on feature-map cells: each cell predicts the cells of the other view at the same image position.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer; 4096 in the paper.
        dimensions: width of the projection.
        level: feature map whose cells are compared; -1: the deepest. For small images, -2 has more cells.
        threshold: maximum distance of two cells, in diagonals of the larger one.
        sharpness: exponent of the similarity in the pixel propagation.
        instance: weight of an additional BYOL loss of images; 0: none, as in the paper's main runs. It must
            not be 0 if `level` is not the deepest map: nothing else trains the later maps.
        decay: initial EMA decay of the target; rises to 1 by the end.
    """

    views = BYOL_VIEWS
    family = "dense"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.25, "weight_decay": 1e-5},  # the paper's 1.0 for 1024 images
    }
    paper = PaperRecipe(
        options={"hidden": 4096},
        recipe={"optimizer": "lars", "lr": 0.25, "weight_decay": 1e-5, "warmup": 5 / 400},
        epochs=400,
        batch_size=1024,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 256,
        level: int = -1,
        threshold: float = 0.7,
        sharpness: float = 2.0,
        instance: float = 0.0,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        if not instance and level % len(backbone.channels) != len(backbone.channels) - 1:
            raise UsageError(
                f"ssl.level={level}: nothing would train the maps behind it", next="-o ssl.instance=1"
            )
        self.backbone = backbone
        self.projector = mlp(backbone.channels[level], hidden, dimensions)
        self.transform = nn.Linear(dimensions, dimensions)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.level, self.threshold, self.sharpness = level, threshold, sharpness
        self.decay, self.instance = decay, instance
        if instance:
            self.image_projector = mlp(backbone.channels[-1], hidden, dimensions, last_norm=True)
            self.image_predictor = mlp(dimensions, hidden, dimensions)
            self.target_image_projector = make_ema_copy(self.image_projector)

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        views = require_views(views, "pixpro")
        maps = [self.backbone(view) for view in views]
        cells = [self._cells(self.projector, each) for each in maps]
        smoothed = [propagate(each, self.transform(each), self.sharpness) for each in cells]
        with torch.no_grad():
            target_maps = [self.target_backbone(view) for view in views]
            targets = [self._cells(self.target_projector, each) for each in target_maps]
            pairs = near(views, 0, 1, maps[0][self.level].shape[-1], self.threshold)
        loss = consistency(smoothed[0], targets[1], pairs) + consistency(smoothed[1], targets[0], pairs.mT)
        out = {"loss": loss, "pairs": pairs.float().sum(dim=(1, 2)).mean()}
        if self.instance:
            whole = self._instance_loss(maps, target_maps)
            out |= {"loss": loss + self.instance * whole, "loss_image": whole}
        return {**out, "embedding": global_pool(maps[0])}

    def _cells(self, projector: nn.Module, maps: list[Tensor]) -> Tensor:
        """(B, S, D) projections of the cells of a map."""
        features = maps[self.level].flatten(2).mT
        projected: Tensor = projector(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        return projected

    def _instance_loss(self, maps: list[list[Tensor]], target_maps: list[list[Tensor]]) -> Tensor:
        """BYOL's loss of the pooled maps, in [-4, 4]."""
        predictions = [self.image_predictor(self.image_projector(global_pool(each))) for each in maps]
        with torch.no_grad():
            targets = [self.target_image_projector(global_pool(each)) for each in target_maps]
        cosines = [F.cosine_similarity(predictions[a].float(), targets[1 - a].float(), dim=1) for a in (0, 1)]
        loss: Tensor = -2.0 * (cosines[0] + cosines[1]).mean()
        return loss

    def after_step(self, progress: float) -> None:
        decay = ema_decay_schedule(progress, self.decay)
        update_ema(self.target_backbone, self.backbone, decay)
        update_ema(self.target_projector, self.projector, decay)
        if self.instance:
            update_ema(self.target_image_projector, self.image_projector, decay)


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"pixpro": PixPro}
