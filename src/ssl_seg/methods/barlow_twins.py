"""Barlow Twins: redundancy reduction (Zbontar et al. 2021, arXiv:2103.03230)."""

from typing import ClassVar

from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def barlow_loss(one: Tensor, two: Tensor, redundancy: float) -> Tensor:
    """How far the cross-correlation of two views' projections is from the identity.

    Args:
        one, two: (B, D) projections, row by row of the same images; those of all processes count.
        redundancy: weight of the squares beside the diagonal.
    """
    one, two = (_standardised(all_gather(points)) for points in (one, two))
    correlation = one.T @ two / len(one)
    diagonal = correlation.diagonal()
    apart = (1.0 - diagonal).square().sum()
    return apart + redundancy * (correlation.square().sum() - diagonal.square().sum())


def _standardised(points: Tensor) -> Tensor:
    variance, mean = points.var(dim=0, correction=0), points.mean(dim=0)
    return (points - mean) / (variance + 1e-5).sqrt()


class BarlowTwins(SSLMethod):
    """Match each embedding dimension across two views and decorrelate different dimensions.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layers; 8192 in the paper.
        dimensions: width of the projection; 8192 in the paper, for batches of 2048. The correlation of B images
            has at most B - 1 independent dimensions, so small batches need fewer.
        redundancy: weight of the off-diagonal part of the loss.
        scale: factor on the loss, which starts near `dimensions`; relevant for SGD.
    """

    views = BYOL_VIEWS
    family = "decorrelation"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.2, "weight_decay": 1e-6},  # the paper's, for weights; biases have 0.0048 there
    }
    paper = PaperRecipe(
        # LARS scales the steps of weights itself, so the factor is for biases: their rate is 0.0048 instead of 0.2
        options={"hidden": 8192, "dimensions": 8192, "scale": 0.024},
        recipe={"optimizer": "lars", "lr": 0.2, "weight_decay": 1e-6, "warmup": 0.01},
        epochs=1000,
        batch_size=2048,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 1024,
        redundancy: float = 0.0051,
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, num_layers=3)
        self.redundancy, self.scale = redundancy, scale

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (self.projector(self.backbone.summary(view)) for view in views)
        return {"loss": self.scale * barlow_loss(one, two, self.redundancy), "embedding": one}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"barlow_twins": BarlowTwins}
