"""What training on labels and training on masks have in common."""

from typing import Self

import torch
from torch import Tensor, nn

from ssl_seg.base import Model
from ssl_seg.errors import UsageError
from ssl_seg.nn.layers import make_ema_copy


class ModelAverage(nn.Module):
    """The exponential moving average of a model's weights over the steps of its training.

    The decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow: a short run is not an average of its
    start. Equal tensors stay equal, so a frozen part does not drift.

    Args:
        model: whose average it is.
        decay: in (0, 1); 0.999 averages about a thousand steps.

    Raises:
        UsageError: the decay is out of range.
    """

    step: Tensor

    def __init__(self, model: Model, decay: float) -> None:
        super().__init__()
        if not 0.0 < decay < 1.0:
            raise UsageError(
                f"the decay of the average must be between 0 and 1, got {decay:g}", next="--ema 0.999"
            )
        self.model, self.decay = make_ema_copy(model), decay
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Move the average by one step."""
        self.step += 1
        share = 1.0 - ((1.0 + self.step) / (10.0 + self.step)).clamp(max=self.decay)
        averages, tensors = ([*each.parameters(), *each.buffers()] for each in (self.model, model))
        for average, tensor in zip(averages, tensors, strict=True):
            if average.is_floating_point():
                average.lerp_(tensor, share.to(average.device, average.dtype))
            else:
                average.copy_(tensor)


class SupervisedTask(nn.Module):
    """A model with what trains it, as a module that `fit` can train.

    Args:
        model: is trained.
        freeze_backbone: the backbone stays as it is, bit for bit: no gradient, and BatchNorm in evaluation mode.
        ema: decay of an average of the weights, which is evaluated and kept in place of the last ones; None: without.
    """

    def __init__(self, model: Model, *, freeze_backbone: bool = False, ema: float | None = None) -> None:
        super().__init__()
        self.model, self.freeze_backbone = model, freeze_backbone
        if freeze_backbone:
            model.backbone.requires_grad_(False)
        self.average = ModelAverage(model, ema) if ema is not None else None

    @property
    def evaluated(self) -> Model:
        """The model that is measured and kept."""
        return self.average.model if self.average is not None else self.model

    def train(self, mode: bool = True) -> Self:
        """Training mode for all that is trained."""
        super().train(mode)
        if self.freeze_backbone:
            self.model.backbone.eval()
        return self

    def after_step(self, progress: float) -> None:
        """Move the average."""
        if self.average is not None:
            self.average.update(self.model)
