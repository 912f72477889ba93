"""VICReg: variance, invariance, covariance (Bardes et al. 2022, arXiv:2105.04906)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.nn.statistics import covariance_term, variance_term
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def vicreg_loss(
    one: Tensor, two: Tensor, *, invariance: float, variance: float, covariance: float
) -> dict[str, Tensor]:
    """The loss and its three terms, as the authors' code has them: the variance term is a mean over both views.

    Args:
        one, two: (B, D) projections, row by row of the same images. Variance and covariance are those of the
            images of all processes.
        invariance, variance, covariance: weights of the terms.

    Returns:
        `loss`, and unweighted `invariance`, `variance` and `covariance`.
    """
    distance = F.mse_loss(one, two)
    one, two = all_gather(one), all_gather(two)
    spread = (variance_term(one) + variance_term(two)) / 2.0
    shared = covariance_term(one) + covariance_term(two)
    loss = invariance * distance + variance * spread + covariance * shared
    return {"loss": loss, "invariance": distance, "variance": spread, "covariance": shared}


class VICReg(SSLMethod):
    """Match two views, keep the variance of every dimension, and decorrelate dimensions.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layers; 8192 in the paper.
        dimensions: width of the projection; 8192 in the paper. More than the batch size makes the covariance noisy.
        invariance, variance, covariance: weights of the three terms of the loss.
    """

    views = BYOL_VIEWS
    family = "decorrelation"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.03, "weight_decay": 5e-4},
        "lars": {"lr": 0.2, "weight_decay": 1e-6},  # the paper's; 0.3 for 100 epochs
    }
    paper = PaperRecipe(
        options={"hidden": 8192, "dimensions": 8192},
        recipe={"optimizer": "lars", "lr": 0.2, "lr_end": 0.0002, "weight_decay": 1e-6, "warmup": 0.01},
        epochs=1000,
        batch_size=2048,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 1024,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, num_layers=3)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (self.projector(self.backbone.summary(view)) for view in views)
        return {**vicreg_loss(one, two, **self.weights), "embedding": one}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"vicreg": VICReg}
