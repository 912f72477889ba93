"""The parts of a model as a drawing shows them: stages of the backbone, layers and blocks of the head."""

from collections import defaultdict
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor, nn

from ssl_seg.base import Backbone, Head, Model
from ssl_seg.figures.architecture.layers import Unit, branches, units_of
from ssl_seg.figures.architecture.network import IMAGE, Network, Part
from ssl_seg.figures.architecture.trace import Trace, trace

_BOXES = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


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
    owners = _owners(found)
    stages = tuple(_stage(found, modules, owners, level, whole.backbone) for level in range(len(found.maps)))
    columns = _head(found, modules, owners, whole.head) if whole is model else ()
    network = Network(title, size, stages, columns)
    return replace(network, unused=sum(p.numel() for p in whole.parameters()) - network.parameters)


class _NoHead(Head):
    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        return features[-1]


def _owners(found: Trace) -> list[int]:
    """The stage of each operation of the backbone."""
    owners: dict[int, int] = {0: 0}
    for level, (last, _) in enumerate(found.maps):
        for operation in found.behind(last, until=owners.__contains__):
            owners.setdefault(operation, level)
    ends = [last for last, _ in found.maps]
    # what is computed for no map counts with the stage during which it runs
    return [
        owners.get(i, next((level for level, end in enumerate(ends) if end > i), len(ends) - 1))
        for i in range(found.body)
    ]


def _stage(
    found: Trace, modules: dict[str, nn.Module], owners: list[int], level: int, backbone: Backbone
) -> Part:
    inside = [i for i, owner in enumerate(owners) if owner == level and i > 0]
    needs = {need for i in inside for need in found.operations[i].needs} - set(inside)
    takes = [IMAGE if need == 0 else _stage_name(owners[need]) for need in sorted(needs)]
    given = sums(found, inside)
    return Part(
        name=_stage_name(level),
        label=_stage_name(level),
        what=made_of(found, modules, inside),
        kind="stage" if given["layers"] else "pooling",
        shape=found.maps[level][1],
        stride=backbone.strides[level],
        takes=tuple(dict.fromkeys(takes)),
        **given,
    )


def _stage_name(level: int) -> str:
    return f"stage {level + 1}"


def _head(
    found: Trace, modules: dict[str, nn.Module], owners: list[int], head: Head
) -> tuple[tuple[Part, ...], ...]:
    units = units_of(found, head, owners)
    last = next((unit for unit in reversed(units) if sums(found, list(unit.operations))["macs"]), None)
    columns = [
        tuple(_unit(found, modules, unit, last=unit is last) for unit in column) for column in branches(units)
    ]
    if head.pools:
        channels = found.maps[-1][1][:1]
        stage = (_stage_name(len(found.maps) - 1),)
        mean = Part("global mean", "pooling", "global mean", "pooling", channels, takes=stage)
        columns.insert(0, (mean,))
        columns[1:] = [tuple(_after(part, stage, mean.name) for part in column) for column in columns[1:]]
    return tuple(_to_size(columns, found.logits[1]))


def _after(part: Part, old: tuple[str, ...], new: str) -> Part:
    return replace(part, takes=(new,)) if part.takes == old else part


def _unit(found: Trace, modules: dict[str, nn.Module], unit: Unit, *, last: bool) -> Part:
    inside = sorted(unit.operations)
    given = sums(found, inside)
    what, label = made_of(found, modules, inside, blocks=False), unit.label
    kind: Any = "layer"
    sides = [shape[1:] for shape in (unit.before, unit.shape)]
    if not given["macs"] and prod(sides[1]) != prod(sides[0]):
        kind = "upsampling" if prod(sides[1]) > prod(sides[0]) else "pooling"
        label, what = label or kind, resized(*sides)
    elif given["layers"] == 1 and (cells := _pooled_to(found, modules, inside)):
        kind, what = "pooling", "image pooling" if cells == "1×1" else f"pooling {cells}"
    if last and not label:
        label = "classifier"
    takes = tuple(_stage_name(int(name)) if name.isdigit() else name for name in unit.takes)
    return Part(unit.name, label, what, kind, unit.shape, takes=takes, **given)


