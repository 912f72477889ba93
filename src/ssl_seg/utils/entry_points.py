"""What installed packages announce as entry points, package by package.

`importlib.metadata.entry_points()` reads all packages in one go, and one file that is not well
formed anywhere takes everybody down. Here it costs its own package alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from ssl_seg.utils.text import shown


@dataclass(frozen=True)
class Source:
    """Who brings something, as people should see it."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return shown(f"{self.name} {self.version}".strip())


def announced(group: str, refuse: Callable[[str], None]) -> list[tuple[EntryPoint, Source]]:
    """The entry points of a group with their packages, in the order of their names.

    Of two packages of one name the first on the path counts, as for `import`.

    Args:
        group: of the entry points.
        refuse: called with one line for each package whose metadata cannot be read.
    """
    found: dict[str, list[tuple[EntryPoint, Source]]] = {}
    for distribution in distributions():
        try:
            # most packages announce nothing here: a look at the text is cheaper than its grammar
            if group not in (distribution.read_text("entry_points.txt") or ""):
                continue
            source = _source(distribution)
            points = sorted(point for point in distribution.entry_points if point.group == group)
        except Exception as error:  # not UTF-8, no `=` in a line, no name: anything
            refuse(f"the metadata of {_folder(distribution)} cannot be read: {brief(error)}")
            continue
        found.setdefault(source.name.lower(), [(point, source) for point in points])
    return [pair for name in sorted(found) for pair in found[name]]


def _source(distribution: Distribution) -> Source:
    """By the name in METADATA, or without it that of the folder."""
    known = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
    if not known:
        return Source(_folder(distribution).removesuffix(".dist-info"))
    return Source(distribution.metadata["Name"] or _folder(distribution), distribution.version or "")


def _folder(distribution: Distribution) -> str:
    path = getattr(distribution, "_path", None)
    return str(getattr(path, "name", "a package"))


def brief(error: BaseException) -> str:
    """The error on one line: its kind and the beginning of what it says."""
    try:
        text = shown(" ".join(str(error).split()))
    except Exception:  # foreign code too
        text = ""
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
