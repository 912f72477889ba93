"""How a store is built: images decoded in threads and written in order, aside, then renamed."""

import math
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ssl_seg.base import IGNORE_INDEX, Dataset
from ssl_seg.data.band_statistics import BandSums, needs_statistics
from ssl_seg.data.cache_integrity import BlockSums, write_index
from ssl_seg.data.canvases import channels_of, laid, pixel_digest, pixels_of, reduced, reduced_mask
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.files import atomic_path
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.text import first_lines, size_text

FORMAT = 4
_BLOCK = 256
_NUM_INSPECTED = 64
_PART = 32  # images that a thread takes at a time

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class _DecodedSample:
    """What a store holds of one image."""

    image: bytes
    mask: bytes
    size: tuple[int, int]
    digest: int


def build_cache(
    dataset: Dataset, limit: int, folder: Path, bad_images: str, threads: int, on_progress: ProgressCallback
) -> None:
    """Write the store of a dataset into `folder`; see `open_image_cache`.

    Raises:
        DataError: there are images that cannot be read, or none that can.
        ResourceError: the disk is too small.
    """
    side = _side(dataset, limit, threads, on_progress)
    need = len(dataset) * (channels_of(dataset) + dataset.masks) * side * side
    free = shutil.disk_usage(folder.parent).free
    if need > free:
        raise ResourceError(
            f"the image cache needs {size_text(need)}, but only {size_text(free)} is free",
            where=str(folder.parent),
            next="ssl-seg pack DATA --out PACKED  # then shards:PACKED, a tenth of it; or --cache FOLDER, a smaller --canvas",
        )
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_path(folder) as aside, fenced():
        aside.mkdir()
        # closed here: left to the collector, its pool may be told to end in one of its own threads
        sums = BandSums() if needs_statistics(dataset) else None
        with closing(_decode_all(dataset, limit, side, threads, sums)) as rows_read:
            columns, bad = _write_arrays(rows_read, dataset, aside, on_progress)
        if bad and bad_images == "stop":
            what = f"{len(bad)} of {len(dataset)} images are unreadable"
            raise bad_images_error(dataset, bad, what, "repair or remove them, or use --bad-images skip")
        rows = columns["rows"]
        if not rows:
            raise bad_images_error(dataset, bad, "all images are unreadable")
        columns["targets"] = [dataset.samples[row][1] for row in rows]
        for name, values in columns.items():
            np.asarray(values, dtype=np.int64).tofile(aside / f"{name}.i64")
        index: dict[str, Any] = {"format": FORMAT, "count": len(rows), "canvas": side, "skipped": len(bad)}
        if sums is not None:
            index |= {"channels": channels_of(dataset), "statistics": sums.statistics()}
        bad_rows = {str(row): why for row, why in bad.items()}
        write_index(aside, index | {"bad": bad_rows, "classes": list(dataset.classes)})


def _side(dataset: Dataset, limit: int, threads: int, on_progress: ProgressCallback) -> int:
    """Of the canvases: so that most pictures fit, and no picture has more pixels than one.

    `limit`, if one of 64 images is that long; otherwise the longest side of these, or more where another
    image has more pixels.
    """

    def sizes(rows: range) -> Iterator[tuple[int, int]]:
        for row in rows:
            with suppress(ValueError):  # told when it is decoded
                yield dataset.size(row)

    def most_pixels(rows: range) -> int:
        return max((pixels_of(*size, limit) for size in sizes(rows)), default=1)

    num_images = len(dataset)
    longest = max(map(max, sizes(range(0, num_images, max(1, num_images // _NUM_INSPECTED)))), default=1)
    if longest >= limit:
        return limit
    most = 1
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, num_images, _BLOCK):
            on_progress(0, num_images)
            block = range(start, min(start + _BLOCK, num_images))
            most = max(
                most, *pool.map(most_pixels, [block[i : i + _PART] for i in range(0, len(block), _PART)])
            )
    return max(longest, math.isqrt(most - 1) + 1)


def _write_arrays(
    loaded: Iterator[_DecodedSample | str], dataset: Dataset, folder: Path, on_progress: ProgressCallback
) -> tuple[dict[str, list[int]], dict[int, str]]:
    """Write pictures and masks; returns the columns, and what is wrong with the images left out."""
    columns: dict[str, list[int]] = {"rows": [], "sizes": [], "digests": []}
    bad: dict[int, str] = {}
    with ExitStack() as opened:
        names = ["images", "masks"] if dataset.masks else ["images"]
        files = {name: opened.enter_context(_create_file(folder / f"{name}.u8")) for name in names}
        sums = {name: BlockSums(file) for name, file in files.items()}
        for index, row in enumerate(loaded):
            if isinstance(row, str):
                bad[index] = row
            else:
                for name, part in zip(names, (row.image, row.mask), strict=False):
                    sums[name].write(part)
                columns["rows"].append(index)
                columns["sizes"].extend(row.size)
                columns["digests"].append(row.digest)
            if (index + 1) % _BLOCK == 0 or index + 1 == len(dataset):
                on_progress(index + 1, len(dataset))
        for name, file in files.items():
            _sync(file)
            (folder / f"{name}.sums").write_bytes(sums[name].sums())
    return columns, bad


def _create_file(path: Path) -> BinaryIO:
    return path.open("wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _decode_all(
    dataset: Dataset, limit: int, side: int, threads: int, sums: BandSums | None
) -> Generator[_DecodedSample | str, None, None]:
    """Decode in threads (Pillow lets go of the interpreter), a block at a time."""

    def load(index: int) -> _DecodedSample | str:
        with fenced(lambda: dataset.samples[index][0]):
            try:
                return _decode_one(dataset, index, limit, side, sums)
            except ValueError as error:
                return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), _BLOCK):
            yield from pool.map(load, range(start, min(start + _BLOCK, len(dataset))))


def _decode_one(dataset: Dataset, index: int, limit: int, side: int, sums: BandSums | None) -> _DecodedSample:
    image, longest = reduced(dataset, index, limit)
    mask = b""
    if dataset.masks:
        mask = laid(reduced_mask(dataset, index, longest, image)[None], side, IGNORE_INDEX)
    canvas = laid(image.transpose(2, 0, 1), side)
    if sums is not None:
        sums.add(image)
    return _DecodedSample(canvas, mask, (image.shape[0], image.shape[1]), pixel_digest(image))


def bad_images_error(
    dataset: Dataset, bad: dict[int, str], what: str, advice: str = "repair or remove them"
) -> DataError:
    """That images cannot be read: some of them in `where`, all in `faults`."""
    lines = [f"{dataset.samples[index][0]}: {why}" for index, why in bad.items()]
    return DataError(what, where=first_lines(lines), next=advice, faults=faults_of(dataset, bad))


def faults_of(dataset: Dataset, bad: Mapping[int, str]) -> list[tuple[str, str]]:
    """File and reason of each bad image."""
    return [(dataset.file(index), why) for index, why in bad.items()]
