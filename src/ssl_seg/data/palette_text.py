"""Palettes as text: a name, a number of classes, a JSON file, or the JSON itself."""

import json
from collections.abc import Sequence
from typing import Any

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.data.palettes import (
    BINARY,
    MAX_CLASSES,
    Colour,
    Palette,
    named,
    unnamed_palette,
    voc_colormap,
)
from ssl_seg.data.side_files import entries_of
from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.utils.home import expanded
from ssl_seg.utils.toml import parse_json

# in a palette of one's own, a class with such a name stands for none unless `ignore` says otherwise
_NOTHING = frozenset({"unknown", "void", "unlabelled", "unlabeled", "ignore", "ignored"})


def read_palette(text: str) -> Palette:
    """A built-in name, `binary`, a number of classes without names, a JSON file, or what such a file holds.

    That is `{"NAME": [RED, GREEN, BLUE], ...}`, or `{"classes": [{"name": ..., "rgb": [...], "id": ...},
    ...]}` where `id` may be left out; instead of it, `ids` lists the values of the class in masks of indices, and
    `aliases` further colours. Beside `classes`, `"ignore"` names the classes that stand for none, by
    name or id, and values of index masks that are no class, as 255; without it a class called `unknown`,
    `void`, `unlabelled` or `ignore` stands for none. `"void"` lists colours and values of pixels without a
    class, and `"masks": "indices"` says that masks never hold the colours.

    Raises:
        UsageError: no such name or file.
        DataError: the file is no palette; the text says why.
    """
    if text in NAMED_PALETTES:
        return NAMED_PALETTES[text]
    if text == "binary":
        return BINARY
    if text.isdecimal():
        return unnamed_palette(int(text), f"palette={text}")
    if text.lstrip().startswith("{"):
        return _parsed(text, "palette")
    path = expanded(text)
    if not path.is_file():
        raise UsageError(
            f"no palette {text!r}{did_you_mean(text, [*NAMED_PALETTES, 'binary'])}",
            next=f"one of {', '.join(NAMED_PALETTES)}, binary, a number of classes, or a JSON file",
        )
    try:
        return _parsed(path.read_text(encoding="utf-8-sig"), str(path), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise _no_palette(str(path), str(error)) from error


def names_no_file(text: str) -> bool:
    """Whether a palette's text, as of `as_text`, stands for itself: what a weight file says must not open another."""
    return text in NAMED_PALETTES or text == "binary" or text.isdecimal() or text.lstrip().startswith("{")


def as_text(palette: Palette) -> str:
    """What `read_palette` makes the same palette of, wherever files lie; only `source` may differ."""
    if palette.by == "two values":
        return "binary"
    count = len(palette.names)
    known = {**NAMED_PALETTES, str(count): unnamed_palette(count, "")}
    for name, other in known.items():
        if _content(palette) == _content(other):
            return name
    return json.dumps(_content(palette), ensure_ascii=False)


def _content(palette: Palette) -> dict[str, Any]:
    pairs = zip(palette.names, palette.colours, strict=True)
    void = [*map(list, palette.void), *palette.void_values]
    return {
        "classes": [
            {
                "name": name,
                "rgb": list(colour),
                **({"ids": list(palette.values[index])} if palette.values else {}),
                **({"aliases": list(map(list, palette.aliases[index]))} if any(palette.aliases) else {}),
            }
            for index, (name, colour) in enumerate(pairs)
        ],
        "ignore": list(palette.exclude),
        **({"void": void} if void else {}),
        **({"masks": "indices"} if palette.by == "indices" else {}),
    }


def _parsed(text: str, source: str, file: str = "") -> Palette:
    try:
        if (listed := entries_of(file, text)) is not None:
            return _checked(_from_entries(*listed, source))
        return _checked(_from_json(parse_json(text), source))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise _no_palette(source, reason) from error


def _from_entries(entries: list[tuple[str, Colour]], ids: list[int], source: str) -> Palette:
    """The palette of a labelling tool; of ids 0, 1, ... nothing more need be said."""
    if not entries:
        raise ValueError("it defines no classes")
    names = [name for name, _ in entries]
    values = () if ids == list(range(len(ids))) else tuple((id_,) for id_ in ids)
    by = {"by": "indices", "values": values} if ids else {}
    return named(source, entries, exclude=_called_nothing(names), **by)


def _no_palette(source: str, reason: str) -> DataError:
    return DataError(f"{source} is not a palette: {reason}", next='write {"NAME": [RED, GREEN, BLUE], ...}')


def _from_json(content: Any, source: str) -> Palette:
    if not content or not isinstance(content, dict):
        raise ValueError("it defines no classes")
    if "classes" not in content or not isinstance(content["classes"], list):
        entries = [(name, _colour(rgb)) for name, rgb in content.items()]
        return named(source, entries, exclude=_called_nothing([name for name, _ in entries]))
    listed = content["classes"]
    ids = [entry.get("id", position) for position, entry in enumerate(listed)]
    if sorted(ids) != list(range(len(ids))):
        raise ValueError(f"the ids are {ids}, not 0 to {len(ids) - 1}")
    ordered = [entry for _, entry in sorted(zip(ids, listed, strict=True), key=lambda pair: pair[0])]
    names = [str(entry["name"]) for entry in ordered]
    exclude, values = _ignored(content, names)
    void = content.get("void", [])
    has_ids, colours = any("ids" in entry for entry in ordered), voc_colormap(len(names))
    pairs = [
        (name, _colour(entry["rgb"]) if "rgb" in entry or not has_ids else colour)
        for name, entry, colour in zip(names, ordered, colours, strict=True)
    ]
    aliases = tuple(tuple(map(_colour, entry.get("aliases", []))) for entry in ordered)
    return named(
        source,
        pairs,
        values=tuple(tuple(map(_id, entry["ids"])) for entry in ordered) if has_ids else (),
        aliases=aliases if any(aliases) else (),
        exclude=exclude,
        void=tuple(_colour(item) for item in void if not isinstance(item, int)),
        void_values=(*values, *(item for item in void if isinstance(item, int))),
        by="indices" if content.get("masks") == "indices" else "colours",
    )


def _ignored(content: dict[str, Any], names: list[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes that stand for none, and values without a class."""
    if "ignore" not in content:
        return _called_nothing(names), ()
    ignored = content["ignore"]
    exclude, values = list[str](), list[int]()
    for item in [] if ignored is None else ignored if isinstance(ignored, list) else [ignored]:
        if item in names:
            exclude.append(item)
        elif type(item) is int and 0 <= item < len(names):
            exclude.append(names[item])
        elif item == IGNORE_INDEX:
            values.append(item)
        else:
            raise ValueError(f"there is no class {item!r} to ignore")
    return tuple(exclude), tuple(values)


def _called_nothing(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name.strip().lower() in _NOTHING)


def _colour(rgb: Any) -> Colour:
    if not isinstance(rgb, list) or len(rgb) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in rgb):
        raise ValueError(f"{rgb} is not a color: three integers from 0 to 255")
    return rgb[0], rgb[1], rgb[2]


def _id(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 16:
        raise ValueError(f"{value!r} is no id: an integer from 0 to 65535")
    return value


def _checked(palette: Palette) -> Palette:
    if not 0 < len(palette.names) <= MAX_CLASSES:
        raise ValueError(f"it has {len(palette.names)} classes, a mask holds 1 to {MAX_CLASSES}")
    ids = (*(id_ for ids in palette.values for id_ in ids), *(palette.void_values if palette.values else ()))
    shades = (*palette.colours, *(shade for more in palette.aliases for shade in more))
    for values in (palette.names, shades, ids):
        twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is duplicated")
    return palette
