"""The parts of a model as a drawing shows them: stages of the backbone, layers and blocks of the head."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor, nn

from ssl_seg.base import Backbone, Head, Model
from ssl_seg.figures.architecture.head_parts import Unit, branches, count_layers, units_of
from ssl_seg.figures.architecture.network import IMAGE, Network, Part
from ssl_seg.figures.architecture.trace import Operation, Trace, trace

_POOLINGS = {"MaxPool2d": "max pooling", "AvgPool2d": "mean pooling"}


def describe(model: Model | Backbone, size: tuple[int, int], title: str) -> Network:
    """Run a model once and say what it is made of.

    A stage of the backbone is what is computed for one map of the pyramid and for none before it. The
    head's parts are its layers and blocks. What is computed between two parts counts with the first, so
    parameters and multiply-accumulates of all parts add up to those of the model.

    Args:
        size: height and width of the image.
        title: what the model is called.

    Raises:
        Whatever the model raises, as UsageError for an image size that it does not take.
    """
    whole = model if isinstance(model, Model) else Model(model, _NoHead())
    found = trace(whole, size)
    modules = dict(whole.named_modules())
    names = _stage_names(found)
    stages = tuple(
        _stage(found, modules, names, level, stride) for level, stride in enumerate(whole.backbone.strides)
    )
    columns = _head(found, modules, names, whole.head) if whole is model else []
    network = Network(title, size, stages, tuple(map(tuple, columns)))
    return replace(network, unused=sum(p.numel() for p in whole.parameters()) - network.parameters)


class _NoHead(Head):
    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        return features[-1]


def _stage_names(found: Trace) -> list[str]:
    """The stage of each operation of the backbone: of the first map that needs it, else the one that runs then."""
    levels = list(enumerate(found.maps, start=1))
    last = len(levels)
    names = [f"stage {next((n for n, (end, _) in levels if end > i), last)}" for i in range(found.body)]
    for level, (end, _) in reversed(levels):
        for i in found.behind(end):
            names[i] = f"stage {level}"
    names[0] = IMAGE
    return names


def _stage(found: Trace, modules: dict[str, nn.Module], names: list[str], level: int, stride: int) -> Part:
    name = f"stage {level + 1}"
    inside = {i for i, owner in enumerate(names) if owner == name}
    inputs = sorted({i for j in inside for i in found.operations[j].inputs} - inside)
    operations = [found.operations[i] for i in sorted(inside)]
    numbers = _sums(operations)
    return Part(
        name=name,
        label=name,
        what=_blocks(found, modules, inside) or _made_of(operations, modules),
        kind="stage" if numbers["layers"] else "pooling",
        shape=found.maps[level][1],
        stride=stride,
        takes=tuple(dict.fromkeys(names[i] for i in inputs)),
        **numbers,
    )


def _head(found: Trace, modules: dict[str, nn.Module], names: list[str], head: Head) -> list[list[Part]]:
    mean = "global mean"
    deepest = f"stage {len(found.maps)}"
    sources = [mean if head.pools and name == deepest else name for name in names]
    units = units_of(found, head, sources)
    order = [*dict.fromkeys(sources), *(unit.name for unit in units)]
    columns = [[_unit(found, modules, unit, order) for unit in column] for column in branches(units)]
    last = next((part for column in reversed(columns) for part in reversed(column) if part.macs), None)
    columns = [
        [replace(p, label="classifier") if p is last and not p.label else p for p in column]
        for column in columns
    ]
    if head.pools:
        shape = found.maps[-1][1][:1]
        columns.insert(0, [Part(mean, "pooling", mean, "pooling", shape, takes=(deepest,))])
    return _to_size(columns, found.shapes["head"][1])


def _unit(found: Trace, modules: dict[str, nn.Module], unit: Unit, order: list[str]) -> Part:
    operations = [found.operations[i] for i in sorted(unit.operations)]
    numbers = _sums(operations)
    label, what, kind = unit.label, _made_of(operations, modules), "layer"
    if not numbers["macs"]:
        kind = "upsampling" if prod(unit.shape[1:]) > prod(unit.before[1:]) else "pooling"
        label, what = label or kind, resized(unit.before[1:], unit.shape[1:])
    elif numbers["layers"] == 1 and (cells := _pooled_to(found, modules, operations)):
        kind, what = "pooling", "image pooling" if cells == "1×1" else f"pooling {cells}"
    takes = tuple(sorted(unit.takes, key=order.index))
    return Part(unit.name, label, what, kind, unit.shape, takes=takes, **numbers)  # type: ignore[arg-type]


def _pooled_to(found: Trace, modules: dict[str, nn.Module], operations: list[Operation]) -> str | None:
    """`2×2` for adaptive pooling to as many cells."""
    scopes = [one.scope for one in operations if isinstance(modules.get(one.scope), nn.AdaptiveAvgPool2d)]
    return "×".join(map(str, found.shapes[scopes[0]][1][1:])) if scopes else None


def resized(before: Sequence[int], after: Sequence[int]) -> str:
    """`×8`, or `/ 2`."""
    up = after[0] / before[0]
    return f"×{up:.3g}" if up >= 1 else f"/ {1 / up:.3g}"


def _to_size(columns: list[list[Part]], logits: tuple[int, ...]) -> list[list[Part]]:
    """With the last resize, which heads do by a function: a part of its own, or the last one's size."""
    if not columns or len(logits) < 3:
        return columns
    last = columns[-1][-1]
    sides = last.shape[1:] if len(last.shape) == 3 else (1, 1)
    if sides[0] < logits[1] or sides[1] < logits[2]:
        takes = tuple(part.name for part in columns[-1])
        what = resized(sides, logits[1:])
        return [*columns, [Part("to image size", "upsampling", what, "upsampling", logits, takes=takes)]]
    columns[-1][-1] = replace(last, shape=logits)
    return columns


