"""What a set of masks holds, before anybody says what it means."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.data.mask_files import colours_of, open_mask, values_of
from ssl_seg.data.palettes import pack_rgb, unpack_rgb
from ssl_seg.errors import DataError, pluralize
from ssl_seg.utils.text import first_lines

_NUM_INSPECTED = 16
_SHOWN = 8  # values in a histogram
_RARE = 0.01  # share of the pixels
_REASONS = 3
_BINS = 65_536

Pixels = Callable[[Image.Image], NDArray[Any]]


@dataclass
class Census:
    """Pixels by value.

    Attributes:
        pixels: how many have a value; values are whole numbers, or colours as `pack_rgb` numbers them.
        example: name of a mask that holds a value.
        masks: how many were counted.
        unread: the others, and what is wrong with them.
    """

    pixels: Counter[int] = field(default_factory=Counter)
    example: dict[int, str] = field(default_factory=dict)
    masks: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)

    def share(self, value: int) -> float:
        """Of all pixels, those that have it."""
        return self.pixels[value] / max(1, self.pixels.total())

    def histogram(self, show: Callable[[int], object] = int) -> str:
        """The most frequent values with their shares, then a rare one with a mask that holds it."""
        most = self.pixels.most_common()
        shown = [f"{show(value)}: {percent(self.share(value))}" for value, _ in most[:_SHOWN]]
        text = f"{pluralize(len(most), 'value')} in {pluralize(self.masks, 'mask')}: {', '.join(shown)}"
        if len(most) > _SHOWN:
            text += f", and {len(most) - _SHOWN} rarer ones"
        rarest, pixels = most[-1]
        if self.share(rarest) > _RARE:
            return text
        return f"{text}\n       the rarest: {show(rarest)}, {pixels:,} times, as in {self.example[rarest]}"


def percent(share: float) -> str:
    """`12.3 %`; what is more than nothing is not shown as nothing."""
    return f"{share:.1%}".replace("%", " %") if share >= 0.001 or share == 0 else "< 0.1 %"


def census(paths: Sequence[Path], pixels: Pixels, threads: int | None = None) -> Census:
    """Count the pixels of masks, of which those that cannot be read are only listed.

    Raises:
        DataError: none can be read.
    """

    def look(path: Path) -> dict[int, int] | str:
        try:
            return _palette_from_indices(pixels(open_mask(path)))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        found = _summed(zip(paths, pool.map(look, paths), strict=True))
    if not found.pixels:
        raise unreadable(found.unread)
    return found


def _summed(found: Iterable[tuple[Path, dict[int, int] | str]]) -> Census:
    census = Census()
    for path, counts in found:
        if isinstance(counts, str):
            census.unread.append((str(path), counts))
            continue
        census.masks += 1
        census.pixels.update(counts)
        for value in counts.keys() - census.example.keys():
            census.example[value] = path.name
    return census


def _palette_from_indices(values: NDArray[Any]) -> dict[int, int]:
    """Value -> pixels; quickly where the values are small."""
    if values.dtype == bool or values.size == 0:
        values = values.astype(np.uint8)
    if values.size and values.min() >= 0 and values.max() < _BINS:
        counts = np.bincount(values.ravel())
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist(), strict=True))
    unique, counts = np.unique(values, return_counts=True)
    return dict(zip(unique.tolist(), counts.tolist(), strict=True))


def colour_census(paths: Sequence[Path], *, bits: bool) -> Census:
    """Pixels by colour, numbered as `pack_rgb` does."""
    return census(paths, lambda image: pack_rgb(colours_of(image, bits=bits)))


def value_census(paths: Sequence[Path], *, bits: bool) -> Census:
    """Pixels by index."""
    return census(paths, lambda image: values_of(image, bits=bits))


def shown_colour(code: int) -> str:
    """`(255, 0, 0)`."""
    return str(unpack_rgb(code))


def sample(paths: Sequence[Path]) -> dict[Path, Image.Image]:
    """At most 16 masks that can be read, evenly spaced.

    Raises:
        DataError: there is none; with the reasons.
    """
    found: dict[Path, Image.Image] = {}
    reasons: list[tuple[str, str]] = []
    for path in paths[:: max(1, len(paths) // _NUM_INSPECTED)][:_NUM_INSPECTED]:
        try:
            found[path] = open_mask(path)
        except ValueError as error:
            reasons.append((str(path), str(error)))
    if not found:
        raise unreadable(reasons)
    return found


def unreadable(reasons: Sequence[tuple[str, str]]) -> DataError:
    """No mask can be read."""
    return DataError(
        "all masks are unreadable",
        where=first_lines([f"{path}: {why}" for path, why in reasons], _REASONS),
        faults=reasons,
        next="save masks as PNG: 8- or 16-bit class indices, or RGB colors",
    )
