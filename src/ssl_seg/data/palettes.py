"""Palettes: which colour of a mask is which class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE
from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.utils.toml import parse_json

STRAY = 254  # in a table: a colour that the palette does not have
MOST = 254  # classes; 254 and 255 have meanings of their own

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Classes and their colours.

    Attributes:
        names: of the classes.
        colours: RGB, 0 to 255, of each class.
        void: further colours, of pixels without a class.
        exclude: names of classes that stand for "none of these", as `unknown` does.
        source: where it comes from, for people.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    void: tuple[Colour, ...] = ()
    exclude: tuple[str, ...] = ()
    source: str = ""

    @property
    def array(self) -> NDArray[np.uint8]:
        """The colours as (C, 3) uint8, to paint class indices with."""
        return np.array(self.colours, dtype=np.uint8).reshape(-1, 3)

    @property
    def none(self) -> int | None:
        """The class that stands for none, if there is one."""
        return self.names.index(self.exclude[0]) if self.exclude else None

    @property
    def is_grey(self) -> bool:
        """Whether a grey image can hold all colours."""
        return all(red == green == blue for red, green, blue in (*self.colours, *self.void))

    @cached_property
    def table(self) -> NDArray[np.uint8]:
        """(2 ** 24,) class of every colour, as red * 65536 + green * 256 + blue; `STRAY` where none."""
        table = np.full(1 << 24, STRAY, dtype=np.uint8)
        table[codes(np.array([*self.void], dtype=np.uint8).reshape(-1, 3))] = IGNORE
        table[codes(self.array)] = np.arange(len(self.colours), dtype=np.uint8)
        return table


def codes(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(..., 3) RGB -> (...) one number per colour."""
    wide = colours.astype(np.uint32)
    return (wide[..., 0] << np.uint32(16)) | (wide[..., 1] << np.uint32(8)) | wide[..., 2]


def colour_of(code: int) -> Colour:
    """What `codes` has made a number of."""
    return code >> 16, code >> 8 & 255, code & 255


def voc_colours(count: int) -> tuple[Colour, ...]:
    """Colours that are far apart, made of the bits of the index as PASCAL VOC does."""
    return tuple(
        (_every_third_bit(index), _every_third_bit(index >> 1), _every_third_bit(index >> 2))
        for index in range(count)
    )


def _every_third_bit(index: int) -> int:
    return sum((index >> 3 * place & 1) << (7 - place) for place in range(8))


def numbered(count: int, source: str, colours: Sequence[Colour] = ()) -> Palette:
    """Classes without names: `0`, `1`, ...

    Raises:
        UsageError: none, or more than a mask can hold.
    """
    if not 0 < count <= MOST:
        raise UsageError(f"a mask holds 1 to {MOST} classes, not {count}", where=source)
    filled = (*colours, *voc_colours(count)[len(colours) :])[:count]
    return Palette(tuple(map(str, range(count))), filled, source=source)


def _named(source: str, entries: Sequence[tuple[str, Colour]], **more: Any) -> Palette:
    names, colours = zip(*entries, strict=True)
    return Palette(names, colours, source=source, **more)


_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)

BUILT_IN = {
    # satellite images; grey levels of each channel are read as bits by its graders
    "deepglobe": _named(
        "deepglobe",
        [
            ("urban", (0, 255, 255)),
            ("agriculture", (255, 255, 0)),
            ("rangeland", (255, 0, 255)),
            ("forest", (0, 255, 0)),
            ("water", (0, 0, 255)),
            ("barren", (255, 255, 255)),
            ("unknown", (0, 0, 0)),
        ],
        exclude=("unknown",),
    ),
    # the eleven classes of Badrinarayanan et al. 2017, arXiv:1511.00561
    "camvid": _named(
        "camvid",
        [
            ("sky", (128, 128, 128)),
            ("building", (128, 0, 0)),
            ("pole", (192, 192, 128)),
            ("road", (128, 64, 128)),
            ("pavement", (60, 40, 222)),
            ("tree", (128, 128, 0)),
            ("signsymbol", (192, 128, 128)),
            ("fence", (64, 64, 128)),
            ("car", (64, 0, 128)),
            ("pedestrian", (64, 64, 0)),
            ("bicyclist", (0, 128, 192)),
            ("unlabelled", (0, 0, 0)),
        ],
        exclude=("unlabelled",),
    ),
    "voc": Palette(tuple(_VOC.split()), voc_colours(21), void=((224, 224, 192),), source="voc"),
}


def read_palette(text: str) -> Palette:
    """A built-in name, a number of classes without names, or a JSON file.

    The file holds `{"NAME": [RED, GREEN, BLUE], ...}`, or `{"classes": [{"name": ..., "rgb": [...],
    "id": ...}, ...]}` where `id` may be left out, and `"ignore": NAME or ID` names the class that
    stands for none.

    Raises:
        UsageError: no such name or file.
        DataError: the file is no palette; the text says why.
    """
    if text in BUILT_IN:
        return BUILT_IN[text]
    if text.isdecimal():
        return numbered(int(text), f"palette={text}")
    path = Path(text).expanduser()
    if not path.is_file():
        raise UsageError(
            f"no palette {text!r}{did_you_mean(text, BUILT_IN)}",
            next=f"one of {', '.join(BUILT_IN)}, a number of classes, or a JSON file",
        )
    try:
        content = parse_json(path.read_text(encoding="utf-8-sig"))
        return _checked(_from_json(content, str(path)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is no palette: {reason}", next='write {"NAME": [RED, GREEN, BLUE], ...}'
        ) from error


def _from_json(content: Any, source: str) -> Palette:
    if not content or not isinstance(content, dict):
        raise ValueError("it names no class")
    if "classes" not in content or not isinstance(content["classes"], list):
        return _named(source, [(name, _colour(rgb)) for name, rgb in content.items()])
    entries = content["classes"]
    ids = [entry.get("id", place) for place, entry in enumerate(entries)]
    if sorted(ids) != list(range(len(ids))):
        raise ValueError(f"the ids are {ids}, not 0 to {len(ids) - 1}")
    ordered = [entry for _, entry in sorted(zip(ids, entries, strict=True), key=lambda pair: pair[0])]
    names = [str(entry["name"]) for entry in ordered]
    ignore = content.get("ignore")
    if ignore == IGNORE:  # it is that in any mask
        ignore = None
    if ignore is not None and ignore not in names and ignore not in ids:
        raise ValueError(f"there is no class {ignore!r} to ignore")
    exclude = () if ignore is None else (ignore if ignore in names else names[ignore],)
    return _named(
        source, [(name, _colour(e["rgb"])) for name, e in zip(names, ordered, strict=True)], exclude=exclude
    )


def _colour(rgb: Any) -> Colour:
    if not isinstance(rgb, list) or len(rgb) != 3 or not all(type(v) is int and 0 <= v <= 255 for v in rgb):
        raise ValueError(f"{rgb} is no colour: three whole numbers from 0 to 255")
    return rgb[0], rgb[1], rgb[2]


def _checked(palette: Palette) -> Palette:
    if not 0 < len(palette.names) <= MOST:
        raise ValueError(f"it has {len(palette.names)} classes, a mask holds 1 to {MOST}")
    for values in (palette.names, palette.colours):
        twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is there twice")
    return palette
