"""SwAV: swapped assignments between views (Caron et al. 2020, arXiv:2006.09882)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import SIMCLR_VIEW, SMALL_CROP, multi_crop, stronger
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import local_shard
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp, pooled_crops
from ssl_seg.nn.queue import Queue
from ssl_seg.nn.sinkhorn import sinkhorn
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe, ParamGroup


@full_precision
def swav_loss(scores: Tensor, assignments: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy of each large view's assignment with the scores of every other view.

    Args:
        scores: (V, B, K) similarities with the prototypes; the first T views are the large ones.
        assignments: (T, B, K), rows sum to 1.
        temperature: divides the scores.
    """
    terms = -torch.einsum("tbk,vbk->tv", assignments, (scores / temperature).log_softmax(dim=2))
    own = terms.diagonal().sum()
    return (terms.sum() - own) / (scores.shape[1] * (terms.numel() - len(terms)))


class SwAV(SSLMethod):
    """Predict the balanced prototype assignments of the large views from every other view.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer; 2048 in the paper.
        dimensions: width of the projection.
        prototypes: number of prototypes; 3000 in the paper. It should not far exceed batch size plus queue.
        crops: small views per image, 6 in the paper.
        temperature: softmax temperature of the predictions.
        epsilon: softness of the assignments, see `sinkhorn`.
        queue: number of earlier projections of each large view that are assigned together with a batch, once
            the queue is full; 3840 in the paper for batches of 256. 0: none.
        strength: color jitter strength, see `SimCLR`; 1 in the paper.
    """

    family = "clustering"
    loss_over = "batch"
    param_groups = (ParamGroup("prototypes.", frozen_until=0.01),)  # the paper's first epoch of 100
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 1e-6},
        "lars": {"lr": 0.6, "weight_decay": 1e-6},  # the paper's
    }
    paper = PaperRecipe(
        options={"hidden": 2048, "prototypes": 3000, "crops": 6, "queue": 3840, "strength": 1.0},
        recipe={"optimizer": "lars", "lr": 0.6, "lr_end": 0.0006, "weight_decay": 1e-6, "warmup": 0.0},
        epochs=400,
        batch_size=256,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 128,
        prototypes: int = 512,
        crops: int = 4,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        queue: int = 0,
        strength: float = 0.5,
    ) -> None:
        super().__init__()
        large = stronger(SIMCLR_VIEW, 2.0 * strength)
        self.views = multi_crop((large, large), crops, SMALL_CROP)
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions)
        self.prototypes = nn.Linear(dimensions, prototypes, bias=False)
        self.queues = nn.ModuleList(Queue(queue, dimensions) for _ in range(2 if queue else 0))
        self.temperature, self.epsilon = temperature, epsilon

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        features = pooled_crops(self.backbone, views)
        points = F.normalize(self.projector(features), dim=1)
        weight = F.normalize(self.prototypes.weight, dim=1)
        scores = F.linear(points, weight).unflatten(0, (len(views), -1))
        images = len(views[0])
        assignments = [
            self._assigned(view, points[view * images : (view + 1) * images], scores[view], weight)
            for view in (0, 1)
        ]
        loss = swav_loss(scores, torch.stack(assignments), self.temperature)
        return {"loss": loss, "embedding": points[:images]}

    @torch.no_grad()
    def _assigned(self, view: int, points: Tensor, scores: Tensor, weight: Tensor) -> Tensor:
        """(B, K) assignments of a large view, made together with what its queue holds once that is full."""
        if not self.queues:
            return sinkhorn(scores, epsilon=self.epsilon)
        queue: Queue = self.queues[view]  # type: ignore[assignment]
        earlier = local_shard(queue.rows)
        full = (queue.count >= len(queue.rows)).to(scores.dtype).expand(len(earlier))
        counts = torch.cat([full, torch.ones_like(scores[:, 0])])
        everything = torch.cat([F.linear(earlier.to(scores.dtype), weight), scores])
        queue.push(points)
        return sinkhorn(everything, epsilon=self.epsilon, counts=counts)[len(earlier) :]

    def after_step(self, progress: float) -> None:
        for queue in self.queues:
            assert isinstance(queue, Queue)
            queue.advance()


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"swav": SwAV}
