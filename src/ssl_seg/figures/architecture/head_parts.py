"""The parts of a head: its layers and blocks, what each takes, and which of them are branches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from ssl_seg.figures.architecture.trace import Shape, Trace

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
_LISTS = (nn.ModuleList, nn.ModuleDict)


@dataclass
class Unit:
    """A layer or block of the head, with what follows it and has no weights of its own.

    Attributes:
        name: path inside the head.
        label: the last word of it, empty for a number.
        before, shape: of what it takes and gives, without the batch.
        operations: indices in the trace.
        takes: names of other units and of stages.
    """

    name: str
    label: str
    before: Shape
    shape: Shape
    operations: set[int] = field(default_factory=set)
    takes: set[str] = field(default_factory=set)


def units_of(found: Trace, head: nn.Module, sources: Sequence[str]) -> list[Unit]:
    """The parts of a head, in the order they run.

    Args:
        found: of the model that the head is in.
        sources: the name of the stage of each operation of the backbone.
    """
    paths = [path for path in _cut(head, len(list(head.children()))) if _matters(found, f"head.{path}")]
    units: dict[str, Unit] = {}
    waiting = set[int]()  # operations that count with the first unit that takes their results
    # whose result each operation passes on: that of units, of stages, of operations that wait
    origins: list[frozenset[str | int]] = [frozenset({name}) for name in sources]
    for i in range(found.body, len(found.operations)):
        operation = found.operations[i]
        origin = frozenset[str | int]().union(*(origins[need] for need in operation.inputs))
        name = next((path for path in paths if _inside(operation.scope, f"head.{path}")), None)
        if name is None and (operation.macs or operation.parameters):
            # a norm, or a function's work: it counts with the one unit before it
            name = next((str(n) for n in origin if n in units), None) if len(origin) == 1 else None
            if name is None:
                waiting.add(i)
                origin |= {i}
        if name is not None:
            unit = units.setdefault(name, Unit(name, _label(name, head), *found.shapes[f"head.{name}"]))
            unit.operations |= {i, *(waiting & origin)}
            unit.takes |= {n for n in origin if isinstance(n, str)} - {name}
            waiting -= origin
            origin = frozenset({name})
        origins.append(origin)
    if waiting and not units:
        takes = {n for i in waiting for n in origins[i] if isinstance(n, str)}
        return [Unit(type(head).__name__, "head", found.maps[-1][1], found.shapes["head"][1], waiting, takes)]
    for unit in list(units.values())[-1:]:
        unit.operations |= waiting
    return list(units.values())


def _cut(module: nn.Module, siblings: int, path: str = "") -> Iterator[str]:
    """Paths of the modules that are parts, in the order of their definition.

    Opened are the head, its children where they are one or two, as decoder and classifier, and at any depth what
    holds others in a list.

    Args:
        siblings: the head's children.
    """
    children = list(module.named_children())
    layers, plain = count_layers(module), type(module) is nn.Sequential
    few = path.count(".") == 0 and siblings < 3 and (plain or layers > 1)
    holds_list = plain or any(isinstance(part, _LISTS) for part in module.modules())
    resizes = isinstance(module, nn.Sequential) and any(isinstance(part, nn.Upsample) for part in module)
    if children and (not path or few or resizes or (layers > 1 and holds_list)):
        for name, child in children:
            yield from _cut(child, siblings, f"{path}.{name}" if path else name)
    elif path:
        yield path


def count_layers(module: nn.Module) -> int:
    """Convolutions and linear layers in a module."""
    return sum(isinstance(part, _LAYERS) for part in module.modules())


def _matters(found: Trace, path: str) -> bool:
    """Whether a module multiplies, or changes the size of its map; others count with their neighbours."""
    before, after = found.shapes.get(path, ((), ()))
    resized = len(before) == len(after) == 3 and before[1:] != after[1:]
    return resized or any(one.macs and _inside(one.scope, path) for one in found.operations)


def _inside(scope: str, path: str) -> bool:
    return scope == path or scope.startswith(f"{path}.")


def _label(path: str, head: nn.Module) -> str:
    parent, _, last = path.rpartition(".")
    if not last.isdigit():
        return last
    return f"{parent.rpartition('.')[2]}.{last}" if type(head.get_submodule(parent)) is nn.ModuleList else ""


def branches(units: list[Unit]) -> list[list[Unit]]:
    """Units in columns: neighbours that do not take from each other and feed the same units are branches."""
    feeds = {unit.name: {other.name for other in units if unit.name in other.takes} for unit in units}
    columns: list[list[Unit]] = []
    for unit in units:
        last = columns[-1] if columns else []
        apart = last and not any(other.name in unit.takes for other in last)
        if apart and feeds[unit.name] and feeds[last[0].name] == feeds[unit.name]:
            last.append(unit)
        else:
            columns.append([unit])
    return columns
