"""DenseCL: dense contrastive learning (Wang et al. 2021, arXiv:2011.09157)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import MOCO_V2_VIEW
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.contrastive import queue_contrast
from ssl_seg.nn.layers import global_pool, make_ema_copy, mlp, update_ema
from ssl_seg.nn.queue import Queue
from ssl_seg.nn.split_norm import split_norm, swap_blocks
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@torch.no_grad()
@full_precision
def matches(queries: Tensor, keys: Tensor) -> Tensor:
    """Which cell of the key's map looks most like each cell of the query's, by cosine similarity.

    Args:
        queries, keys: (B, C, S) backbone features of the cells of two views.

    Returns:
        (B, S) int64 indices of the key's cells.
    """
    return (F.normalize(queries, dim=1).mT @ F.normalize(keys, dim=1)).argmax(dim=2)


class DenseCL(SSLMethod):
    """MoCo v2 on images and on the cells of their feature maps.

    A cell's positive is the cell of the other view whose backbone features are most similar; its negatives are
    pooled maps of earlier images.

    Args:
        backbone: trained and kept.
        dimensions: width of queries and keys.
        queue: keys of earlier batches, of images and of cells; 65,536 in the paper.
        temperature: softmax temperature of both losses.
        dense: weight of the loss of cells; the loss of images has 1 - dense.
        level: feature map whose cells are contrasted; -1: the deepest. For small images, -2 has more cells.
        decay: constant EMA decay of the key network; 0.999 in the paper.
        splits: parts of a batch in which BatchNorm sees other images of the keys than of the queries; 1: none.
    """

    views = (MOCO_V2_VIEW, MOCO_V2_VIEW)
    family = "dense"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.03, "weight_decay": 1e-4},  # the paper's for ImageNet; 0.3 for COCO
    }
    paper = PaperRecipe(
        options={"queue": 65536, "decay": 0.999, "splits": 8},
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
        dense: float = 0.5,
        level: int = -1,
        decay: float = 0.99,
        splits: int = 4,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width, cells = backbone.channels[-1], backbone.channels[level]
        self.projector = mlp(width, width, dimensions, norm=False)
        self.dense_projector = mlp(cells, cells, dimensions, norm=False)
        split_norm(self.backbone, splits)
        self.target_backbone = make_ema_copy(backbone)
        self.target_projector = make_ema_copy(self.projector)
        self.target_dense_projector = make_ema_copy(self.dense_projector)
        self.queue, self.dense_queue = Queue(queue, dimensions), Queue(queue, dimensions)
        self.temperature, self.dense, self.level = temperature, dense, level
        self.decay, self.splits = decay, splits

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        maps = self.backbone(views[0])
        query = self.projector(global_pool(maps))
        query_map = maps[self.level].flatten(2)
        query_cells = self.dense_projector(query_map.mT)
        with torch.no_grad():
            target_maps = self.target_backbone(swap_blocks(views[1], self.splits))
            key = self.target_projector(swap_blocks(global_pool(target_maps), self.splits))
            key_map = swap_blocks(target_maps[self.level], self.splits).flatten(2)
            key_cells = F.normalize(self.target_dense_projector(key_map.mT), dim=2)
            match = matches(query_map, key_map)
            positives = key_cells.gather(1, match[..., None].expand(-1, -1, key_cells.shape[2]))
        whole = queue_contrast(query, key, self.queue.rows, self.temperature)
        cells = queue_contrast(
            query_cells.flatten(0, 1), positives.flatten(0, 1), self.dense_queue.rows, self.temperature
        )
        self.queue.push(key)
        self.dense_queue.push(key_cells.mean(dim=1))
        loss = (1.0 - self.dense) * whole + self.dense * cells
        return {"loss": loss, "loss_image": whole, "loss_cells": cells, "embedding": query}

    def after_step(self, progress: float) -> None:
        for target, online in (
            (self.target_backbone, self.backbone),
            (self.target_projector, self.projector),
            (self.target_dense_projector, self.dense_projector),
        ):
            update_ema(target, online, self.decay)
        self.queue.advance()
        self.dense_queue.advance()


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"densecl": DenseCL}
