"""FastSiam: SimSiam that predicts the mean of several views (Pototzky et al. 2022)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import MOCO_V2_VIEW
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def fastsiam_loss(predictions: Tensor, projections: Tensor) -> Tensor:
    """Mean over views of the negative cosine between a view's prediction and the mean of the others' projections.

    Args:
        predictions, projections: (V, B, D); no gradient flows into `projections`.
    """
    held = projections.detach()
    others = (held.sum(dim=0) - held) / (len(held) - 1)
    return -F.cosine_similarity(predictions, others, dim=2).mean()


class FastSiam(SSLMethod):
    """SimSiam with the mean projection of the other views as target, for short runs.

    Args:
        backbone: trained and kept.
        views: views per image; 4 in the paper. The compute per step grows with their number.
        dimensions: width of the projection and of the projector's hidden layers.
        bottleneck: width of the predictor's hidden layer.
    """

    family = "distillation"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 1e-4},
    }
    paper = PaperRecipe(
        options={},
        # rate and decay of SimSiam, which it builds on
        recipe={"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-4, "warmup": 0.0},
        epochs=25,
        batch_size=32,
    )

    def __init__(
        self, backbone: Backbone, *, views: int = 4, dimensions: int = 2048, bottleneck: int = 512
    ) -> None:
        super().__init__()
        self.views = (MOCO_V2_VIEW,) * max(2, views)
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], dimensions, dimensions, num_layers=3, last_norm=True)
        self.predictor = mlp(dimensions, bottleneck, dimensions)

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        projections = [self.projector(self.backbone.summary(view)) for view in views]
        predictions = [self.predictor(projection) for projection in projections]
        loss = fastsiam_loss(torch.stack(predictions), torch.stack(projections))
        return {"loss": loss, "embedding": projections[0]}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"fastsiam": FastSiam}
