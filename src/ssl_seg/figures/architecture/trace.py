"""What a model computes for one image: every operation, its inputs, its module and its cost."""

from collections import ChainMap, Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ssl_seg.base import Model
from ssl_seg.nn.layers import in_chans_of

Shape = tuple[int, ...]
_ATEN = torch.ops.aten
_FLASH = "_scaled_dot_product_flash_attention"
_CPU_FORMULA = {getattr(_ATEN, f"{_FLASH}_for_cpu"): flop_registry[getattr(_ATEN, _FLASH)]}
_FORMULAS = ChainMap(flop_registry, _CPU_FORMULA)  # torch 2.10 has none for a CPU's attention


@dataclass(frozen=True)
class Operation:
    """One call of a torch operator.

    Attributes:
        scope: path of the module that runs it: `backbone.net.layer1.0.conv1`.
        inputs: indices of the operations whose results it takes.
        parameters: numbers in the parameters that it is the first to use.
        macs: multiply-accumulates.
        layer: `conv 3×3`; `linear` for a matrix product with a parameter; empty for anything else.
        dilation: of a convolution.
    """

    scope: str
    inputs: frozenset[int]
    parameters: int = 0
    macs: int = 0
    layer: str = ""
    dilation: int = 1


@dataclass
class Trace:
    """All operations of one forward pass; the first stands for the image.

    Attributes:
        shapes: of every module that ran: of the first tensor in what it returned last, without the batch.
        maps: of the backbone's pyramid: the operation that made each, and its shape.
        body: so many operations are done when the backbone is.
    """

    operations: list[Operation] = field(default_factory=lambda: [Operation("", frozenset())])
    shapes: dict[str, Shape] = field(default_factory=dict)
    maps: list[tuple[int, Shape]] = field(default_factory=list)
    body: int = 0

    def behind(self, operation: int) -> set[int]:
        """An operation and all that it needs, directly or not."""
        found, ahead = {operation}, [operation]
        while ahead:
            new = self.operations[ahead.pop()].inputs - found
            found |= new
            ahead.extend(new)
        return found

    def shape_of(self, path: str) -> Shape:
        """The shape of what a module returned; of one that was not called itself, of what ran last inside it."""
        inside = (one.scope for one in reversed(self.operations) if f"{one.scope}.".startswith(f"{path}."))
        return self.shapes[path if path in self.shapes else next(inside)]


def trace(model: Model, size: tuple[int, int]) -> Trace:
    """Run a model once, in evaluation, on one image of zeros; it is as it was afterwards.

    It runs on tensors without storage, which takes no time and no memory; a model that looks at values
    cannot, and really runs.

    Args:
        size: height and width of the image.

    Raises:
        Whatever the model raises.
    """
    modes = {module: module.training for module in model.modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides its products
    try:
        with torch.no_grad():
            with suppress(Exception):  # models are foreign code: what is wrong shows when it really runs
                return _run(model, size, "meta")
            return _run(model, size, next((str(p.device) for p in model.parameters()), "cpu"))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for module, mode in modes.items():
            module.training = mode


def _run(model: Model, size: tuple[int, int], device: str) -> Trace:
    parameters = {name: p.detach().to(device) for name, p in model.named_parameters()}
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    images = torch.zeros(1, in_chans_of(model), *size, device=device)
    recorder = _Recorder(model, parameters.values(), images)
    enter, leave = register_module_forward_pre_hook, register_module_forward_hook
    with enter(recorder.enter), leave(recorder.leave), recorder:
        functional_call(model, {**parameters, **buffers}, (images,))
    return recorder.trace


class _Recorder(TorchDispatchMode):
    """Sees every operator below autograd. A tensor is known by its storage, so that views are the same."""

    def __init__(self, model: Model, parameters: Any, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self._names = {module: name for name, module in model.named_modules()}
        self._scopes = [""]  # paths of the modules that run
        self._unused = Counter[StorageWeakRef]()
        for tensor in parameters:
            self._unused[_storage(tensor)] += tensor.numel()
        self._weights = frozenset(self._unused)
        self._made_by = {_storage(images): 0}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        made = {_storage(tensor) for tensor in _tensors(result)}
        if not self._weights.isdisjoint(made):
            return result  # a view of a weight is that weight
        macs, layer, dilation = _cost(func.overloadpacket, args, kwargs or {}, result)
        operation = Operation(
            scope=self._scopes[-1],
            inputs=frozenset(self._made_by[key] for key in inputs if key in self._made_by),
            parameters=sum(self._unused.pop(key, 0) for key in inputs),
            macs=macs,
            layer="" if layer == "linear" and self._weights.isdisjoint(inputs) else layer,
            dilation=dilation,
        )
        self._made_by |= dict.fromkeys(made, len(self.trace.operations))
        self.trace.operations.append(operation)
        return result

    def enter(self, module: nn.Module, inputs: Any) -> None:
        self._scopes.append(self._names.get(module, self._scopes[-1]))

    def leave(self, module: nn.Module, inputs: Any, result: Any) -> None:
        name = self._scopes.pop()
        maps = [(self._made_by.get(_storage(t), 0), tuple(t.shape[1:])) for t in _tensors(result)]
        self.trace.shapes[name] = maps[0][1] if maps else ()
        if name == "backbone":
            self.trace.maps, self.trace.body = maps, len(self.trace.operations)


def _tensors(thing: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(thing) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


def _cost(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> tuple[int, str, int]:
    """Multiply-accumulates of an operator, the layer that it is if it has a weight, and its dilation."""
    if operator in (_ATEN.mv, _ATEN.addmv):  # for which torch's counter has no formula
        return args[-2].numel(), "linear", 1
    if operator not in _FORMULAS:
        return 0, "", 1
    macs = _FORMULAS[operator](*args, **kwargs, out_val=result) // 2
    if operator is not _ATEN.convolution:
        return macs, "linear", 1
    kernel = args[1].shape[2:]
    return macs, f"conv {'×'.join(map(str, kernel))}", max(args[5]) if max(kernel) > 1 else 1
