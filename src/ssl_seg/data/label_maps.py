"""Maps of labels: which ids or classes of masks are read as which class."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.palettes import MAX_CLASSES, Colour, Palette, voc_colormap
from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.utils.home import expanded
from ssl_seg.utils.toml import parse_json

_IGNORE = frozenset({"ignore", "ignored", "void", "none", str(IGNORE_INDEX)})
_EXAMPLE = "-o data.map=7:0,8:1,0-6:ignore"
_LARGEST = 65_535  # of an id

Target = int | str | None  # an index, a name, or no class


def apply_map(text: str, palette: Palette | None = None) -> Palette:
    """The palette that a map makes of another, or of ids.

    `FROM:TO,...`, or a JSON file (or text) of `{"FROM": TO}`. FROM is an id, some ids (`0-6`), or with a palette one of
    its classes, by name or index. TO is an index, a name, or `ignore`. Equal targets merge. Classes of a palette that are
    not mapped to another stay, where targets are names.

    Args:
        palette: of the masks; None: they hold ids.

    Raises:
        UsageError: malformed, no such class, or indices with gaps.
        DataError: the file cannot be read.
    """
    pairs = list(_pairs(text))
    names = palette.names if palette else ()
    targets = {index: target for source, target in pairs for index in _indices(source, names)}
    if len(targets) < sum(len(_indices(source, names)) for source, _ in pairs):
        raise UsageError(f"map={text}: an id is mapped twice", next=_EXAMPLE)
    kinds = {type(target) for target in targets.values() if target is not None}
    if len(kinds) > 1 or (palette is None and not kinds):
        what = "names no class" if not kinds else "mixes indices and names"
        raise UsageError(f"map={text} {what}", next=_EXAMPLE)
    by_index = kinds == {int}
    if palette is not None:
        if by_index and (left := [name for index, name in enumerate(names) if index not in targets]):
            raise UsageError(
                f"map={text}: no index for {', '.join(left[:8])}", next=f"{left[0]}:ignore, or names"
            )
        targets = {index: targets.get(index, name) for index, name in enumerate(names)}
    order = (
        _indexed(text, targets)
        if by_index
        else list(dict.fromkeys(t for t in targets.values() if t is not None))
    )
    sources = [[index for index, target in targets.items() if target == each] for each in order]
    ignored = [index for index, target in targets.items() if target is None]
    if not 0 < len(order) <= MAX_CLASSES:
        raise UsageError(f"map={text}: a mask holds 1 to {MAX_CLASSES} classes, not {len(order)}")
    if palette is None:
        new_names, source = tuple(map(str, order)), "the map of ids"
        colours, ids = voc_colormap(len(order)), tuple(map(tuple, sources))
        return Palette(
            new_names, colours, source=source, by="indices", values=ids, void_values=tuple(ignored)
        )
    return _merged(palette, order, sources, ignored)


def _merged(
    palette: Palette, order: Sequence[Target], sources: Sequence[list[int]], ignored: Sequence[int]
) -> Palette:
    """A palette with classes merged, renamed and left out; `sources`: of each new class the old ones."""
    if palette.by == "two values":
        raise UsageError(
            "map= cannot be used with palette=binary", next="-o data.map=0:background,255:object"
        )
    old = [(index,) for index in range(len(palette.names))] if not palette.values else palette.values
    shades = [(colour, *more) for colour, more in zip(palette.colours, palette.all_aliases, strict=True)]
    # a class that keeps its name keeps its colour
    first = [
        next((index for index in group if palette.names[index] == name), group[0])
        for name, group in zip(order, sources, strict=True)
    ]
    names = [
        name if isinstance(name, str) else "+".join(palette.names[index] for index in group)
        for name, group in zip(order, sources, strict=True)
    ]

    def others(group: Sequence[int], colour: Colour) -> tuple[Colour, ...]:
        return tuple(shade for index in group for shade in shades[index] if shade != colour)

    colours = [palette.colours[index] for index in first]
    return replace(
        palette,
        names=tuple(names),
        colours=tuple(colours),
        aliases=tuple(others(group, colour) for group, colour in zip(sources, colours, strict=True)),
        void=(*palette.void, *(shade for index in ignored for shade in shades[index])),
        values=tuple(tuple(value for index in group for value in old[index]) for group in sources),
        void_values=(*palette.void_values, *(value for index in ignored for value in old[index])),
        exclude=tuple(
            name
            for name, group in zip(names, sources, strict=True)
            if all(palette.names[index] in palette.exclude for index in group)
        ),
        source=f"{palette.source}, mapped",
    )


def _pairs(text: str) -> Iterator[tuple[str, Target]]:
    if text.lstrip().startswith("{") or text.endswith(".json"):
        yield from ((source, _target(target, text)) for source, target in _from_json(text).items())
        return
    for part in text.split(","):
        source, colon, target = part.strip().rpartition(":")
        if not colon or not source or not target:
            raise UsageError(f"map={text}: {part!r} is not FROM:TO", next=_EXAMPLE)
        yield source.strip(), _target(target.strip(), text)


def _from_json(text: str) -> Mapping[str, Any]:
    try:
        content = parse_json(
            text if text.lstrip().startswith("{") else expanded(text).read_text(encoding="utf-8-sig")
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the map {text}: {error}", next='{"7": "road", "0": "ignore"}'
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{text} is no map of labels", next='{"7": "road", "0": "ignore"}')
    return content


def _target(value: Any, text: str) -> Target:
    if value is None or str(value).casefold() in _IGNORE:
        return None
    if isinstance(value, str):
        return int(value) if value.isdecimal() else value
    if type(value) is not int or value < 0:
        raise UsageError(f"map={text}: {value!r} is no index, name or ignore", next=_EXAMPLE)
    return value


def _indices(source: str, names: Sequence[str]) -> list[int]:
    """The ids, or the classes of a palette, that a source means."""
    if source in names:
        return [names.index(source)]
    most = len(names) - 1 if names else _LARGEST
    if found := re.fullmatch(r"(\d+)(?:-(\d+))?", source):
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last <= most:
            return list(range(first, last + 1))
    what = (
        f"no class {source!r} to map{did_you_mean(source, names)}" if names else f"{source!r} is no id to map"
    )
    raise UsageError(what, where=f"classes: {', '.join(names[:12])}" if names else None, next=_EXAMPLE)


def _indexed(text: str, targets: Mapping[int, Target]) -> Sequence[Target]:
    """The indices 0, 1, ... of which each is a target."""
    found = {target for target in targets.values() if isinstance(target, int)}
    if missing := sorted({*range(max(found) + 1)} - found):
        raise UsageError(
            f"map={text}: nothing is mapped to {missing[0]}, of 0 to {max(found)}", next=_EXAMPLE
        )
    return sorted(found)
