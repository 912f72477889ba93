"""NNCLR: nearest neighbours as positives (Dwibedi et al. 2021, arXiv:2104.14548)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.contrastive import batch_contrast
from ssl_seg.nn.layers import mlp
from ssl_seg.nn.queue import Queue
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@torch.no_grad()
@full_precision
def nearest(points: Tensor, rows: Tensor) -> Tensor:
    """The most similar of the rows for each point.

    Args:
        points: (B, D).
        rows: (N, D) unit vectors.

    Returns:
        (B, D).
    """
    return rows[(F.normalize(points, dim=1) @ rows.T).argmax(dim=1)]


class NNCLR(SSLMethod):
    """Contrast each view with the nearest neighbor of the other view in a queue of earlier projections.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layers; 2048 in the paper.
        predictor_hidden: width of the predictor's hidden layer, 4096 in the paper; None: `hidden`.
        dimensions: width of the projection.
        queue: number of earlier projections; 98,304 in the paper. The first `queue` / batch steps use random
            ones.
        temperature: softmax temperature.
    """

    views = BYOL_VIEWS
    family = "contrastive"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1e-6},  # the paper's
    }
    paper = PaperRecipe(
        options={"hidden": 2048, "predictor_hidden": 4096, "queue": 98304},
        recipe={"optimizer": "lars", "lr": 0.3, "weight_decay": 1e-6, "warmup": 0.01},
        epochs=1000,
        batch_size=4096,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        predictor_hidden: int | None = None,
        dimensions: int = 256,
        queue: int = 2048,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(
            backbone.channels[-1], hidden, dimensions, num_layers=3, last_norm=True, last_affine=True
        )
        self.predictor = mlp(dimensions, predictor_hidden or hidden, dimensions)
        self.queue = Queue(queue, dimensions)
        self.temperature = temperature

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        projections = [self.projector(self.backbone.summary(view)) for view in views]
        predictions = [self.predictor(projection) for projection in projections]
        neighbours = [nearest(projection, self.queue.rows) for projection in projections]
        terms = [batch_contrast(neighbours[a], predictions[1 - a], self.temperature) for a in (0, 1)]
        self.queue.push(projections[0])
        return {"loss": (terms[0] + terms[1]) / 2.0, "embedding": projections[0]}

    def after_step(self, progress: float) -> None:
        self.queue.advance()


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"nnclr": NNCLR}
