"""How a set of masks is written: which palette, as colours or as indices.

A convention is taken for granted only where the masks bear it out. Where they do not, `DataError` shows what
they hold and the options that say what is meant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ssl_seg.data import index_masks
from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.data.mask_census import Census, colour_census, percent, sample, shown_colour, value_census
from ssl_seg.data.mask_files import MaskReader, is_grey, palette_of
from ssl_seg.data.palettes import (
    BINARY,
    BUILT_IN_PALETTES,
    UNKNOWN_CLASS,
    Colour,
    Palette,
    pack_rgb,
    unpack_rgb,
)
from ssl_seg.errors import DataError

_MIN_MATCH_FRACTION = 0.99  # share of the pixels whose colour a palette must have, to be the one
_SEVERAL = 2  # colours besides black and white that must occur
_LISTED = 12  # colours in a proposed file
_BLACK, _WHITE = 0, 0xFFFFFF

Sample = Mapping[Path, Image.Image]


def detect_encoding(
    paths: Sequence[Path], palette: Palette | None, *, void: Sequence[int] = (), bits: bool = False
) -> tuple[MaskReader, str]:
    """How masks are read, and a line on why.

    At most 16 of them, evenly spaced, are looked at; where indices are counted, all.

    Args:
        paths: of all masks.
        palette: if it is known.
        void: values of index masks that are no class.
        threshold_channels: see `MaskReader`.

    Raises:
        DataError: none can be read, or what they hold can be read in more than one way, or in none.
    """
    seen = sample(paths)
    if palette is None:
        reader, description = _found_out(paths, seen, void, bits)
    elif palette.by == "two values":
        reader, description = _two_values(paths, seen, bits)
    else:
        reader = MaskReader(palette, _coding(seen, palette, bits))
        if reader.encoding == "indices" and palette.values:
            index_masks.check_ids(palette, value_census(list(seen), bits=bits))
        description = f"{'colours' if reader.encoding == 'colours' else 'class indices'} of {palette.source}"
    if void and reader.encoding == "colours":
        raise DataError(
            "ignore= lists values of index masks, but these masks contain colors",
            where=str(paths[0]),
            next='a palette file with "void": [[RED, GREEN, BLUE]] beside "classes"',
        )
    palette = reader.palette
    if void:
        # a class that has no pixel is not to be predicted
        ids = palette.values or [(index,) for index in range(len(palette.names))]
        listed = [] if reader.values else zip(palette.names, ids, strict=True)
        gone = [name for name, values in listed if values and set(values) <= set(void)]
        exclude = tuple(dict.fromkeys((*palette.exclude, *gone)))
        palette = replace(palette, void_values=(*palette.void_values, *void), exclude=exclude)
    return replace(reader, palette=palette, threshold_channels=bits), description


def _is_coloured(image: Image.Image) -> bool:
    return image.mode in ("RGB", "RGBA") and not is_grey(np.asarray(image))


# --- a palette that is known ----------------------------------------------------------------------


def _coding(seen: Sample, palette: Palette, bits: bool) -> Literal["colours", "indices"]:
    """Whether a known palette is meant by the colours or by the indices."""
    images = list(seen.values())
    if any(map(_is_coloured, images)):
        return "colours"
    if palette.by == "indices":
        return "indices"
    grey = all(image.mode not in ("RGB", "RGBA", "P") for image in images)
    if grey and not palette.is_grey:
        return "indices"
    return "colours" if _has_all(palette, colour_census(list(seen), bits=bits)) else "indices"


def _has_all(palette: Palette, found: Census) -> bool:
    """Whether a palette has the colours of nearly all pixels, and of those that are not black."""
    known = {code: count for code, count in found.pixels.items() if palette.table[code] != UNKNOWN_CLASS}
    coloured = found.pixels.total() - found.pixels[_BLACK]
    own = sum(known.values()) - known.get(_BLACK, 0)
    return (
        sum(known.values()) >= _MIN_MATCH_FRACTION * found.pixels.total() > 0
        and own >= _MIN_MATCH_FRACTION * coloured
    )


# --- no palette -----------------------------------------------------------------------------------


def _found_out(
    paths: Sequence[Path], seen: Sample, void: Sequence[int], bits: bool
) -> tuple[MaskReader, str]:
    images = list(seen.values())
    if any(map(_is_coloured, images)):
        return _by_colours(paths, list(seen), bits)
    if all(image.mode == "P" for image in images):
        unequal = _unequal(images)
        if unequal:
            return _by_colours(paths, list(seen), bits, unequal)
        if not bits and (palette := _painted(seen)) is not None:
            return MaskReader(palette), _recognised(palette, colour_census(list(seen), bits=False))
    found = value_census(paths, bits=bits)
    if found.unread and all(image.mode in ("RGB", "RGBA") for image in images):
        return _by_colours(paths, paths, bits)  # masks that were not looked at have colours
    flat = next((palette_of(image) for image in images if image.mode == "P"), [])
    return index_masks.from_values(paths, found, flat, void)


def _unequal(images: Iterable[Image.Image]) -> str:
    """An index that palette PNGs show in different colours, in words; nothing if there is none."""
    known: dict[int, Colour] = {}
    for image in images:
        palette = palette_of(image)
        for index in np.unique(np.asarray(image)).tolist():
            colour = palette[index] if index < len(palette) else (0, 0, 0)
            if known.setdefault(index, colour) != colour:
                return f"index {index} is {known[index]} in one mask and {colour} in another"
    return ""


def _painted(seen: Sample) -> Palette | None:
    """The palette whose colours palette PNGs show, if their indices do not already say the same.

    VOC's colours do not count: labelling tools paint any indices with them.
    """
    found = colour_census(list(seen), bits=False)
    palette = _among_built_in(found)
    return None if palette is None or palette.source == "voc" else palette


def _by_colours(
    paths: Sequence[Path], some: Sequence[Path], bits: bool, unequal: str = ""
) -> tuple[MaskReader, str]:
    """By the colours of some masks; of all, if these have one alone."""
    found = colour_census(some, bits=bits)
    if len(found.pixels) < 2:
        found = colour_census(paths, bits=bits)
    if len(found.pixels) == 2 and _BLACK in found.pixels:
        return _two_colours(found)
    palette = _among_built_in(found)
    if palette is not None:
        return MaskReader(palette), _recognised(palette, found)
    known = {name: palette for name, palette in NAMED_PALETTES.items() if palette.by == "colours"}
    fitting = [name for name, palette in known.items() if _has_all(palette, found)]
    answers = [
        *(f"-o data.palette={name}" for name in fitting),
        f"-o data.palette=FILE.json with {_json(found)}",
    ]
    what = "mask colors match no built-in palette"
    if fitting:
        what = f"too few colors to identify the palette of the masks: {' or '.join(fitting)}"
    if unequal:
        what = f"the palettes of the masks differ ({unequal}), so their indices are not class indices"
    raise DataError(what, where=found.histogram(shown_colour), next=", or ".join(answers))


def _two_colours(found: Census) -> tuple[MaskReader, str]:
    other = next(code for code in found.pixels if code != _BLACK)
    palette = replace(BINARY, colours=(unpack_rgb(_BLACK), unpack_rgb(other)))
    return MaskReader(
        palette
    ), f"two colors: {unpack_rgb(_BLACK)} is background, {unpack_rgb(other)} is object"


def _among_built_in(found: Census) -> Palette | None:
    """The one built-in palette that has nearly all pixels, if several of its own colours occur."""
    hits = {
        name: sum(
            codes_of != _BLACK and codes_of != _WHITE for codes_of in _codes(palette) & found.pixels.keys()
        )
        for name, palette in BUILT_IN_PALETTES.items()
        if _has_all(palette, found)
    }
    most = max(hits.values(), default=0)
    best = [name for name, count in hits.items() if count == most]
    if most < _SEVERAL or len(best) > 1 or len(found.pixels) <= _SEVERAL:
        return None
    return BUILT_IN_PALETTES[best[0]]


def _codes(palette: Palette) -> set[int]:
    return set(pack_rgb(palette.array).tolist())


def _recognised(palette: Palette, found: Census) -> str:
    own = _codes(palette) & found.pixels.keys()
    share = sum(map(found.share, own))
    return (
        f"the palette {palette.source}, detected by {len(own)} of its {len(palette.names)} colors on "
        f"{percent(share)} of the pixels of {found.masks} masks"
    )


def _json(found: Census) -> str:
    listed = [list(unpack_rgb(code)) for code, _ in found.pixels.most_common(_LISTED)]
    names = ", ".join(f'"NAME{position}": {colour}' for position, colour in enumerate(listed, 1))
    return f"{{{names}{', ...' if len(found.pixels) > _LISTED else ''}}}"


# --- two values -----------------------------------------------------------------------------------


def _two_values(paths: Sequence[Path], seen: Sample, bits: bool) -> tuple[MaskReader, str]:
    """`binary`: background is black or 0, object is the one other colour or value."""
    if any(map(_is_coloured, seen.values())) or _unequal(i for i in seen.values() if i.mode == "P"):
        found = colour_census(list(seen), bits=bits)
        if len(found.pixels.keys() - {_BLACK}) == 1:
            return _two_colours(found)
        raise DataError(
            "binary masks must contain black and one other color only",
            where=found.histogram(shown_colour),
            next=f"-o data.palette=FILE.json with {_json(found)}",
        )
    return index_masks.two_values(value_census(list(seen), bits=bits))
