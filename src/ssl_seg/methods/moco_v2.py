"""MoCo v2: momentum contrast with a queue (He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import MOCO_V2_VIEW
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.contrastive import queue_contrast
from ssl_seg.nn.layers import make_ema_copy, mlp, update_ema
from ssl_seg.nn.queue import Queue
from ssl_seg.nn.split_norm import split_norm, swap_blocks
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


class MoCoV2(SSLMethod):
    """Contrast each view with the EMA key of the other view and a queue of keys of earlier batches.

    Args:
        backbone: trained and kept.
        dimensions: width of queries and keys.
        queue: number of keys of earlier batches; 65,536 in the paper.
        temperature: softmax temperature.
        decay: constant EMA decay of the key network; 0.999 in the paper, for runs of 10^6 steps.
        splits: parts of a batch in which BatchNorm sees other images of the keys than of the queries; 1: none.
            It replaces the paper's shuffling over GPUs.
        symmetric: use each view as query and as key; in the paper one view is the query, the other the key.
    """

    views = (MOCO_V2_VIEW, MOCO_V2_VIEW)
    family = "contrastive"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.03, "weight_decay": 1e-4},  # the paper's
    }
    paper = PaperRecipe(
        options={"queue": 65536, "decay": 0.999, "splits": 8, "symmetric": False},
        recipe={"optimizer": "sgd", "lr": 0.03, "weight_decay": 1e-4, "warmup": 0.0},
        epochs=200,
        batch_size=256,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        dimensions: int = 128,
        queue: int = 4096,
        temperature: float = 0.2,
        decay: float = 0.99,
        splits: int = 4,
        symmetric: bool = True,
    ) -> None:
        super().__init__()
        width = backbone.channels[-1]
        self.backbone = backbone
        self.projector = mlp(width, width, dimensions, norm=False)
        split_norm(self.backbone, splits)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.queue = Queue(queue, dimensions)
        self.temperature, self.decay, self.splits, self.symmetric = temperature, decay, splits, symmetric

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        order = ((0, 1), (1, 0)) if self.symmetric else ((0, 1),)
        queries = {a: self.projector(self.backbone.summary(views[a])) for a, _ in order}
        keys = {b: self._key(views[b]) for _, b in order}
        terms = [queue_contrast(queries[a], keys[b], self.queue.rows, self.temperature) for a, b in order]
        for key in keys.values():
            self.queue.push(key)
        return {"loss": torch.stack(terms).mean(), "embedding": queries[0]}

    @torch.no_grad()
    def _key(self, view: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), normalised beside other images than its query."""
        features = self.target_backbone.summary(swap_blocks(view, self.splits))
        key: Tensor = self.target_projector(swap_blocks(features, self.splits))
        return key

    def after_step(self, progress: float) -> None:
        update_ema(self.target_backbone, self.backbone, self.decay)
        update_ema(self.target_projector, self.projector, self.decay)
        self.queue.advance()


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"moco_v2": MoCoV2}
