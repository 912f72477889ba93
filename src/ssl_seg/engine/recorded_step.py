"""Forward and backward pass as one recording: thousands of launches of kernels become one.

The recording is a CUDA graph. What is recorded runs on the same memory every time: inputs are copied there, and
gradients lie there. Whatever the host decides while it records stays as it was, so a step is recorded only where
the host decides nothing: it reads no result, and the numbers that modules hold (a rate, a mode) are those of the recording.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_seg.augment.view_list import NotRecordableError, Views
from ssl_seg.engine.host_state import HostState
from ssl_seg.utils.log import log
from ssl_seg.weights.state_dict import get_rng_state, set_rng_state

_WARM_UPS = 3  # runs before the recording: libraries choose their algorithms, and their memory is there
_MOST = 8  # recordings: each keeps the memory of a step
Compute = Callable[[Any, Tensor], dict[str, Tensor]]
_RESULT_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)

_aten = torch.ops.aten
_INDEXING = (_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_)


class Recorder(Protocol):
    """Records what a function does on the device, and repeats it."""

    def warm_up(self, function: Callable[[], object]) -> None:
        """Run it, as it will be recorded."""

    def record(
        self, function: Callable[[], dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """What it returns, and what repeats it; afterwards the returned tensors hold the new results."""


class CudaRecorder:
    """With CUDA graphs."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    def warm_up(self, function: Callable[[], object]) -> None:
        """On a stream of its own, as CUDA graphs need it."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            function()
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(
        self, function: Callable[[], dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """One graph; other threads (of readers, of checkpoints) may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            out = function()
        return out, graph.replay


@dataclass(frozen=True)
class _Recording:
    inputs: list[Tensor]
    weight: Tensor
    out: dict[str, Tensor]
    gradients: list[Tensor | None]
    added: list[tuple[list[Tensor], list[Tensor]]]  # what the step appends to lists
    replay: Callable[[], None]


class RecordedStep:
    """Forward and backward pass, recorded for each shape of inputs and state of the host's numbers.

    Args:
        module: what is trained; its tensors are where they will stay.
        compute: inputs, () weight of the loss -> outputs; it sets gradients.
    """

    def __init__(self, module: nn.Module, compute: Compute, recorder: Recorder) -> None:
        self._module, self._compute, self._recorder = module, compute, recorder
        self._parameters = [each for each in module.parameters() if each.requires_grad]
        self._host = HostState(module)
        self._recordings: dict[Hashable, _Recording] = {}
        self._is_given_up = False

    def __call__(self, inputs: Any, weight: float | Tensor, *, alone: bool) -> dict[str, Tensor] | None:
        """Set the gradients (`alone`), or add to them; return copies of the outputs. None: it cannot be recorded."""
        recording = self._recording_for(inputs)
        if recording is None:
            return None
        for static, tensor in zip(recording.inputs, _tensors_of(inputs), strict=True):
            _fill(static, tensor)
        _fill(recording.weight, weight)
        recording.replay()
        pairs = zip(self._parameters, recording.gradients, strict=True)
        found = [(parameter, gradient) for parameter, gradient in pairs if gradient is not None]
        earlier = [parameter.grad for parameter, _ in found if parameter.grad is not None]
        if earlier:
            torch._foreach_add_(earlier, [gradient for _, gradient in found])
        else:
            for parameter, gradient in found:
                parameter.grad = gradient if alone else gradient.clone()
        for tensor_list, tensors in recording.added:
            tensor_list.extend(tensor.clone() for tensor in tensors)
        return {name: tensor.clone() for name, tensor in recording.out.items()}

    def _recording_for(self, inputs: Any) -> _Recording | None:
        if self._is_given_up:
            return None
        key = self._key(inputs)
        try:
            if key not in self._recordings:
                if len(self._recordings) == _MOST:
                    raise NotRecordableError("shapes, or numbers that its modules hold, change too often")
                self._recordings[key] = self._record(inputs)
            return self._recordings[key]
        except NotRecordableError as error:
            self._is_given_up = True
            self._recordings.clear()
            log.warning("the training step is not recorded as a CUDA graph: %s", error)
        return None

    def _key(self, inputs: Any) -> Hashable:
        shapes = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in _tensors_of(inputs))
        return shapes, self._host.numbers()

    def _record(self, inputs: Any) -> _Recording:
        """Record a step; afterwards everything is as it was.

        Raises:
            NotRecordableError: it cannot be.
        """
        device = self._parameters[0].device
        static = [_static(tensor, device) for tensor in _tensors_of(inputs)]
        weight = torch.ones((), dtype=torch.float64, device=device)
        held = inputs.with_tensors(static) if isinstance(inputs, Views) else type(inputs)(static)
        restore, host = self._snapshot(), self._host.keep()

        def run() -> dict[str, Tensor]:
            self._host.restore(host)
            for parameter in self._parameters:
                parameter.grad = None
            return {name: each.detach() for name, each in self._compute(held, weight).items()}

        try:
            with _Watch():  # type: ignore[no-untyped-call]
                run()
            self._host.additions(host)
            for _ in range(_WARM_UPS):
                self._recorder.warm_up(run)
            out, replay = self._recorder.record(run)
            added = self._host.additions(host)
            gradients = [parameter.grad for parameter in self._parameters]
        finally:
            self._host.restore(host)
            restore()
        return _Recording(static, weight, out, gradients, added, replay)

    def _snapshot(self) -> Callable[[], None]:
        """What puts tensors, gradients and random generators back."""
        tensors = [*self._module.buffers(), *self._module.parameters()]
        kept = [tensor.detach().clone() for tensor in tensors]
        gradients, chance = [parameter.grad for parameter in self._parameters], get_rng_state()

        @torch.no_grad()
        def restore() -> None:
            torch._foreach_copy_(tensors, kept)
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = gradient
            set_rng_state(chance)

        return restore


class _Watch(TorchDispatchMode):
    """While it is entered, what a recording would not repeat is refused."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _waits(func, args):
            raise NotRecordableError(f"the host waits for a result ({func.overloadpacket})")
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (_aten._to_copy, _aten.copy_):
            kinds = {each.device.type for each in tree_leaves((args, out)) if isinstance(each, Tensor)}
            if len(kinds) > 1:
                raise NotRecordableError("a tensor is copied between the host and the device")
        return out


def _waits(func: Any, args: Sequence[Any]) -> bool:
    """Whether the host waits for the device: the result decides a size, or becomes a number."""
    if func.overloadpacket in _INDEXING:
        return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return any(tag in func.tags for tag in _RESULT_DEPENDENT)


def _tensors_of(inputs: Any) -> list[Tensor]:
    return inputs.tensors() if isinstance(inputs, Views) else list(inputs)


def _static(tensor: Tensor, device: torch.device) -> Tensor:
    """Memory on the device for a tensor of every step.

    Raises:
        NotRecordableError: it would have to be copied there, and waited for.
    """
    if tensor.device != device and tensor.ndim:
        raise NotRecordableError("an input is not on the device")
    return torch.empty_like(tensor, device=device).copy_(tensor)


def _fill(static: Tensor, value: float | Tensor) -> None:
    """Copy a value there; a number of the host goes along with the launch."""
    if isinstance(value, Tensor) and value.device == static.device:
        static.copy_(value)
    else:
        static.fill_(float(value))
