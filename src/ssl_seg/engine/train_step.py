"""The forward and backward pass of a part of a batch."""

from typing import Any

from torch import Tensor, nn

from ssl_seg.engine.device import Device
from ssl_seg.engine.recorded_step import RecordedStep


class TrainStep:
    """Adds the gradients of a part of a batch to those of the parameters.

    Args:
        module: what is trained.
        device: on which; it may have the passes recorded and replayed, see `RecordedStep`.
    """

    def __init__(self, module: nn.Module, device: Device) -> None:
        self._forward, self._device = device.prepare(module), device
        recorder = device.recorder
        self._recorded = RecordedStep(module, self._compute, recorder) if recorder else None

    def __call__(
        self, inputs: Any, weight: float | Tensor, *, alone: bool = True, last: bool = True
    ) -> dict[str, Tensor]:
        """What the module returns; `weight`: of its loss.

        Args:
            alone: the part is the whole batch.
            last: it is the last part.
        """
        out = self._recorded(inputs, weight, alone=alone) if self._recorded else None
        return self._compute(inputs, weight, last=last) if out is None else out

    def _compute(self, inputs: Any, weight: float | Tensor, *, last: bool = True) -> dict[str, Tensor]:
        with self._device.autocast(), self._device.gradient_sync(last=last):
            out: dict[str, Tensor] = self._forward(inputs)
        self._device.backward(out["loss"] * weight)
        return out
