"""What installed packages announce as entry points, package by package.

`importlib.metadata.entry_points()` reads all packages in one go, and one file that is not well
formed anywhere takes everybody down. Here it costs its own package alone.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from ssl_seg.utils.text import shown

DISABLE = "SSL_SEG_DISABLE_PLUGINS"
GROUPS = ("ssl_seg", "ssl_seg.commands")


@dataclass(frozen=True)
class PluginSource:
    """Who brings something, as people should see it."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return shown(f"{self.name} {self.version}".strip())


def disabled() -> frozenset[str]:
    """The plugins and packages that `SSL_SEG_DISABLE_PLUGINS=name,...` names."""
    return frozenset(filter(None, map(_plain, os.environ.get(DISABLE, "").split(","))))


def iter_entry_points(
    group: str, refuse: Callable[[str], None], *, without: Collection[str] | None = None
) -> list[tuple[EntryPoint, PluginSource]]:
    """The entry points of a group with their packages, in the order of their names.

    Of two packages of one name the first on the path counts, as for `import`.

    Args:
        group: of the entry points.
        refuse: called with one line for each package whose metadata cannot be read, and each entry point that is
            left out.
        without: names of entry points or packages that are left out; by default those of `disabled`.
    """
    without = disabled() if without is None else without
    found: dict[str, list[tuple[EntryPoint, PluginSource]]] = {}
    for distribution in distributions():
        try:
            # most packages announce nothing here: a look at the text is cheaper than its grammar
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            source = _source(distribution)
            points = sorted(point for point in distribution.entry_points if point.group == group)
        except Exception as error:  # not UTF-8, no `=` in a line, no name: anything
            refuse(f"the metadata of {_folder(distribution)} cannot be read: {short_error(error)}")
            continue
        found.setdefault(source.name.lower(), [(point, source) for point in points])
    pairs = [pair for name in sorted(found) for pair in found[name]]
    for point, source in pairs:
        if not {_plain(point.name), _plain(source.name)}.isdisjoint(without):
            refuse(f"plugin {point.name!r} of {source} is disabled by {DISABLE}")
    return [
        (point, source)
        for point, source in pairs
        if {_plain(point.name), _plain(source.name)}.isdisjoint(without)
    ]


def disabled_in_vain() -> list[str]:
    """Names in `SSL_SEG_DISABLE_PLUGINS` that no installed plugin has."""
    names: set[str] = set()
    for group in GROUPS:
        for point, source in iter_entry_points(group, lambda trouble: None, without=()):
            names |= {_plain(point.name), _plain(source.name)}
    return sorted(disabled() - names)


def _plain(name: str) -> str:
    """A name as packages are compared by it."""
    return name.strip().lower().replace("_", "-")


def _source(distribution: Distribution) -> PluginSource:
    """By the name in METADATA, or without it that of the folder."""
    known = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
    if not known:
        return PluginSource(_folder(distribution).removesuffix(".dist-info"))
    return PluginSource(distribution.metadata["Name"] or _folder(distribution), distribution.version or "")


def _folder(distribution: Distribution) -> str:
    path = getattr(distribution, "_path", None)
    return str(getattr(path, "name", "a package"))


def short_error(error: BaseException) -> str:
    """The error on one line: its kind and the beginning of what it says."""
    try:
        text = shown(" ".join(str(error).split()))
    except Exception:  # foreign code too
        text = ""
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
