"""SupCon: contrastive learning with labels (Khosla et al. 2020, arXiv:2004.11362)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import SIMCLR_VIEW
from ssl_seg.augment.view_list import Views
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def supcon_loss(one: Tensor, two: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over views of the mean cross entropy of finding every other view of the same class.

    An image without a label, target -1, is a class of its own: its only positive is its other view.

    Args:
        one, two: (B, D) projections of the two views, row by row of the same images.
        targets: (B,) class indices.
        temperature: > 0; divides the cosine similarities.
    """
    points = F.normalize(torch.cat([one, two]), dim=1)
    all_points = torch.cat([all_gather(view) for view in points.chunk(2)])
    all_targets = all_gather(targets)
    count = len(all_targets)
    images = torch.arange(count, device=points.device)
    classes = torch.where(all_targets < 0, -1 - images, all_targets)
    own = torch.cat([local_shard(images), local_shard(images) + count])
    positive = classes.repeat(2)[own][:, None] == classes.repeat(2)[None, :]
    positive.scatter_(1, own[:, None], False)
    similarity = points @ all_points.T / temperature
    chances = similarity.scatter(1, own[:, None], float("-inf")).log_softmax(dim=1)
    return -(chances.where(positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()


class SupCon(SSLMethod):
    """Contrast images of different classes; needs labels, a reference for methods without labels.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer; the backbone's own in the paper.
        dimensions: width of the projection.
        temperature: softmax temperature.
    """

    views = (SIMCLR_VIEW, SIMCLR_VIEW)
    family = "contrastive"
    loss_over = "batch"
    needs_labels = True
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.125, "weight_decay": 1e-4},  # the paper's 0.5 for 1024 images
    }
    paper = PaperRecipe(
        options={},
        recipe={"optimizer": "sgd", "lr": 0.125, "lr_end": 0.000125, "weight_decay": 1e-4, "warmup": 0.01},
        epochs=1000,
        batch_size=1024,
    )

    def __init__(
        self, backbone: Backbone, *, hidden: int = 2048, dimensions: int = 128, temperature: float = 0.1
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions)
        self.temperature = temperature

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        targets = views.targets if isinstance(views, Views) else None
        if targets is None:
            targets = torch.full((len(views[0]),), -1, device=views[0].device)
        one, two = (self.projector(self.backbone.summary(view)) for view in views)
        return {"loss": supcon_loss(one, two, targets, self.temperature), "embedding": one}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"supcon": SupCon}
