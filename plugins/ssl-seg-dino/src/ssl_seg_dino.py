"""DINO: self-distillation with no labels (Caron et al. 2021, arXiv:2104.14294)."""

import copy
import math
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from ssl_seg import BYOL_VIEWS, Backbone, SSLMethod, View, full_precision, hookimpl, pooled_crops

# The authors' code: two views as BYOL's, and small ones of 96 px where those have 224. Scales are
# those it gives for convolutional networks. Its blur is in pixels, ours in pixels of a 224 px view.
_SMALL = 96 / 224
_LARGE = tuple(replace(view, scale=(0.14, 1.0)) for view in BYOL_VIEWS)
_LOCAL = View(scale=(0.05, 0.14), blur_p=0.5, blur_sigma=(0.1 / _SMALL, 2.0 / _SMALL), zoom=_SMALL)


@full_precision
def dino_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross entropy of every student view with every teacher view but its own.

    Args:
        student: (V, B, D) logits divided by their temperature; the first T views are the teacher's.
        teacher: (T, B, D) probabilities, without a gradient.
    """
    terms = -torch.einsum("tbd,sbd->ts", teacher, student.log_softmax(dim=-1)) / student.shape[1]
    return (terms.sum() - terms.diagonal().sum()) / (terms.numel() - len(terms))


class DINOHead(nn.Module):
    """Three layers, L2 normalisation, and the cosine with each of many prototypes.

    Args:
        inputs, hidden, bottleneck, prototypes: widths.
        norm: BatchNorm after the two hidden layers.
    """

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int, norm: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for width in (inputs, hidden):
            parts += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden) if norm else nn.Identity(), nn.GELU()]
        self.mlp = nn.Sequential(*parts, nn.Linear(hidden, bottleneck))
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        self.weight = nn.Parameter(nn.Linear(bottleneck, prototypes, bias=False).weight.detach())

    def forward(self, features: Tensor, open: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, inputs) -> (B, prototypes) cosines and the (B, bottleneck) points on the sphere.

        Where `open` is 0 no gradient reaches the prototypes.
        """
        points = F.normalize(self.mlp(features), dim=1)
        weight = F.normalize(self.weight, dim=1)
        if open is not None:
            weight = torch.lerp(weight.detach(), weight, open)
        return F.linear(points, weight), points


class DINO(SSLMethod):
    """A student sees large and small crops and predicts what its slow copy, the teacher, says of the large ones.

    The teacher is what is kept, as in the paper. Defaults are those of the authors' code, with what
    they give for ResNet-50 and 100 epochs where that differs.

    Args:
        backbone: its copy, the teacher, is kept.
        prototypes: of which views are told to show one; fewer (1024) for small data.
        hidden: width of the head's hidden layers.
        bottleneck: dimensions in which views and prototypes are compared.
        norm: BatchNorm in the head; the authors have it in their longest ResNet-50 run.
        crops: small views per image.
        decay: of the teacher's moving average at the start; it rises to 1. The authors advise more
            for small batches, 0.9995 for 256 images; short runs want less.
        student_temperature: divides the student's cosines.
        teacher_temperature: divides the teacher's, after the rise.
        first_temperature: where the rise begins; the paper goes from 0.04 to 0.07.
        rise: share of the run that it takes: 30 of 100 epochs.
        center_decay: of the mean that is taken off what the teacher says.
        freeze: share of the run in which the prototypes stand still: 1 of 100 epochs.
    """

    loss_over = "batch"  # the centre is a mean over it
    recipe: ClassVar = {
        "optimizer": "sgd",
        "lr": 0.03,
        "weight_decay": 1e-4,
        "warmup": 0.1,
        "adamw": {"lr": 5e-4, "weight_decay": 0.04},
    }

    def __init__(
        self,
        backbone: Backbone,
        *,
        prototypes: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm: bool = False,
        crops: int = 8,
        decay: float = 0.996,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        first_temperature: float = 0.04,
        rise: float = 0.3,
        center_decay: float = 0.9,
        freeze: float = 0.01,
    ) -> None:
        super().__init__()
        self.views = (*_LARGE, *[_LOCAL] * crops)
        self.decay, self.center_decay, self.freeze = decay, center_decay, freeze
        self.student_temperature = student_temperature
        self.temperatures, self.rise = (first_temperature, teacher_temperature), rise
        self.student = backbone
        self.student_head = DINOHead(backbone.channels[-1], hidden, bottleneck, prototypes, norm)
        # not `make_ema_copy`: the teacher's BatchNorm keeps statistics of its own, of large views alone
        self.backbone = copy.deepcopy(self.student).requires_grad_(False)
        self.head = copy.deepcopy(self.student_head).requires_grad_(False)
        # on the device and in checkpoints: nothing waits for them, and a resumed run goes on with them
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("temperature", torch.tensor(first_temperature if rise else teacher_temperature))
        self.register_buffer("open", torch.tensor(0.0 if freeze else 1.0))

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        features = pooled_crops(self.student, views)
        said, points = self.student_head(features, self.open)
        with torch.no_grad():
            heard = self.head(pooled_crops(self.backbone, views[:2]))[0].float()
            certain = ((heard - self.center) / self.temperature).softmax(dim=-1)
            self._move_center(heard.mean(dim=0))
        images = len(views[0])
        loss = dino_loss(
            said.float().unflatten(0, (-1, images)) / self.student_temperature,
            certain.unflatten(0, (-1, images)),
        )
        return {"loss": loss, "embedding": points[:images]}

    def _move_center(self, mean: Tensor) -> None:
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(mean)
            mean = mean / distributed.get_world_size()
        self.center.lerp_(mean, 1.0 - self.center_decay)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        decay = 1.0 - (1.0 - self.decay) * (math.cos(math.pi * progress) + 1.0) / 2.0
        for teacher, student in ((self.backbone, self.student), (self.head, self.student_head)):
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - decay)
        first, last = self.temperatures
        self.temperature.fill_(first + (last - first) * min(1.0, progress / self.rise if self.rise else 1.0))
        self.open.fill_(float(progress >= self.freeze))


@hookimpl
def ssl_methods():
    return {"dino": DINO}
