"""MoCo v3: momentum contrast without a queue (Chen et al. 2021, arXiv:2104.02057)."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.contrastive import batch_contrast
from ssl_seg.nn.layers import ema_decay_schedule, make_ema_copy, mlp, update_ema
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


class MoCoV3(SSLMethod):
    """Contrast each view's prediction with the EMA keys of the batch.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's and predictor's hidden layer; 4096 in the paper.
        dimensions: width of the projection.
        temperature: softmax temperature; 1.0 in the paper for ResNet-50, 0.2 for transformers.
        decay: initial EMA decay of the key network; rises to 1 by the end.
    """

    views = tuple(replace(view, scale=(0.2, 1.0)) for view in BYOL_VIEWS)
    family = "contrastive"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1e-6},  # the paper's; 0.6 for 100 epochs
    }
    paper = PaperRecipe(
        options={"hidden": 4096, "temperature": 1.0, "decay": 0.996},
        recipe={
            "optimizer": "lars",
            "lr": 0.3,
            "weight_decay": 1.5e-6,
            "warmup": 0.01,
            "adamw": {"lr": 1.5e-4, "lr_scaling": "linear", "weight_decay": 0.1, "warmup": 40 / 300},  # ViT
        },
        epochs=1000,
        batch_size=4096,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 256,
        temperature: float = 0.2,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, last_norm=True)
        self.predictor = mlp(dimensions, hidden, dimensions)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.temperature, self.decay = temperature, decay

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        projections = [self.projector(self.backbone.summary(view)) for view in views]
        queries = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            keys = [self.target_projector(self.target_backbone.summary(view)) for view in views]
        terms = [batch_contrast(queries[a], keys[1 - a], self.temperature) for a in (0, 1)]
        # the paper's factor keeps the gradient's length alike for every temperature
        return {"loss": 2.0 * self.temperature * (terms[0] + terms[1]), "embedding": projections[0]}

    def after_step(self, progress: float) -> None:
        decay = ema_decay_schedule(progress, self.decay)
        update_ema(self.target_backbone, self.backbone, decay)
        update_ema(self.target_projector, self.projector, decay)


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"moco_v3": MoCoV3}