def _pooled_to(found: Trace, modules: dict[str, nn.Module], inside: list[int]) -> str | None:
    """`2×2` for adaptive pooling to as many cells."""
    for scope in dict.fromkeys(found.operations[i].scope for i in inside):
        if isinstance(modules.get(scope), nn.AdaptiveAvgPool2d):
            return "×".join(map(str, found.results[scope][1][1:]))
    return None


def resized(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """`×8`, or `/ 2`, or all of a map."""
    if not before or not after:
        return "over space"
    up = after[0] / before[0]
    return f"×{up:.3g}" if up >= 1 else f"/ {1 / up:.3g}"


def _to_size(columns: list[tuple[Part, ...]], logits: tuple[int, ...]) -> list[tuple[Part, ...]]:
    """With the last resize, which heads do by a function: a part of its own, or the last one's size."""
    if not columns or len(logits) < 3:
        return columns
    last = columns[-1][-1]
    sides = last.shape[1:] if len(last.shape) == 3 else (1, 1)
    if sides[0] < logits[1] or sides[1] < logits[2]:
        names = tuple(part.name for part in columns[-1])
        what = resized(sides, logits[1:])
        up = Part("to image size", "upsampling", what, "upsampling", logits, takes=names)
        return [*columns, (up,)]
    return [*columns[:-1], (*columns[-1][:-1], replace(last, shape=logits))]


def sums(found: Trace, inside: list[int]) -> dict[str, int]:
    """The numbers of some operations together, by the names that `Part` has for them."""
    chosen = [found.operations[i] for i in inside]
    return {
        "parameters": sum(operation.parameters for operation in chosen),
        "macs": sum(operation.macs for operation in chosen),
        "layers": sum(bool(operation.kernel) for operation in chosen),
        "dilation": max((operation.dilation for operation in chosen), default=1),
    }


def made_of(found: Trace, modules: dict[str, nn.Module], inside: list[int], *, blocks: bool = True) -> str:
    """`3 × Bottleneck` where blocks of one class hold most of the parameters, else `2 × conv 3×3`."""
    block, many = _block(found, modules, inside) if blocks else ("", 0)
    if block:
        return block if many == 1 else f"{many} × {block}"
    kernels = [found.operations[i].kernel for i in inside if found.operations[i].kernel]
    names = {"linear" if len(k) == 1 else f"conv {'×'.join(map(str, k))}" for k in kernels}
    if kernels:
        kinds = {name.split()[0] for name in names}
        name = names.pop() if len(names) == 1 else kinds.pop() if len(kinds) == 1 else "layer"
        return name if len(kernels) == 1 else f"{len(kernels)} × {name}"
    scopes = [found.operations[i].scope for i in inside if found.operations[i].scope in modules]
    name = type(modules[scopes[-1]]).__name__ if scopes else ""
    return {"MaxPool2d": "max pooling", "AvgPool2d": "mean pooling"}.get(name, name)


def _block(found: Trace, modules: dict[str, nn.Module], inside: list[int]) -> tuple[str, int]:
    """The class whose modules run wholly inside and hold half of the parameters, and how many they are.

    Those of two layers or more count. The outermost class is taken, but rather several of a class than
    a single one that holds them.
    """
    chosen, outside = set(inside), set[str]()
    weight, layers = defaultdict[str, int](int), defaultdict[str, int](int)
    for i, operation in enumerate(found.operations):
        path = operation.scope
        while path:
            if i in chosen:
                weight[path] += operation.parameters
                layers[path] += bool(operation.kernel)
            else:
                outside.add(path)
            path = path.rpartition(".")[0]
    classes: dict[str, list[str]] = defaultdict(list)
    for path in layers.keys() - outside:
        if layers[path] > 1 and type(modules[path]) not in _BOXES:
            classes[type(modules[path]).__name__].append(path)
    total = sum(found.operations[i].parameters for i in inside)
    best: list[tuple[bool, int, str, int]] = []
    for name, paths in classes.items():
        outer = [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
        if 2 * sum(weight[path] for path in outer) >= total > 0:
            best.append((len(outer) == 1, min(path.count(".") for path in outer), name, len(outer)))
    return min(best)[2:] if best else ("", 0)
