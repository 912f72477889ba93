"""Every tensor that hangs on a module, wherever it hides."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ssl_seg.base import SSLMethod


def iter_tensors(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """Parameters, buffers, and tensors in plain attributes, lists, dicts and other objects.

    A tensor that hangs on several attributes of `module` comes once for each of them.

    Returns:
        (attribute, path, tensor); the path starts with the attribute's name.
    """
    for name, thing in _attributes(module):
        for path, tensor in _walk(thing, name, {id(module)}):
            yield name, path, tensor


def _walk(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield path, thing
    for key, value in _attributes(thing):
        yield from _walk(value, f"{path}.{key}", seen)


def _attributes(thing: Any) -> list[tuple[Any, Any]]:
    """What a container or an object holds, by name; nothing for torch's own and Python's own objects."""
    if isinstance(thing, nn.Module):
        tables = ("_parameters", "_buffers", "_modules")
        left_out = (
            {*tables, "backbone"} if isinstance(thing, SSLMethod) else set(tables)
        )  # a part's reference
        plain = [(name, value) for name, value in vars(thing).items() if name not in left_out]
        return [item for table in tables for item in vars(thing)[table].items()] + plain
    if isinstance(thing, dict):
        return list(thing.items())
    if isinstance(thing, list | tuple | set):
        return list(enumerate(thing))
    if type(thing).__module__.split(".")[0] in ("torch", "builtins"):
        return []
    return list(getattr(thing, "__dict__", {}).items())
