"""What a model computes for one image: every operation, what it needs, where it is, and what it costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_seg.base import Model

_ATEN = torch.ops.aten
# products of matrices, and where the left one is among the arguments
_PRODUCTS = {_ATEN.mm: 0, _ATEN.bmm: 0, _ATEN.mv: 0, _ATEN.addmm: 1, _ATEN.baddbmm: 1, _ATEN.addmv: 1}


@dataclass(frozen=True)
class Operation:
    """One call of a torch operator.

    Attributes:
        scope: path of the module that runs it: `backbone.net.layer1.0.conv1`.
        needs: indices of the operations whose results it takes.
        parameters: numbers in the parameters that it is the first to use.
        macs: multiply-accumulates.
        kernel: of a convolution; (1,) for a matrix product with a parameter; () for anything else.
        dilation: of a convolution.
    """

    scope: str
    needs: frozenset[int]
    parameters: int = 0
    macs: int = 0
    kernel: tuple[int, ...] = ()
    dilation: int = 1


@dataclass
class Trace:
    """All operations of one forward pass; the first stands for the image.

    Attributes:
        maps: of the backbone's pyramid: the operation that made each, and its shape without the batch.
        results: of every module that ran: the same, of the first tensor in what it returned last.
        logits: the same, of the model.
        body: so many operations are done when the backbone is.
    """

    operations: list[Operation] = field(default_factory=lambda: [Operation("", frozenset())])
    maps: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    results: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    logits: tuple[int, tuple[int, ...]] = (0, ())
    body: int = 0

    def behind(self, operation: int, until: Callable[[int], bool] = lambda _: False) -> set[int]:
        """An operation and all that it needs, directly or not; the search does not go beyond `until`."""
        found, ahead = {operation}, [operation]
        while ahead:
            here = ahead.pop()
            if not until(here):
                new = self.operations[here].needs - found
                found |= new
                ahead.extend(new)
        return found


def trace(model: Model, size: tuple[int, int]) -> Trace:
    """Run a model once, in evaluation, on one image of zeros.

    It runs on tensors without storage, which takes no time and no memory; a model that looks at values
    cannot, and really runs. The model is as it was afterwards.

    Args:
        size: height and width of the image.

    Raises:
        Whatever the model raises.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with suppress(Exception):  # models are foreign code: what is wrong shows when it really runs
            tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            return _run(model, {name: t.detach().to("meta") for name, t in tensors.items()}, size, "meta")
        device = next((str(parameter.device) for parameter in model.parameters()), "cpu")
        return _run(model, {}, size, device)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _run(model: Model, tensors: dict[str, Tensor], size: tuple[int, int], device: str) -> Trace:
    owned = {name: tensors.get(name, parameter) for name, parameter in model.named_parameters()}
    images = torch.zeros(1, 3, *size, device=device)
    recorder = _Recorder(owned, images)
    with torch.no_grad(), _plain_attention(), _watched(model, recorder), recorder:
        functional_call(model, tensors, (images,))
    return recorder.trace


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products, not as one operator that hides them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Recorder(TorchDispatchMode):
    """Sees every operator below autograd. A tensor is known by its storage, so that views are the same."""

    def __init__(self, parameters: Mapping[str, Tensor], images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self.scopes = [""]
        self._unused: dict[int, int] = {}
        for tensor in parameters.values():
            self._unused[_storage(tensor)] = self._unused.get(_storage(tensor), 0) + tensor.numel()
        self._weights = frozenset(self._unused)
        self._made_by = {_storage(images): 0}
        self._kept: list[Any] = [
            images,
            *parameters.values(),
        ]  # a storage that is freed gives its place to another

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [_storage(tensor) for tensor in _tensors((args, kwargs))]
        made = {_storage(tensor): tensor.untyped_storage() for tensor in _tensors(result)}
        if not self._weights.isdisjoint(made):
            return result  # a view of a weight is that weight
        macs, kernel, dilation = _cost(func.overloadpacket, args, result)
        weighted = len(kernel) > 1 or not self._weights.isdisjoint(inputs)
        operation = Operation(
            scope=self.scopes[-1],
            needs=frozenset(self._made_by[key] for key in inputs if key in self._made_by),
            parameters=sum(self._unused.pop(key, 0) for key in inputs),
            macs=macs,
            kernel=kernel if weighted else (),
            dilation=dilation,
        )
        self._made_by |= dict.fromkeys(made, len(self.trace.operations))
        self._kept += made.values()
        self.trace.operations.append(operation)
        return result

    def made(self, tensor: Tensor) -> tuple[int, tuple[int, ...]]:
        """The last operation that wrote a tensor, and its shape without the batch."""
        return self._made_by.get(_storage(tensor), 0), tuple(tensor.shape[1:])


def _storage(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def _cost(operator: Any, args: Sequence[Any], result: Any) -> tuple[int, tuple[int, ...], int]:
    """Multiply-accumulates, kernel and dilation of an operator."""
    if operator is _ATEN.convolution:
        images, weight, transposed = args[0], args[1], args[6]
        # every weight is used once at each place of the result; of what comes in, if transposed
        places = prod((images if transposed else result).shape[2:])
        kernel = tuple(weight.shape[2:])
        dilation = max(args[5]) if max(kernel) > 1 else 1
        return len(images) * weight.numel() * places, kernel, dilation
    if operator in _PRODUCTS:
        left, right = args[_PRODUCTS[operator] :][:2]
        return left.numel() * (right.shape[-1] if right.ndim > 1 else 1), (1,), 1
    return 0, (), 1


def _tensors(thing: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        yield from _tensors(list(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _tensors(part)


@contextmanager
def _watched(model: Model, recorder: _Recorder) -> Iterator[None]:
    """Tell the recorder which module runs, and what it returns."""
    found, handles = recorder.trace, []

    def watch(name: str, module: nn.Module) -> None:
        def enter(*_: Any) -> None:
            recorder.scopes.append(name)

        def leave(_: Any, inputs: Any, result: Any) -> None:
            recorder.scopes.pop()
            for tensor in _tensors(result):
                found.results[name] = recorder.made(tensor)
                break
            if module is model.backbone:
                found.maps = [recorder.made(tensor) for tensor in _tensors(result)]
                found.body = len(found.operations)
            if module is model:
                found.logits = recorder.made(result)

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))

    try:
        for name, module in model.named_modules():
            watch(name, module)
        yield
    finally:
        for handle in handles:
            handle.remove()
