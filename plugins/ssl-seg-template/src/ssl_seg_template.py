"""VICReg: variance, invariance, covariance (Bardes, Ponce and LeCun 2022, arXiv:2105.04906)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_seg import SSLMethod, View, hookimpl, mlp, pool

# Appendix C.1: BYOL's augmentation, made the same for both views.
_VIEW = replace(View(), blur_p=0.5, solarize_p=0.1)


def variance(points: Tensor) -> Tensor:
    """How far the standard deviations of the (B, D) points fall short of 1, on average."""
    return torch.relu(1.0 - (points.var(dim=0) + 1e-4).sqrt()).mean()


def covariance(points: Tensor) -> Tensor:
    """The squares of all covariances between different dimensions of the (B, D) points, over D."""
    matrix = torch.cov(points.T)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)


class VICReg(SSLMethod):
    """Two views of an image agree, while every dimension keeps its spread and says something of its own.

    Args:
        backbone: trained and kept.
        dimensions: of the expander; 8192 in the paper.
        agree: weight of the mean squared distance between the views.
        spread: weight of the variance part.
        differ: weight of the covariance part.
    """

    views = (_VIEW, _VIEW)

    def __init__(
        self,
        backbone,
        *,
        dimensions: int = 2048,
        agree: float = 25.0,
        spread: float = 25.0,
        differ: float = 1.0,
    ):
        super().__init__()
        self.backbone = backbone
        self.expander = mlp(backbone.channels[-1], dimensions, dimensions, layers=3)
        self.agree, self.spread, self.differ = agree, spread, differ

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (self.expander(pool(self.backbone(view))).float() for view in views)
        near = F.mse_loss(one, two)
        wide = (variance(one) + variance(two)) / 2
        apart = covariance(one) + covariance(two)
        loss = self.agree * near + self.spread * wide + self.differ * apart
        return {"loss": loss, "near": near, "wide": wide, "apart": apart, "embedding": one}


@hookimpl
def ssl_methods():
    return {"vicreg": VICReg}
