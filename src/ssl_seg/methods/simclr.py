"""SimCLR: a simple framework for contrastive learning (Chen et al. 2020, arXiv:2002.05709)."""

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.views import View
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather, local_shard
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import global_pool, mlp
from ssl_seg.utils.autocast import full_precision

# The paper's colour distortion of strength 0.5, which it takes for small images (appendix B.9), with
# its blur. Strength 1, which it takes for ImageNet, costs a short run on small images much.
_VIEW = replace(View(), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur_p=0.5)


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


class SimCLR(SSLMethod):
    """Views of one image attract each other, views of different images repel.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layer.
        dimensions: of the projection.
        temperature: of the contrastive loss.
    """

    views = (_VIEW, _VIEW)
    loss_over = "batch"
    recipe: ClassVar = {
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 1e-4,
        "warmup": 0.05,
        "adam": {"lr": 1e-3, "weight_decay": 1e-4},
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
        "lars": {"lr": 0.3, "weight_decay": 1e-6},  # the paper's
    }

    def __init__(
        self, backbone: Backbone, *, hidden: int = 2048, dimensions: int = 128, temperature: float = 0.2
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions)
        self.temperature = temperature

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        one, two = (self.projector(global_pool(self.backbone(view))) for view in views)
        return {"loss": nt_xent(one, two, self.temperature), "embedding": one}


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"simclr": SimCLR}
