"""The range of values of images of more than 8 bits, measured as percentiles: `-o data.range=p2,p98`."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.data.bands import raw_bands
from ssl_seg.data.levels import Percentiles
from ssl_seg.errors import DataError

IMAGES = 512  # at most so many are measured, evenly spaced
VALUES = 1 << 22  # of each band, over all of these


def measured_range(
    root: Path, names: Sequence[tuple[str, int]], bands: Sequence[int], percentiles: Percentiles
) -> tuple[float, ...]:
    """The values at two percentiles of each band, over at most 512 images, evenly spaced.

    Of a band at most 4 million values are taken, evenly spaced in each image. Values that are not finite, or that
    GDAL's tag calls no data, do not count. Without chosen bands all colours have one range.

    Args:
        root: the folder of the images.
        names: of each, relative to `root`, with its target.
        bands: numbers of those that are read, from 1; none: colours.

    Returns:
        Low and high of each band in turn, as NumPy's `percentile` has them.

    Raises:
        DataError: no image can be read, or a band has one value everywhere.
    """
    count = len(names)
    rows = np.linspace(0, count - 1, min(count, IMAGES)).round().astype(np.int64).tolist()
    share = max(1, VALUES // max(1, len(rows)))

    def values_of(row: int) -> NDArray[Any] | ValueError:
        try:
            return _some(root / names[row][0], bands, share)
        except ValueError as error:  # it is named when all are read
            return error

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = list(pool.map(values_of, rows))
    parts = [part for part in found if not isinstance(part, ValueError)]
    if not parts:
        where = f"{names[rows[0]][0]}: {found[0]}" if rows else ""
        raise DataError("range: no image can be measured", where=where, next="-o data.range=LOW,HIGH")
    result: list[float] = []
    for band in range(len(parts[0])):
        values = np.concatenate([part[band] for part in parts])
        values = values[~np.isnan(values)]
        ends = (
            np.percentile(values, [percentiles.low, percentiles.high]).tolist() if values.size else [0.0, 0.0]
        )
        if ends[0] >= ends[1]:
            name = f"band {bands[band]}" if bands else "the images"
            what = f"range={percentiles}: {name} has the value {ends[0]:g} at both percentiles"
            raise DataError(what, where=str(root), next="-o data.range=LOW,HIGH")
        result += ends
    return tuple(result)


def _some(path: Path, bands: Sequence[int], share: int) -> NDArray[np.float64]:
    """(C, N) values of an image, at most `share` of each band; NaN for none. Without bands (1, N), of all colours."""
    pixels = raw_bands(path, bands)
    values = pixels.values.reshape(-1, pixels.values.shape[2])
    values = values[:: -(-len(values) // share)].T.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    if pixels.nodata is not None:
        values[values == pixels.nodata] = np.nan
    return values if bands else values.reshape(1, -1)
