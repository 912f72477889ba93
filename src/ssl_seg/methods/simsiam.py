"""SimSiam: simple siamese representation learning (Chen and He 2021, arXiv:2011.10566)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import MOCO_V2_VIEW
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe, ParamGroup


@full_precision
def simsiam_loss(prediction: Tensor, projection: Tensor) -> Tensor:
    """Negative cosine similarity, in [-1, 1]; no gradient flows into `projection`.

    Args:
        prediction, projection: (B, D).
    """
    return -F.cosine_similarity(prediction, projection.detach(), dim=1).mean()


class SimSiam(SSLMethod):
    """Predict the projection of the other view, with stop-gradient on that branch.

    Args:
        backbone: trained and kept.
        dimensions: width of the projection and of the projector's hidden layers.
        bottleneck: width of the predictor's hidden layer.
        constant_lr: the predictor keeps the peak learning rate, as in the paper's best runs.
    """

    views = (MOCO_V2_VIEW, MOCO_V2_VIEW)
    family = "distillation"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.05, "weight_decay": 1e-4},  # the paper's
    }
    paper = PaperRecipe(
        options={"constant_lr": True},
        recipe={"optimizer": "sgd", "lr": 0.05, "weight_decay": 1e-4, "warmup": 0.0},
        epochs=100,
        batch_size=512,
    )

    def __init__(
        self, backbone: Backbone, *, dimensions: int = 2048, bottleneck: int = 512, constant_lr: bool = False
    ) -> None:
        super().__init__()
        self.param_groups = (ParamGroup("predictor.", constant_lr=True),) if constant_lr else ()
        self.backbone = backbone
        width = backbone.channels[-1]
        self.projector = mlp(width, dimensions, dimensions, num_layers=3, last_norm=True)
        self.predictor = mlp(dimensions, bottleneck, dimensions)

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        projections = [self.projector(self.backbone.summary(view)) for view in views]
        predictions = [self.predictor(projection) for projection in projections]
        one = simsiam_loss(predictions[0], projections[1])
        two = simsiam_loss(predictions[1], projections[0])
        return {"loss": (one + two) / 2.0, "embedding": projections[0]}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"simsiam": SimSiam}
