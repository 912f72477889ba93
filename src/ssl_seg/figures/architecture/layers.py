"""How a head of any kind is cut into the parts that a drawing shows, and which of them are branches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from ssl_seg.figures.architecture.trace import Trace

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


@dataclass
class Unit:
    """A layer or block of the head, with what follows it and has no weights of its own.

    Attributes:
        name: path inside the head.
        label: the last word of it, empty for a number.
        operations: indices in the trace.
        shape: of its result, without the batch.
        before: of what the unit before it gave.
        takes: names of units, or numbers of the backbone's stages from 0.
    """

    name: str
    label: str = ""
    operations: set[int] = field(default_factory=set)
    shape: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    takes: tuple[str, ...] = ()


def units_of(found: Trace, head: nn.Module, owners: Sequence[int]) -> list[Unit]:
    """The parts of a head, in the order they run.

    Args:
        found: of the model that the head is in.
        owners: the stage of each operation of the backbone.
    """
    paths = list(_cut("", head, len(list(head.children()))))
    head_operations = range(found.body, len(found.operations))
    owner = {i: _unit_at(found.operations[i].scope, paths) for i in head_operations}
    order = list(dict.fromkeys(name for name in owner.values() if name is not None))
    if not order:
        return [_whole(found, head, owners)] if found.body < len(found.operations) else []
    units = {name: Unit(name, _label(name, head)) for name in order}
    before = order[0]
    for i in head_operations:
        name = owner[i]
        work = found.operations[i].macs
        if name is not None:
            before = name if work else before
            units[name].operations.add(i)
        elif work or found.operations[i].parameters:
            units[before].operations.add(i)  # a function's work between two units
    listed = list(units.values())
    for unit in listed:
        unit.shape = found.results[f"head.{unit.name}"][1]
    _connect(found, listed, owners)
    return _joined(found, listed)


def _cut(path: str, module: nn.Module, siblings: int) -> Iterator[str]:
    """Paths of units: containers are opened, and what has a list of modules, as parallel branches are."""
    children = list(module.named_children())
    depth = path.count(".") + 1 if path else 0
    layers = sum(isinstance(part, _LAYERS) for part in module.modules())
    lists = any(isinstance(part, nn.ModuleList | nn.ModuleDict) for part in module.modules())
    plain = type(module) is nn.Sequential
    resizes = isinstance(module, nn.Sequential) and any(isinstance(child, nn.Upsample) for child in module)
    few = depth == 1 and siblings < 3 and (plain or layers > 1)
    if children and (depth == 0 or lists or (plain and layers > 1) or resizes or few):
        for name, child in children:
            yield from _cut(f"{path}.{name}" if path else name, child, siblings)
    else:
        yield path


def _unit_at(scope: str, paths: list[str]) -> str | None:
    inside = scope.removeprefix("head.")
    return next((path for path in paths if inside == path or inside.startswith(f"{path}.")), None)


def _label(path: str, head: nn.Module) -> str:
    parent, _, last = path.rpartition(".")
    if not last.isdigit():
        return last
    if type(head.get_submodule(parent)) is nn.ModuleList:
        return f"{parent.rpartition('.')[2]}.{last}"
    return ""


def _whole(found: Trace, head: nn.Module, owners: Sequence[int]) -> Unit:
    operations = set(range(found.body, len(found.operations)))
    unit = Unit(type(head).__name__, "head", operations, found.logits[1], found.maps[-1][1])
    _connect(found, [unit], owners)
    return unit


def _connect(found: Trace, units: list[Unit], owners: Sequence[int]) -> None:
    """Fill in what each unit takes: the units and stages from which its operations can be reached."""
    home = {i: unit.name for unit in units for i in unit.operations}
    for unit in units:
        needs = {need for i in unit.operations for need in found.operations[i].needs} - unit.operations
        reached = set[int]()
        for need in needs:
            reached |= found.behind(need, until=lambda i: i in home or i < found.body)
        ends = sorted(i for i in reached if i in home or i < found.body)
        names = [home[i] if i in home else str(owners[i]) for i in ends]
        unit.takes = tuple(dict.fromkeys(name for name in names if name != unit.name))


def _joined(found: Trace, units: list[Unit]) -> list[Unit]:
    """Norms, activations and the like go to the unit they follow, or where they follow none to the next."""
    kept: dict[str, Unit] = {}
    stands_for: dict[str, str] = {}  # what was joined -> whose result it gives
    waiting: list[Unit] = []
    for unit in units:
        for early in [early for early in waiting if early.name in unit.takes]:
            unit.operations |= early.operations
            waiting.remove(early)
        unit.takes = tuple(dict.fromkeys(stands_for.get(name, name) for name in unit.takes))
        first = unit.takes[0] if unit.takes else ""
        unit.before = kept[first].shape if first in kept else found.maps[int(first or -1)][1]
        idle = len(unit.takes) == 1 and not any(found.operations[i].macs for i in unit.operations)
        if idle and (unit.shape[1:] == unit.before[1:] or len(unit.shape) == 1):
            stands_for[unit.name] = first
            if first in kept:
                kept[first].operations |= unit.operations
            else:
                waiting.append(unit)
        else:
            kept[unit.name] = unit
    for unit in kept.values():  # a function's work takes what comes after the unit it was joined to
        names = dict.fromkeys(stands_for.get(name, name) for name in unit.takes)
        unit.takes = tuple(name for name in names if name != unit.name)
    return [*kept.values(), *waiting]


def branches(units: list[Unit]) -> list[list[Unit]]:
    """Units in columns: neighbours that do not take from each other and feed the same units are branches."""
    feeds: dict[str, set[str]] = {unit.name: set() for unit in units}
    for unit in units:
        for name in unit.takes:
            feeds.get(name, set()).add(unit.name)
    columns: list[list[Unit]] = []
    for unit in units:
        last = columns[-1] if columns else []
        apart = not any(other.name in unit.takes for other in last)
        if last and apart and feeds[unit.name] and feeds[last[0].name] == feeds[unit.name]:
            last.append(unit)
        else:
            columns.append([unit])
    return columns