def _sums(operations: list[Operation]) -> dict[str, Any]:
    """The numbers of some operations together, by the names that `Part` has for them."""
    return {
        "parameters": sum(one.parameters for one in operations),
        "macs": sum(one.macs for one in operations),
        "layers": sum(bool(one.kernel) for one in operations),
        "dilation": max((one.dilation for one in operations), default=1),
    }


def _made_of(operations: list[Operation], modules: dict[str, nn.Module]) -> str:
    """`2 × conv 3×3`; without a layer, what the last module is."""
    kernels = [one.kernel for one in operations if one.kernel]
    names = {"linear" if len(k) == 1 else f"conv {'×'.join(map(str, k))}" for k in kernels}
    kinds = {name.split()[0] for name in names}
    if not kernels:
        last = type(modules[operations[-1].scope]).__name__ if operations else ""
        return _POOLINGS.get(last, last)
    name = next((min(each) for each in (names, kinds) if len(each) == 1), "layer")
    return name if len(kernels) == 1 else f"{len(kernels)} × {name}"


def _blocks(found: Trace, modules: dict[str, nn.Module], inside: Collection[int]) -> str:
    """`3 × Bottleneck`: the class whose modules run in this stage alone and hold half of its parameters.

    Those of two layers or more count. The outermost class is taken, but rather several of a class than
    a single one that holds them.
    """
    ran: tuple[set[str], set[str]] = set(), set()
    for i, one in enumerate(found.operations):
        words = one.scope.split(".")
        ran[i in inside].update(".".join(words[:end]) for end in range(1, len(words) + 1))
    classes = defaultdict[str, list[str]](list)
    for path in ran[True] - ran[False]:
        module = modules[path]
        if count_layers(module) > 1 and type(module) not in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
            classes[type(module).__name__].append(path)
    parameters = sum(found.operations[i].parameters for i in inside)
    fitting = []
    for name, paths in classes.items():
        outer = [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
        held = sum(p.numel() for path in outer for p in modules[path].parameters())
        if 2 * held >= parameters:
            fitting.append((len(outer) == 1, min(path.count(".") for path in outer), name, len(outer)))
    if not fitting:
        return ""
    _, _, name, many = min(fitting)
    return name if many == 1 else f"{many} × {name}"
