"""Completes component names in a shell, from the names that were loaded last: Tab loads no torch."""

from ssl_seg.data.component_names import read_component_names
from ssl_seg.utils.text import shown


def ssl(incomplete: str) -> list[str]:
    """Names for `--ssl`."""
    return _matches("ssl", incomplete)


def backbones(incomplete: str) -> list[str]:
    """Names for `--backbone`."""
    return _matches("backbones", incomplete)


def heads(incomplete: str) -> list[str]:
    """Names for `--head`."""
    return _matches("heads", incomplete)


def metrics(incomplete: str) -> list[str]:
    """Names for `--metric`; the last one of a comma-separated list."""
    first, comma, last = incomplete.rpartition(",")
    return [f"{first}{comma}{name}" for name in _matches("metrics", last)]


def components(incomplete: str) -> list[str]:
    """Names of all types."""
    return sorted({name for kind in read_component_names() for name in _matches(kind, incomplete)})


def types_and_components(incomplete: str) -> list[str]:
    """Component types, then names of all types."""
    kinds = [kind for kind in read_component_names() if kind.startswith(incomplete)]
    return [*kinds, *(name for name in components(incomplete) if name not in kinds)]


def _matches(kind: str, incomplete: str) -> list[str]:
    names = read_component_names().get(kind, [])
    # a shell splits what it is offered at line breaks and spaces
    return [name for name in names if name.startswith(incomplete) and name == shown(name) and " " not in name]
