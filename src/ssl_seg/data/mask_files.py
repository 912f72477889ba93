"""Reading one mask file into class indices, exactly; and finding out how a set of masks is written.

- `colours`: the RGB colour of a pixel, looked up in a palette. A palette PNG is looked up by the
  colours it shows.
- `indices`: the value of a grey or palette pixel is the class; 255 is none.

A JPEG is refused, for its colours are not exact, and so are half-transparent and floating-point
pixels. EXIF orientation is applied, as it is to images.
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from ssl_seg.base import IGNORE
from ssl_seg.data.decode import FORMATS, MAX_PIXELS, why
from ssl_seg.data.palettes import BUILT_IN, MOST, STRAY, Palette, codes, colour_of, numbered
from ssl_seg.errors import DataError

_LOOKED_AT = 16
_ENOUGH = 0.99  # share of the pixels looked at whose colour a palette must have, to be the one
_SHOWN = 3


@dataclass(frozen=True)
class MaskReader:
    """How masks are read.

    Attributes:
        palette: the classes.
        coding: what a pixel holds.
        bits: each channel counts as 0 below 128 and as 255 from there on, before it is looked up.
        stray: what a value that is no class is read as; None makes it an error.
    """

    palette: Palette
    coding: Literal["colours", "indices"] = "colours"
    bits: bool = False
    stray: int | None = None

    def read(self, path: Path) -> tuple[NDArray[np.uint8], int]:
        """The class of every pixel, (H, W), 255 where there is none; and how many values were stray.

        Raises:
            ValueError: it cannot be read, or has a value that is no class; the text says why.
        """
        image = open_mask(path)
        if self.coding == "colours":
            values = codes(_as_colours(image, bits=self.bits))
            classes = self.palette.table[values]
        else:
            values = _as_indices(image)
            known = (values >= 0) & (values < len(self.palette.names))
            classes = np.where(known, values, STRAY).astype(np.uint8)
            classes[values == IGNORE] = IGNORE
        stray = classes == STRAY
        count = int(np.count_nonzero(stray))
        if count:
            if self.stray is None:
                raise ValueError(self._told(values[stray]))
            classes[stray] = self.stray
        return classes, count

    def _told(self, values: NDArray[Any]) -> str:
        found, counts = np.unique(values, return_counts=True)
        most = sorted(zip(counts.tolist(), found.tolist(), strict=True), reverse=True)
        if self.coding == "colours":
            shown = [f"{count} pixels of colour {colour_of(code)}" for count, code in most[:_SHOWN]]
            what = "the palette does not have"
        else:
            shown = [f"{count} pixels of index {index}" for count, index in most[:_SHOWN]]
            what = f"is no class of {len(self.palette.names)}"
        more = [f"{len(most) - _SHOWN} other values"] if len(most) > _SHOWN else []
        return f"{', '.join(shown + more)}, which {what} (stray=ignore leaves them out)"


@dataclass(frozen=True)
class MaskCount:
    """What is in the masks of a dataset.

    Attributes:
        pixels: (C,) int64 of each class.
        ignored: pixels without a class.
        stray: pixels that hold a value of no class.
        empty: names of masks without any pixel of a class.
    """

    pixels: NDArray[np.int64]
    ignored: int
    stray: int
    empty: list[str]


def reduce_mask(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The class at the centre of each of `height` x `width` equal cells of an (H, W) mask."""
    if mask.shape == (height, width):
        return mask
    rows = (2 * np.arange(height) + 1) * mask.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * mask.shape[1] // (2 * width)
    cells: NDArray[np.uint8] = mask[rows[:, None], columns[None, :]]
    return cells


def open_mask(path: Path) -> Image.Image:
    """A decoded mask, turned as its EXIF data say.

    Raises:
        ValueError: it cannot be used; the text says why.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a global that other libraries set
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.format == "JPEG":
                raise ValueError("it is a JPEG, whose colours are not exact")
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
            image.load()
            return ImageOps.exif_transpose(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds, not all of them OSError
        raise ValueError(why(error)) from error


def _as_colours(image: Image.Image, *, bits: bool) -> NDArray[np.uint8]:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image)[:, :, 3].min() < 255:
            raise ValueError("it has transparent pixels, whose colour is not clear")
    elif image.mode not in ("RGB", "L", "P", "1"):
        raise ValueError(f"its pixels are of kind {image.mode}, not RGB colours of 8 bits")
    rgb = np.asarray(image.convert("RGB"))
    return np.where(rgb >= 128, 255, 0).astype(np.uint8) if bits else rgb


def _as_indices(image: Image.Image) -> NDArray[Any]:
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("L", "P") or image.mode.startswith("I"):
        return np.asarray(image)
    raise ValueError(f"its pixels are of kind {image.mode}, where a class index is wanted")


def recognise(paths: Sequence[Path], palette: Palette | None) -> MaskReader:
    """Find out how masks are written, from at most 16 of them, evenly spaced.

    Grey masks hold colours if the palette is all grey, else indices. Palette PNGs hold colours if the
    palette has those that they show. Without a palette, colours decide among the built-in ones, and
    indices are counted over all masks.

    Args:
        paths: of all masks.
        palette: if it is known.

    Raises:
        DataError: none can be read, or there is no palette for their colours.
    """
    seen = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)][:_LOOKED_AT]:
        with suppress(ValueError):
            seen.append(open_mask(path))
    coloured = [image for image in seen if image.mode in ("RGB", "RGBA")]
    if palette is None:
        return MaskReader(_known(coloured)) if coloured else _counted(paths, seen)
    if coloured or (palette.is_grey and all(image.mode in ("L", "1") for image in seen)):
        return MaskReader(palette)
    indexed = [image for image in seen if image.mode == "P"]
    if indexed and _share(_colours_in(indexed), palette) >= _ENOUGH:
        return MaskReader(palette)
    return MaskReader(palette, coding="indices")


def _colours_in(images: Sequence[Image.Image]) -> Counter[int]:
    found: Counter[int] = Counter()
    for image in images:
        values, counts = np.unique(codes(np.asarray(image.convert("RGB"))), return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return found


def _share(found: Counter[int], palette: Palette) -> float:
    known = sum(count for code, count in found.items() if palette.table[code] != STRAY)
    return known / max(1, found.total())


def _known(images: Sequence[Image.Image]) -> Palette:
    found = _colours_in(images)
    best = max(BUILT_IN.values(), key=lambda palette: _share(found, palette))
    if _share(found, best) < _ENOUGH:
        most = ", ".join(f"{colour_of(code)}" for code, _ in found.most_common(5))
        raise DataError(
            "the masks' colours are those of no built-in palette",
            where=f"the most common: {most}",
            next='palette=FILE.json with {"NAME": [RED, GREEN, BLUE], ...}',
        )
    return replace(best, source=f"{best.source}, recognised by its colours")


def _counted(paths: Sequence[Path], seen: Sequence[Image.Image]) -> MaskReader:
    """As many classes as the highest index below 255 says, with the colours of a palette PNG."""

    def highest(path: Path) -> int:
        with suppress(ValueError):
            values = _as_indices(open_mask(path))
            held = values[values < IGNORE]
            return int(held.max()) if held.size else -1
        return -1

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        count = 1 + max(pool.map(highest, paths), default=-1)
    if not 0 < count <= MOST:
        raise DataError("no mask can be read, or none holds a class", where=f"{paths[0]}, ...")
    flat = next((image.getpalette("RGB") or [] for image in seen if image.mode == "P"), [])
    colours = [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) // 3 * 3, 3)]
    return MaskReader(numbered(count, "as many classes as the masks hold", colours), coding="indices")
