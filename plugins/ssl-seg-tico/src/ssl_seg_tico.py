"""TiCo: transformation invariance and covariance contrast (Zhu et al. 2022, arXiv:2206.10698)."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg import (
    BYOL_VIEWS,
    Backbone,
    SSLMethod,
    all_gather,
    full_precision,
    hookimpl,
    make_ema_copy,
    mlp,
    update_ema,
)


@full_precision
def tico_loss(points: Tensor, targets: Tensor, covariance: Tensor, rho: float) -> dict[str, Tensor]:
    """How far views are from each other, and how much they lie where earlier images lie.

    Args:
        points, targets: (B, D) unit vectors of two views, row by row of the same images.
        covariance: (D, D), without a gradient.
        rho: weight of the second term.

    Returns:
        `loss`, and its terms `invariance` and `contrast`.
    """
    invariance = 1.0 - (points * targets).sum(dim=1).mean()
    contrast = ((points @ covariance) * points).sum(dim=1).mean()
    return {"loss": invariance + rho * contrast, "invariance": invariance, "contrast": contrast}


@torch.no_grad()
@full_precision
def second_moment(points: Tensor) -> Tensor:
    """(D, D) mean of z z^T over the images of all processes, of (B, D) unit vectors."""
    rows = all_gather(points)
    return rows.T @ rows / len(rows)


class TiCo(SSLMethod):
    """A view agrees with the other one of a slow copy, and keeps away from the directions in which earlier images lie.

    Negatives are a moving average of the covariance in the place of a queue or a large batch.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer; 4096 in the paper.
        dimensions: of the projection.
        beta: of the covariance's moving average.
        rho: weight of the contrast.
        decay: of the slow copy's moving average at the start; it rises to 1 by the end.
    """

    views = BYOL_VIEWS
    loss_over = "batch"  # the covariance is one of images
    recipe: ClassVar = {
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "warmup": 0.05,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1.5e-6},  # of lightly's benchmark on ImageNet
    }

    covariance: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 256,
        beta: float = 0.9,
        rho: float = 8.0,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.beta, self.rho, self.decay = beta, rho, decay
        self.register_buffer("covariance", torch.zeros(dimensions, dimensions))  # so it is in checkpoints
        self._moments: list[Tensor] = []

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        points = F.normalize(self.projector(self.backbone.summary(views[0])), dim=1)
        with torch.no_grad():
            targets = F.normalize(self.target_projector(self.target_backbone.summary(views[1])), dim=1)
            moment = second_moment(points)
            self._moments.append(moment)
        out = tico_loss(points, targets, torch.lerp(moment, self.covariance, self.beta), self.rho)
        return {**out, "embedding": points}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        decay = 1.0 - (1.0 - self.decay) * (math.cos(math.pi * progress) + 1.0) / 2.0
        update_ema(self.target_backbone, self.backbone, decay)
        update_ema(self.target_projector, self.projector, decay)
        if self._moments:  # of the parts of one batch, with --accumulate
            self.covariance.lerp_(torch.stack(self._moments).mean(dim=0), 1.0 - self.beta)
            self._moments.clear()


@hookimpl
def ssl_methods():
    return {"tico": TiCo}
