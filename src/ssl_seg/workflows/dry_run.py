"""`--dry-run`: a few steps of a run, and what they say of the whole."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ssl_seg.weights.checkpoint_files import list_checkpoints
from ssl_seg.workflows.forecast import Forecast

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from ssl_seg.engine.device import Device
    from ssl_seg.engine.schedule import Schedule
    from ssl_seg.engine.side_stream import BatchFn
    from ssl_seg.workflows.config import RunConfig

_STEPS = 7  # of which the first, which is slower, is not timed


class DryRun:
    """A `Trial` of a few steps and one validation.

    Args:
        config: of the run.
        steps: options many.
        validates: whether the validation is timed.
        quiet: see `Trial`.

    Attributes:
        forecast: what was measured; None before.
    """

    def __init__(
        self, config: "RunConfig", *, steps: int = _STEPS, validates: bool = True, quiet: bool = False
    ) -> None:
        self._config, self._steps, self._validates, self.quiet = config, steps, validates, quiet
        self.forecast: Forecast | None = None
        self._times: list[float] = []
        self._device: Device | None = None

    def step_end(self, step: int) -> None:
        """Note the time; called by the loop, as of an observer."""
        if self._device is not None and self._device.device.type == "cuda":
            torch.cuda.synchronize(self._device.device)
        self._times.append(perf_counter())

    def lines(self) -> list[str]:
        """See `Trial`."""
        return [*(self.forecast.lines() if self.forecast else []), "dry run: no run was started or written"]

    def run(
        self,
        fit: Callable[..., int],
        module: nn.Module,
        batches: "BatchFn",
        optimizer: "Optimizer",
        schedule: "Schedule",
        options: dict[str, Any],
    ) -> None:
        """See `Trial`."""
        device: Device = options["device"]
        self._device, validate, validation = device, options["on_epoch_end"], 0.0
        every = getattr(self._config, "val_every", 0) or getattr(self._config, "probe_every", 1)
        last_epoch = -(-min(self._steps, schedule.total_steps) // schedule.steps_per_epoch)
        inputs: list[tuple[int, ...]] = []

        def seen(step: int) -> Sequence[Any]:
            parts = batches(step)
            inputs[:] = _shapes(parts[0])
            return parts

        def on_epoch_end(epoch: int) -> Mapping[str, float]:
            nonlocal validation
            if epoch != last_epoch or not self._validates:
                return {}
            # what is kept of the first and of the last epoch alone takes its time
            options["stopping"].is_last = False
            started = perf_counter()
            scores: Mapping[str, float] = validate(every * -(-2 // every))
            validation = perf_counter() - started if scores else 0.0
            return scores

        options |= {"on_epoch_end": on_epoch_end, "observers": [self]}
        short = replace(schedule, total_steps=min(self._steps, schedule.total_steps))
        self._times = [perf_counter()]
        with _outputs_of(module) as outputs, _saved_by(module) as saved:
            fit(module, seen, optimizer, short, **options)
        seconds = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        peak, activations = device.peak_memory(), sum(saved.values())
        self.forecast = Forecast(
            device=device.describe(),
            inputs=inputs,
            outputs=outputs,
            parameters=_parameters(module),
            memory=peak or _held(module, optimizer) + activations,
            activations=activations,
            measured=peak > 0,
            checkpoint=_bytes_of_checkpoint(options["run"].checkpoints),
            device_memory=device.memory(),
            batch_size=schedule.batch_size,
            step_seconds=median(seconds[1:] or seconds or [0.0]),
            steps=schedule.total_steps,
            steps_per_epoch=schedule.steps_per_epoch,
            epochs=schedule.epochs,
            validation_seconds=validation,
            validations=math.ceil(schedule.total_steps / schedule.steps_per_epoch) // every,
        )


@contextmanager
def _outputs_of(module: Any) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """The shapes of what the parts of a module return, as long as it is entered."""
    model = getattr(module, "model", module)
    parts = {"backbone": model.backbone, "head": getattr(model, "head", None), "method": module}
    found: dict[str, list[tuple[int, ...]]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: object, output: object) -> None:
            if part.training and (shapes := _shapes(output)):
                found[name] = shapes

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in parts.items() if part is not None]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _saved_by(module: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by address that the first forward pass keeps for the backward pass, besides what the module has."""
    found: dict[int, int] = {}
    own = {each.untyped_storage().data_ptr() for each in (*module.parameters(), *module.buffers())}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with ExitStack() as first:

        def before(*_: object) -> None:
            if module.training and not found:
                first.enter_context(saved_tensors_hooks(pack, lambda tensor: tensor))

        handles = [
            module.register_forward_pre_hook(before),
            module.register_forward_hook(lambda *_: first.close()),
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()


def _shapes(value: object) -> list[tuple[int, ...]]:
    """Of the tensors in a value that are no scalars."""
    if isinstance(value, Tensor):
        return [tuple(value.shape)] if value.ndim else []
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [shape for part in parts for shape in _shapes(part)]


def _parameters(module: Any) -> dict[str, int]:
    backbone = getattr(module, "model", module).backbone
    every = list(module.parameters())
    return {
        "in the backbone": sum(each.numel() for each in backbone.parameters()),
        "in all": sum(each.numel() for each in every),
        "trained": sum(each.numel() for each in every if each.requires_grad),
    }


def _held(module: nn.Module, optimizer: "Optimizer") -> int:
    """Bytes of the weights, their gradients and the optimizer's state."""
    states = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    ]
    trained = [each for each in module.parameters() if each.requires_grad]
    return sum(each.nbytes for each in (*module.parameters(), *module.buffers(), *trained, *states))


def _bytes_of_checkpoint(folder: Any) -> int:
    newest = list_checkpoints(folder)[-1:]
    return sum(path.stat().st_size for each in newest for path in each.iterdir())
