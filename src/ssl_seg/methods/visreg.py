"""VISReg and LeJEPA: views agree, and projections are spread like a normal distribution.

Wu et al. 2026 (arXiv:2606.02572); Balestriero and LeCun 2025 (arXiv:2511.08544).
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ssl_seg.augment.recipes import SMALL_CROP, View, multi_crop
from ssl_seg.augment.stateless_rng import uniform
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_gather
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import mlp, pooled_crops
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe

_VIEW = View(blur_p=0.5, solarize_p=0.2)
_KNOTS, _T_MAX = 17, 3.0  # of the integral of SIGReg


def invariance(points: Tensor, large: int) -> Tensor:
    """Mean squared distance of every view to the mean of the large ones.

    Args:
        points: (V, B, D) projections.
        large: how many views, the first ones, are large.
    """
    return (points - points[:large].mean(dim=0)).square().mean()


def visreg_terms(points: Tensor, directions: Tensor) -> dict[str, Tensor]:
    """How far projections are from a standard normal distribution: `scale`, `center` and `shape`.

    Args:
        points: (V, B, D) projections of all processes; views count alike.
        directions: (D, M) unit vectors along which the shape is compared.
    """
    mean = points.mean(dim=1, keepdim=True)
    spread = points.std(dim=1, correction=0, keepdim=True)
    along = (((points - mean) / (spread.detach() + 1e-4)) @ directions).sort(dim=1).values
    steps = torch.arange(1, points.shape[1] + 1, device=points.device, dtype=torch.float64)
    quantiles = math.sqrt(2.0) * torch.erfinv(2.0 * steps / (points.shape[1] + 1) - 1.0)
    return {
        "scale": (1.0 - spread).square().mean(),
        "center": mean.square().mean(),
        "shape": (along - quantiles.to(points.dtype)[:, None]).square().mean(),
    }


def sigreg(points: Tensor, directions: Tensor) -> Tensor:
    """Distance of the characteristic function along each direction from that of a standard normal, times B.

    Args:
        points: (V, B, D) projections of all processes.
        directions: (D, M) unit vectors.
    """
    t = torch.linspace(0.0, _T_MAX, _KNOTS, device=points.device, dtype=points.dtype)
    phi = (-t.square() / 2.0).exp()
    angles = (points @ directions)[..., None] * t
    error = (angles.cos().mean(dim=1) - phi).square() + angles.sin().mean(dim=1).square()
    integral = 2.0 * torch.trapezoid(error * phi, t, dim=-1)
    return points.shape[1] * integral.mean()


def directions_of(step: Tensor, width: int, count: int, like: Tensor) -> Tensor:
    """(width, count) random unit vectors, a function of the step: every process draws the same ones.

    Args:
        step: () int64.
        like: whose type and device they have.
    """
    rows = step * width + torch.arange(width, device=step.device)
    draws = uniform(0, 0, 0, rows, 2 * count).T
    normal = (-2.0 * (1.0 - draws[:, :count]).log()).sqrt() * (2.0 * math.pi * draws[:, count:]).cos()
    unit: Tensor = normal / normal.norm(dim=0)
    return unit.to(like)


@full_precision
def visreg_loss(
    points: Tensor,
    directions: Tensor,
    *,
    large: int,
    balance: float,
    kind: Literal["visreg", "sigreg"] = "visreg",
) -> dict[str, Tensor]:
    """(1 - balance) * invariance + balance * regulariser.

    Args:
        points: (V, B, D) projections of this process's images.
        directions: (D, M) unit vectors, equal on all processes.
        large: views whose mean the others are drawn to, the first ones.
        balance: in [0, 1].
        kind: `visreg`, or `sigreg` for LeJEPA.

    Returns:
        `loss`, `invariance`, and the parts of the regulariser.
    """
    all_points = all_gather(points.transpose(0, 1)).transpose(0, 1)
    terms = (
        visreg_terms(all_points, directions)
        if kind == "visreg"
        else {"sigreg": sigreg(all_points, directions)}
    )
    near = invariance(points, large)
    loss = (1.0 - balance) * near + balance * torch.stack(list(terms.values())).sum()
    return {"loss": loss, "invariance": near, **terms}


class VISReg(SSLMethod):
    """Match all crops to the mean of the large ones and drive projections to a normal distribution.

    It needs no second network, negatives or queue: the regularizer prevents collapse.

    Args:
        backbone: trained and kept.
        hidden: width of the projector's hidden layers.
        dimensions: width of the projection.
        regulariser: `visreg`, or `sigreg` for LeJEPA.
        balance: weight of the regularizer against the invariance; the papers have 0.6 (small data) to 0.9 for
            VISReg and 0.05 for LeJEPA. None: 0.6 or 0.05.
        directions: random directions along which distributions are compared; 4096 and 1024 in the papers.
        crops: small views per image.
    """

    family = "distribution"
    loss_over = "batch"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "weight_decay": 5e-4,  # the papers' for ResNets; 0.05 for transformers
        "sgd": {"lr": 0.06, "weight_decay": 5e-4},
    }

    step: Tensor
    paper = PaperRecipe(
        options={"hidden": 2048, "dimensions": 256, "balance": 0.9, "directions": 4096, "crops": 6},
        recipe={
            "optimizer": "adamw",
            "lr": 9e-4,
            "lr_end": 9e-7,
            "weight_decay": 0.05,
            "warmup": 0.05,
            "clip": 1.0,
        },
        epochs=100,
        batch_size=128,
    )

    def __init__(
        self,
        backbone: Backbone,
        *,
        hidden: int = 1024,
        dimensions: int = 64,
        regulariser: Literal["visreg", "sigreg"] = "visreg",
        balance: float | None = None,
        directions: int = 1024,
        crops: int = 4,
    ) -> None:
        super().__init__()
        self.views = multi_crop((_VIEW, _VIEW), crops, SMALL_CROP, border=0.3)
        self.backbone = backbone
        self.projector = mlp(backbone.channels[-1], hidden, dimensions, num_layers=3)
        self.regulariser = regulariser
        self.balance = {"visreg": 0.6, "sigreg": 0.05}[regulariser] if balance is None else balance
        self.dimensions, self.directions = dimensions, directions
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        features = pooled_crops(self.backbone, views)
        points = self.projector(features).unflatten(0, (len(views), -1))
        directions = directions_of(self.step, self.dimensions, self.directions, points)
        out = visreg_loss(points, directions, large=2, balance=self.balance, kind=self.regulariser)
        return {**out, "embedding": points[0]}

    def after_step(self, progress: float) -> None:
        self.step += 1


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"visreg": VISReg}
