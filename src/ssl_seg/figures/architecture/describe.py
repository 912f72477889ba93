"""The parts of a model: stages of its backbone, modules of its head to a depth."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from torch import Tensor, nn

from ssl_seg.base import Backbone, Head, Model
from ssl_seg.figures.architecture.network import IMAGE, Kind, Network, Part
from ssl_seg.figures.architecture.trace import Operation, Shape, Trace, trace
from ssl_seg.nn.layers import in_chans_of

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_LISTS = (nn.ModuleList, nn.ModuleDict)


def describe(model: Model | Backbone, size: tuple[int, int], title: str) -> Network:
    """Run a model once and say what it is made of.

    A stage of the backbone is what is computed for one map of the pyramid and for none before it. The
    head's parts are its layers and blocks; neighbours that take the same are branches. What is computed
    between two parts counts with the first, so parameters and multiply-accumulates of all parts add up to
    those of the model.

    Args:
        size: height and width of the image.
        title: what the model is called.

    Raises:
        Whatever the model raises, as UsageError for an image size that it does not take.
    """
    whole = model if isinstance(model, Model) else Model(model, _NoHead())
    found = trace(whole, size)
    parts = _Parts(found, whole)
    stages = tuple(
        parts.part(f"stage {level}", shape, stride)
        for level, (stride, (_, shape)) in enumerate(zip(whole.backbone.strides, found.maps, strict=True), 1)
    )
    paths = reversed(dict.fromkeys(reversed(parts.owners[found.body :])))  # in the order they end
    head = [parts.part(path, found.shape_of(path)) for path in paths if path]
    if whole.head.pools:
        name, deepest = "global mean", (stages[-1].name,)
        mean = Part(name, "pooling", name, "pooling", stages[-1].shape[:1], takes=deepest)
        head = [mean, *(replace(part, takes=(name,)) if part.takes == deepest else part for part in head)]
    if head:
        head = [*head[:-1], *_to_size(head[-1], found.shapes["head"])]
    columns = tuple(tuple(column) for _, column in groupby(head, lambda part: part.takes))
    network = Network(title, size, stages, columns)
    unused = sum(p.numel() for p in whole.parameters()) - network.parameters
    return replace(network, unused=unused, channels=in_chans_of(whole))


class _NoHead(Head):
    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        return features[-1]


class _Parts:
    """Which part each operation belongs to.

    Attributes:
        owners: of each operation: a stage, or the path of a module in the head; empty for no part.
        sources: of each operation: the parts whose results it passes on; of one in a part, that part.
    """

    def __init__(self, found: Trace, model: Model) -> None:
        self.found, self.modules = found, dict(model.named_modules())
        self.owners = owners = _stages(found)
        self.sources = [[stage] for stage in owners]
        ran = [f"{one.scope}." for one in found.operations if one.macs]
        depth = 2 if len(list(model.head.children())) < 3 else 1  # of one or two children, theirs too
        paths = [
            path for path in _cut(model.head, "head", depth) if any(s.startswith(f"{path}.") for s in ran)
        ]
        for one in found.operations[found.body :]:
            before = list(dict.fromkeys(name for i in sorted(one.inputs) for name in self.sources[i]))
            owner = next((path for path in paths if f"{one.scope}.".startswith(f"{path}.")), "")
            if not owner and (one.macs or one.parameters) and before in [[path] for path in paths]:
                owner = before[0]  # as a norm counts with its layer
            owners.append(owner)
            self.sources.append([owner] if owner else before)
        last = next((owner for owner in reversed(owners[found.body :]) if owner), "head")
        for index, one in enumerate(found.operations):
            if (one.macs or one.parameters) and not owners[index]:  # counts with the first that needs it
                later = (owners[i] for i in range(index, len(owners)) if index in found.behind(i))
                owners[index] = next(filter(None, later), last)

    def part(self, name: str, shape: Shape, stride: int | None = None) -> Part:
        """A stage or a part of the head, with the shape of its result."""
        ops = [one for one, owner in zip(self.found.operations, self.owners, strict=True) if owner == name]
        takes = (name for one in ops for i in sorted(one.inputs) for name in self.sources[i])
        layers = [one.layer for one in ops if one.layer]
        of_head, last = name.startswith("head"), [type(self.modules[one.scope]).__name__ for one in ops[-1:]]
        kind: Kind = "layer" if of_head else "stage" if layers else "pooling"
        what = (not of_head and self._blocks(name, ops)) or _layers(layers) or "".join(last)
        pools = [one.scope for one in ops if isinstance(self.modules[one.scope], nn.AdaptiveAvgPool2d)]
        if pools and len(layers) == 1:
            _, height, width = self.found.shapes[pools[0]]
            kind, what = "pooling", f"pooling {height}×{width}" if height * width > 1 else "image pooling"
        return Part(
            name=name.removeprefix("head."),
            label=re.findall(r"[^.]+(?:\.\d+)*", name)[-1],
            what=what,
            kind=kind,
            shape=shape,
            parameters=sum(one.parameters for one in ops),
            macs=sum(one.macs for one in ops),
            layers=len(layers),
            stride=stride,
            dilation=max((one.dilation for one in ops), default=1),
            takes=tuple(each.removeprefix("head.") for each in dict.fromkeys(takes) if each != name),
        )

    def _blocks(self, name: str, ops: Sequence[Operation]) -> str:
        """`3 × Bottleneck`: modules of one class that hold half of a stage's parameters; empty without any."""
        owned = zip(self.found.operations, self.owners, strict=True)
        others = [one for one, owner in owned if one.layer and owner != name]
        classes = defaultdict[str, list[int]](list)
        for path in _prefixes(ops) - _prefixes(others):
            module = self.modules[path]
            if _count_layers(module) > 1 and type(module) not in (nn.Sequential, *_LISTS):
                classes[type(module).__name__].append(sum(p.numel() for p in module.parameters()))
        several = {name: sizes for name, sizes in classes.items() if len(sizes) > 1}
        kind = max(several, key=lambda name: sum(several[name]), default="")
        least = sum(one.parameters for one in ops) / 2
        return f"{len(several[kind])} × {kind}" if kind and sum(several[kind]) >= least else ""


