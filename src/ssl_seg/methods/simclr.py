"""SimCLR: a simple framework for contrastive learning (Chen et al. 2020, arXiv:2002.05709)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import SIMCLR_VIEW, View, stronger
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe


@full_precision
def nt_xent(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """Cross entropy of finding each image's other view among all other views of the batch.

    Of several processes each looks for its own images among those of all.

    Args:
        one, two: (B, D) projections of the two views, row by row of the same images.
        temperature: > 0; divides the cosine similarities.
    """
    points = F.normalize(torch.cat([one, two]), dim=1)
    all_points = torch.cat([all_gather(view) for view in points.chunk(2)])
    similarity = points @ all_points.T / temperature
    count = len(all_points) // 2
    own = torch.cat([local_shard(view) for view in torch.arange(2 * count, device=one.device).chunk(2)])
    similarity = similarity.scatter(1, own[:, None], float("-inf"))
    return F.cross_entropy(similarity, (own + count) % (2 * count))


@full_precision
def decoupled(one: Tensor, two: Tensor, temperature: float, sigma: float | None = None) -> Tensor:
    """NT-Xent without the positive in the denominator (DCL, Yeh et al. 2022, arXiv:2110.06848); may be negative.

    A small batch loses less by it: the pull of an easy positive does not weaken the push of the negatives.

    Args:
        one, two: (B, D) projections of the two views, row by row of the same images.
        temperature: > 0; divides the cosine similarities.
        sigma: weights positives by 2 - B softmax(similarity / sigma), so that hard ones count more (DCLW).
    """
    one, two = F.normalize(one, dim=1), F.normalize(two, dim=1)
    points = torch.cat([one, two])
    all_points = torch.cat([all_gather(one), all_gather(two)])
    count = len(all_points) // 2
    own = local_shard(torch.arange(count, device=one.device)).repeat(2)[:, None]
    similarity = points @ all_points.T / temperature
    similarity = similarity.scatter(1, torch.cat([own, own + count], dim=1), float("-inf"))
    positive = (one * two).sum(dim=1)
    weight = torch.ones_like(positive)
    if sigma is not None:
        weight = 2.0 - count * local_shard((all_gather(positive.detach()) / sigma).softmax(dim=0))
    return similarity.logsumexp(dim=1).mean() - (weight * positive).mean() / temperature


class SimCLR(SSLMethod):
    """Contrast the two views of an image with the other images of the batch.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer.
        dimensions: width of the projection.
        temperature: softmax temperature; 0.1 in the papers of the decoupled losses.
        loss: `nt_xent`; `dcl`, decoupled; or `dclw`, decoupled with weighted positives.
        last_norm: end the projector with a BatchNorm, as the authors' code does.
        strength: color jitter strength; 1 in the paper for ImageNet, too strong for short runs on small images.
    """

    views: Sequence[View] = (SIMCLR_VIEW, SIMCLR_VIEW)
    family = "contrastive"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1e-6},  # the paper's
    }
    paper = PaperRecipe(
        options={"temperature": 0.1, "last_norm": True, "strength": 1.0},
        recipe={"optimizer": "lars", "lr": 0.3, "weight_decay": 1e-6, "warmup": 0.01},
        epochs=1000,
        batch_size=4096,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 2048,
        dimensions: int = 128,
        temperature: float = 0.2,
        loss: Literal["nt_xent", "dcl", "dclw"] = "nt_xent",
        last_norm: bool = False,
        strength: float = 0.5,
    ) -> None:
        super().__init__()
        self.views = tuple(stronger(view, 2.0 * strength) for view in self.views)
        self.backbone = backbone
        self.projector = mlp(
            backbone.channels[-1], hidden, dimensions, last_norm=last_norm, last_affine=last_norm
        )
        self.temperature = temperature
        self.loss = loss

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (self.projector(self.backbone.summary(view)) for view in views)
        if self.loss == "nt_xent":
            loss = nt_xent(one, two, self.temperature)
        else:
            loss = decoupled(one, two, self.temperature, 0.5 if self.loss == "dclw" else None)
        return {"loss": loss, "embedding": one}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"simclr": SimCLR}
