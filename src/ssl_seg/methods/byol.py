"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv:2006.07733)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import ema_decay_schedule, make_ema_copy, mlp, update_ema
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of the two after L2 normalisation: 2 - 2 cos, in [0, 4].

    Args:
        prediction, target: (B, D).
    """
    return (2.0 - 2.0 * F.cosine_similarity(prediction, target, dim=1)).mean()


class BYOL(SSLMethod):
    """Predict an EMA target network's projection of another view.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's and predictor's hidden layer; 4096 in the paper.
        dimensions: width of the projection.
        decay: initial decay of the EMA target; rises to 1 by the end. The paper has 0.996 for 300,000
            steps of 4096 images and 0.97 for 12,000; short runs need less.
        last_norm: end the projector with a BatchNorm that has no parameters, as SimSiam and MoCo v3
            do. The paper has none. It improves short runs: the projections of a new network share a
            large mean, which would dominate the loss.
    """

    views = BYOL_VIEWS
    family = "distillation"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.2, "weight_decay": 1.5e-6},  # the paper's
    }
    paper = PaperRecipe(
        options={"hidden": 4096, "decay": 0.996, "last_norm": False},
        recipe={"optimizer": "lars", "lr": 0.2, "weight_decay": 1.5e-6, "warmup": 0.01},
        epochs=1000,
        batch_size=4096,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 256,
        decay: float = 0.99,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, last_norm=last_norm)
        self.predictor = mlp(dimensions, hidden, dimensions)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.decay = decay

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        projections = [self.projector(self.backbone.summary(view)) for view in views]
        predictions = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            targets = [self.target_projector(self.target_backbone.summary(view)) for view in views]
        loss = byol_loss(predictions[0], targets[1]) + byol_loss(predictions[1], targets[0])
        return {"loss": loss, "embedding": projections[0]}

    def after_step(self, progress: float) -> None:
        decay = ema_decay_schedule(progress, self.decay)
        update_ema(self.target_backbone, self.backbone, decay)
        update_ema(self.target_projector, self.projector, decay)


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"byol": BYOL}
