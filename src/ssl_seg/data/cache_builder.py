"""How a store is built: images decoded in threads and written in order, aside, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ssl_seg.base import IGNORE, Dataset
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.files import atomic_path
from ssl_seg.utils.text import listed, size_text

FORMAT = 3
_BLOCK = 256
_SHOWN = 5

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class _Row:
    """What a store holds of one image."""

    picture: bytes
    mask: bytes
    size: tuple[int, int]
    digest: int


def build(dataset: Dataset, canvas: int, folder: Path, bad_images: str, threads: int, tick: Tick) -> None:
    """Write the store of a dataset into `folder`; see `open_store`.

    Raises:
        DataError: there are images that cannot be read, or none that can.
        ResourceError: the disk is too small.
    """
    need = len(dataset) * (4 if dataset.masks else 3) * canvas * canvas
    free = shutil.disk_usage(folder.parent).free
    if need > free:
        raise ResourceError(
            f"the image store needs {size_text(need)} and {size_text(free)} are free",
            where=str(folder.parent),
            next="ssl-seg train ... --cache FOLDER  # or a smaller --canvas",
        )
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_path(folder) as aside:
        aside.mkdir()
        columns, bad = _fill(dataset, canvas, aside, threads, tick)
        if bad and bad_images == "stop":
            raise _bad_images(dataset, bad)
        rows = columns["rows"]
        if not rows:
            raise DataError("none of the images can be read", where=_describe(dataset, bad))
        columns["targets"] = [dataset.samples[row][1] for row in rows]
        for name, values in columns.items():
            np.asarray(values, dtype=np.int64).tofile(aside / f"{name}.i64")
        index = {"format": FORMAT, "count": len(rows), "canvas": canvas, "skipped": len(bad), "bad": bad}
        index["classes"] = list(dataset.classes)
        (aside / "index.json").write_text(json.dumps(index))


def _fill(
    dataset: Dataset, canvas: int, folder: Path, threads: int, tick: Tick
) -> tuple[dict[str, list[int]], dict[int, str]]:
    """Write pictures and masks; returns the columns, and what is wrong with the images left out."""
    columns: dict[str, list[int]] = {"rows": [], "sizes": [], "digests": []}
    bad: dict[int, str] = {}
    with ExitStack() as files:
        pictures = files.enter_context(_open(folder / "images.u8"))
        masks = files.enter_context(_open(folder / "masks.u8")) if dataset.masks else None
        for index, row in enumerate(_load_all(dataset, canvas, threads)):
            if isinstance(row, str):
                bad[index] = row
            else:
                pictures.write(row.picture)
                if masks:
                    masks.write(row.mask)
                columns["rows"].append(index)
                columns["sizes"].extend(row.size)
                columns["digests"].append(row.digest)
            if (index + 1) % _BLOCK == 0 or index + 1 == len(dataset):
                tick(index + 1, len(dataset))
        for file in (pictures, *([masks] if masks else [])):
            _sync(file)
    return columns, bad


def _open(path: Path) -> BinaryIO:
    return path.open("wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _load_all(dataset: Dataset, canvas: int, threads: int) -> Iterator[_Row | str]:
    """Decode in threads (Pillow lets go of the interpreter), a block at a time."""

    def load(index: int) -> _Row | str:
        try:
            return _load(dataset, index, canvas)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), _BLOCK):
            yield from pool.map(load, range(start, min(start + _BLOCK, len(dataset))))


def _load(dataset: Dataset, index: int, canvas: int) -> _Row:
    image, _ = dataset.image(index, canvas)
    height, width = image.shape[:2]
    plane = np.zeros((3, canvas, canvas), dtype=np.uint8)
    plane[:, :height, :width] = image.transpose(2, 0, 1)
    picture = plane.tobytes()
    key = f"{height}x{width}".encode()
    digest = int.from_bytes(hashlib.blake2b(picture, digest_size=8, key=key).digest(), signed=True)
    if not dataset.masks:
        return _Row(picture, b"", (height, width), digest)
    mask = dataset.mask(index, canvas)
    if mask.shape != (height, width):
        raise ValueError(f"the mask is {mask.shape[0]} x {mask.shape[1]}, the image {height} x {width}")
    whole = np.full((canvas, canvas), IGNORE, dtype=np.uint8)
    whole[:height, :width] = mask
    return _Row(picture, whole.tobytes(), (height, width), digest)


def _describe(dataset: Dataset, bad: dict[int, str]) -> str:
    shown = [f"{dataset.samples[index][0]}: {why}" for index, why in list(bad.items())[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    return listed(shown + more)


def _bad_images(dataset: Dataset, bad: dict[int, str]) -> DataError:
    return DataError(
        f"{len(bad)} of {len(dataset)} images cannot be read",
        where=_describe(dataset, bad),
        next="mend or remove them, or leave them out: --bad-images skip",
    )