def _stages(found: Trace) -> list[str]:
    """The stage of each operation of the backbone: of the first map that needs it, else the last."""
    names = [f"stage {len(found.maps)}"] * found.body
    for level, (end, _) in reversed(list(enumerate(found.maps, 1))):
        for i in found.behind(end):
            names[i] = f"stage {level}"
    names[0] = IMAGE
    return names


def _cut(module: nn.Module, path: str, depth: int) -> Iterator[str]:
    """Paths of the modules that are parts: children to a depth, and what lists hold at any depth."""
    for name, child in module.named_children():
        listed = type(child) is nn.Sequential or any(isinstance(each, _LISTS) for each in child.modules())
        if (depth > 1 and any(child.children())) or (listed and _count_layers(child) > 1):
            yield from _cut(child, f"{path}.{name}", max(1, depth - 1))
        else:
            yield f"{path}.{name}"


def _to_size(last: Part, logits: Shape) -> list[Part]:
    """The last part, with the resize to the image that heads do by a function."""
    before, after = (*last.shape, 1)[1], (*logits, 1)[1]
    if before >= after:
        return [replace(last, shape=logits)]
    what, takes = f"×{after / before:.3g}", (last.name,)
    return [last, Part("to image size", "upsampling", what, "upsampling", logits, takes=takes)]


def _layers(layers: Sequence[str]) -> str:
    """`2 × conv 3×3`; of several kernels, `2 × conv`."""
    names = set(layers) if len(set(layers)) == 1 else {name.split()[0] for name in layers}
    name = names.pop() if len(names) == 1 else "layer"
    return f"{len(layers)} × {name}" if len(layers) > 1 else "".join(layers)


def _count_layers(module: nn.Module) -> int:
    return sum(isinstance(part, _LAYERS) for part in module.modules())


def _prefixes(operations: Sequence[Operation]) -> set[str]:
    """Paths of the modules in which these run."""
    return {one.scope[: dot.start()] for one in operations for dot in re.finditer(r"\.|$", one.scope)}
