"""DINO: self-distillation with no labels (Caron et al. 2021, arXiv:2104.14294)."""

from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_seg.augment.recipes import BYOL_VIEWS, SMALL_CROP, View, multi_crop
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.distributed.collectives import all_reduce_mean
from ssl_seg.hooks import hookimpl
from ssl_seg.nn.layers import ema_decay_schedule, make_ema_copy, pooled_crops, update_ema
from ssl_seg.utils.autocast import full_precision
from ssl_seg.utils.training_recipe import ADAMW_RECIPE, PaperRecipe, ParamGroup

# small crops are blurred at 0.5; the paper's blur is in pixels, ours in pixels of a 224 px view
_SMALL = View(blur_p=0.5, blur_sigma=(0.1 / SMALL_CROP, 2.0 / SMALL_CROP))


@full_precision
def dino_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross entropy of every student view with every teacher view but its own.

    Args:
        student: (V, B, K) scores divided by their temperature; the first T views are the teacher's.
        teacher: (T, B, K) probabilities, without a gradient.
    """
    terms = -torch.einsum("tbk,sbk->ts", teacher, student.log_softmax(dim=-1)) / student.shape[1]
    return (terms.sum() - terms.diagonal().sum()) / (terms.numel() - len(terms))


class DINOHead(nn.Module):
    """Three layers, L2 normalisation, and the cosine with each of many prototypes.

    Args:
        width: of the features.
        hidden, bottleneck, prototypes: widths of the layers.
        norm: BatchNorm after the two hidden layers.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int, norm: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for inputs in (width, hidden):
            parts += [nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden) if norm else nn.Identity(), nn.GELU()]
        self.mlp = nn.Sequential(*parts, nn.Linear(hidden, bottleneck))
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) -> (B, prototypes) cosines and the (B, bottleneck) points on the sphere."""
        points = F.normalize(self.mlp(features), dim=1)
        return F.linear(points, F.normalize(self.prototypes.weight, dim=1)), points


class DINO(SSLMethod):
    """Predict the EMA teacher's output on global crops from global and local crops.

    The teacher is exported, as in the paper.

    A transformer needs long runs: after ten epochs on 2,100 images of 64 px `vit_tiny` has a k-NN accuracy of 0.53, untrained
    0.48, which is less than three standard errors.

    Args:
        backbone: its EMA copy is exported.
        prototypes: number of prototypes (output dimensions); 65,536 in the paper.
        hidden: width of the head's hidden layers; 2048 in the paper.
        bottleneck: dimensions in which views and prototypes are compared.
        norm: BatchNorm in the head.
        crops: local crops per image; 8 in the paper.
        border: fraction of the image area that separates local from global crops. None: the paper's 0.4 for
            transformers and 0.14 for convolutional networks.
        decay: initial EMA decay of the teacher; rises to 1 by the end. 0.996 in the paper.
        student_temperature: softmax temperature of the student.
        teacher_temperature: softmax temperature of the teacher; 0.07 in the paper's longest runs.
        first_temperature: initial temperature of the teacher.
        rise: fraction of the run in which the teacher temperature rises.
        center_decay: EMA decay of the center of the teacher's outputs.
        freeze: fraction of the run in which the prototypes are frozen.
    """

    family = "distillation"
    loss_over = "image"
    recipe: ClassVar = {
        **ADAMW_RECIPE,
        "lr": 5e-4,
        "weight_decay": 0.04,
        "clip": 3.0,
        "warmup": 0.1,
        "sgd": {"lr": 0.03, "weight_decay": 1e-4},
    }
    paper = PaperRecipe(
        options={"prototypes": 65536, "hidden": 2048, "crops": 8, "decay": 0.996},
        recipe={
            "optimizer": "adamw",
            "lr": 5e-4,
            "lr_end": 1e-6,
            "lr_scaling": "linear",
            "weight_decay": 0.04,
            "weight_decay_end": 0.4,
            "warmup": 0.1,
            "clip": 3.0,  # the paper's is of each tensor on its own
            "sgd": {"lr": 0.03, "weight_decay": 1e-4},  # ResNet-50
        },
        epochs=100,
        batch_size=256,
    )

    center: Tensor
    temperature: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        prototypes: int = 2048,
        hidden: int = 1024,
        bottleneck: int = 256,
        norm: bool = False,
        crops: int = 4,
        border: float | None = None,
        decay: float = 0.99,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        first_temperature: float = 0.04,
        rise: float = 0.3,
        center_decay: float = 0.9,
        freeze: float = 0.01,
    ) -> None:
        super().__init__()
        if border is None:
            border = 0.4 if getattr(backbone, "patch", 0) else 0.14
        large, small = (
            multi_crop(BYOL_VIEWS, 0, border=border),
            replace(_SMALL, scale=(0.05, border), zoom=SMALL_CROP),
        )
        self.views = (*large, *[small] * crops)
        self.param_groups = (ParamGroup("student_head.prototypes.", frozen_until=freeze),) if freeze else ()
        self.student = backbone
        self.student_head = DINOHead(backbone.channels[-1], hidden, bottleneck, prototypes, norm)
        self.backbone = make_ema_copy(self.student, own_statistics=True)
        self.head = make_ema_copy(self.student_head, own_statistics=True)
        self.decay, self.center_decay = decay, center_decay
        self.student_temperature, self.rise = student_temperature, rise
        self.temperatures = (first_temperature if rise else teacher_temperature, teacher_temperature)
        # on the device and in checkpoints: nothing waits for them, and a resumed run continues with them
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("temperature", torch.tensor(self.temperatures[0]))
        self._means: list[Tensor] = []

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        images = len(views[0])
        scores, points = self.student_head(pooled_crops(self.student, views))
        with torch.no_grad():
            targets = self.head(pooled_crops(self.backbone, views[:2]))[0].to(self.center.dtype)
            probabilities = ((targets - self.center) / self.temperature).softmax(dim=-1)
            self._means.append(all_reduce_mean(targets.mean(dim=0)))
        scores = scores.to(self.center.dtype).unflatten(0, (-1, images)) / self.student_temperature
        loss = dino_loss(scores, probabilities.unflatten(0, (-1, images)))
        return {"loss": loss, "embedding": points[:images]}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        decay = ema_decay_schedule(progress, self.decay)
        update_ema(self.backbone, self.student, decay, buffers=False)
        update_ema(self.head, self.student_head, decay, buffers=False)
        if self._means:  # of the parts of one batch
            mean = torch.stack(self._means).mean(dim=0).to(self.center.dtype)
            self.center.lerp_(mean, 1.0 - self.center_decay)
            self._means.clear()
        first, last = self.temperatures
        self.temperature.fill_(first + (last - first) * min(1.0, progress / (self.rise or 1.0)))


@hookimpl
def ssl_methods() -> dict[str, type[nn.Module]]:
    return {"dino": DINO}
