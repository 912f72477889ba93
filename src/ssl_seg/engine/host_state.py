"""What modules hold beside tensors: numbers, modes, lists. A recording of a step neither reads nor changes it."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ssl_seg.augment.view_list import NotRecordableError

_NUMBERS = (int, float, bool)
_CONTAINERS = (list, dict, set)
_Kept = list[dict[str, tuple[Any, Any]]]


class HostState:
    """The attributes of a module and its parts."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = [(type(part).__name__, vars(part)) for part in module.modules()]

    def numbers(self) -> tuple[float, ...]:
        """All numbers and modes, in a fixed order."""
        return tuple(
            value for _, attributes in self._parts for value in attributes.values() if type(value) in _NUMBERS
        )

    def keep(self) -> _Kept:
        """Everything, so that it can be compared and restored: each value, and a copy of what it contains."""
        return [
            {name: (value, _copy(value)) for name, value in attributes.items()}
            for _, attributes in self._parts
        ]

    def restore(self, kept: _Kept) -> None:
        """Put everything back, in place."""
        for (_, attributes), values in zip(self._parts, kept, strict=True):
            for name in [name for name in attributes if name not in values]:
                del attributes[name]
            for name, (value, copy) in values.items():
                attributes[name] = value
                if isinstance(copy, list):
                    value[:] = copy
                elif copy is not None:
                    value.clear()
                    value.update(copy)

    def additions(self, kept: _Kept) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Lists to which a step has added tensors since, and these.

        Raises:
            NotRecordableError: something else is not as it was.
        """
        found: list[tuple[list[Tensor], list[Tensor]]] = []
        for kind, name, value, copy, now in self._changes(kept):
            longer = isinstance(copy, list) and value is now and _same(value[: len(copy)], copy)
            added = value[len(copy) :] if longer else []
            tensors = [each for each in added if isinstance(each, Tensor)]
            if not longer or len(tensors) < len(added):
                raise NotRecordableError(f"it changes {name} of {kind}, which is not in a tensor")
            found.append((value, tensors))
        return found

    def _changes(self, kept: _Kept) -> Iterator[tuple[str, str, Any, Any, Any]]:
        for (kind, attributes), values in zip(self._parts, kept, strict=True):
            for name in {**values, **attributes}:
                (value, copy), now = values.get(name, (None, None)), attributes.get(name)
                same = value is now or (type(value) in _NUMBERS and value == now)
                if not same or (copy is not None and not _same(now, copy)):
                    yield kind, name, value, copy, now


def _copy(value: Any) -> Any:
    return type(value)(value) if type(value) in _CONTAINERS else None


def _same(one: Any, two: Any) -> bool:
    """Whether two containers hold the same objects."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(one[key] is two[key] for key in one)
    return len(one) == len(two) and all(a is b for a, b in zip(one, two, strict=True))
