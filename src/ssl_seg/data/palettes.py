"""Palettes: which colour of a mask is which class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.errors import UsageError

UNKNOWN_CLASS = 254  # in a table: a colour that the palette does not have
MAX_CLASSES = 254  # classes; 254 and 255 have meanings of their own

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Classes and their colours.

    Attributes:
        names: of the classes.
        colours: RGB, 0 to 255, of each class.
        void: further colours, of pixels without a class.
        void_values: in masks of indices, values of pixels without a class.
        values: in masks of indices, those of each class; empty: 0, 1, ...
        aliases: further colours of each class; empty: none.
        exclude: names of classes that stand for "none of these", as `unknown` does.
        source: where it comes from, for people.
        by: what it says of masks with one channel. `colours`: they hold grey colours if it has these, else
            indices; `indices`: indices; `two values`: 0 and one other value, whichever it is.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    void: tuple[Colour, ...] = ()
    exclude: tuple[str, ...] = ()
    source: str = ""
    by: Literal["colours", "indices", "two values"] = "colours"
    void_values: tuple[int, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    aliases: tuple[tuple[Colour, ...], ...] = ()

    @property
    def all_aliases(self) -> tuple[tuple[Colour, ...], ...]:
        """The further colours of each class."""
        return self.aliases or ((),) * len(self.names)

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
        """(2 ** 24,) class of every colour, as red * 65536 + green * 256 + blue; `UNKNOWN_CLASS` where none."""
        table = np.full(1 << 24, UNKNOWN_CLASS, dtype=np.uint8)
        table[pack_rgb(np.array([*self.void], dtype=np.uint8).reshape(-1, 3))] = IGNORE_INDEX
        for index, colours in enumerate(self.all_aliases):
            table[pack_rgb(np.array(colours, dtype=np.uint8).reshape(-1, 3))] = index
        table[pack_rgb(self.array)] = np.arange(len(self.colours), dtype=np.uint8)
        return table


def pack_rgb(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(..., 3) RGB -> (...) one number per colour."""
    channels = colours.astype(np.uint32)
    return (channels[..., 0] << np.uint32(16)) | (channels[..., 1] << np.uint32(8)) | channels[..., 2]


def unpack_rgb(code: int) -> Colour:
    """What `pack_rgb` has made a number of."""
    return code >> 16, code >> 8 & 255, code & 255


def voc_colormap(count: int) -> tuple[Colour, ...]:
    """Colours that are far apart, made of the bits of the index as PASCAL VOC does."""
    return tuple(
        (_every_third_bit(index), _every_third_bit(index >> 1), _every_third_bit(index >> 2))
        for index in range(count)
    )


def _every_third_bit(index: int) -> int:
    return sum((index >> 3 * bit & 1) << (7 - bit) for bit in range(8))


def unnamed_palette(count: int, source: str, colours: Sequence[Colour] = ()) -> Palette:
    """Classes without names: `0`, `1`, ...

    Raises:
        UsageError: none, or more than a mask can hold.
    """
    if not 0 < count <= MAX_CLASSES:
        raise UsageError(f"a mask holds 1 to {MAX_CLASSES} classes, not {count}", where=source)
    filled = (*colours, *voc_colormap(count)[len(colours) :])[:count]
    return Palette(tuple(map(str, range(count))), filled, source=source, by="indices")


def named(source: str, entries: Sequence[tuple[str, Colour]], **more: Any) -> Palette:
    """A palette of (name, colour) pairs; `more`: its other attributes."""
    names, colours = zip(*entries, strict=True)
    return Palette(names, colours, source=source, **more)


_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
)

BUILT_IN_PALETTES = {
    # satellite images; grey levels of each channel are read as bits by its graders
    "deepglobe": named(
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
    "camvid": named(
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
    "voc": Palette(tuple(_VOC.split()), voc_colormap(21), void=((224, 224, 192),), source="voc"),
}

# any masks of two values: 0 and 1, 0 and 255, black and white, False and True
BINARY = named("two values", [("background", (0, 0, 0)), ("object", (255, 255, 255))], by="two values")
