"""The store: every image decoded once, side by side in one memory-mapped file.

A store is a folder of plain arrays, named by a fingerprint of the dataset and the canvas:

    index.json    format, count, canvas, classes
    images.u8     (N, 3, canvas, canvas) the picture in the upper left corner, 0 elsewhere
    sizes.i64     (N, 2) height and width of the picture on the canvas
    rows.i64      (N,) index in the dataset (bad images may have been left out)
    targets.i64   (N,) class index, or -1
    digests.i64   (N,) hash of the picture: equal pictures have equal ones

It is written aside and renamed when whole, so a store that exists is complete. One process at a
time builds it, the others wait.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import IO, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_seg.base import Dataset
from ssl_seg.errors import DataError, ResourceError

FORMAT = 2
_BLOCK = 256
_SHOWN = 5

Tick = Callable[[int, int], None]
Loaded = tuple[bytes, tuple[int, int], int] | str


class Store:
    """An open store. Its tensors are views of mapped files: opening costs no memory.

    Attributes:
        images: (N, 3, canvas, canvas) uint8.
        sizes: (N, 2) int64. rows, targets, digests: (N,) int64.
        classes: names; empty when unlabelled.
        skipped: how many bad images were left out.
        fingerprint: of the dataset and the canvas.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.folder, self.fingerprint = folder, folder.name
        self.canvas: int = index["canvas"]
        self.classes: list[str] = index["classes"]
        self.skipped: int = index["skipped"]
        count = index["count"]
        self.images = _map(folder / "images.u8", (count, 3, self.canvas, self.canvas), torch.uint8)
        self.sizes = _map(folder / "sizes.i64", (count, 2), torch.int64)
        self.rows = _map(folder / "rows.i64", (count,), torch.int64)
        self.targets = _map(folder / "targets.i64", (count,), torch.int64)
        self.digests = _map(folder / "digests.i64", (count,), torch.int64)

    def __len__(self) -> int:
        return len(self.rows)


def _map(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype).view(shape)


def open_store(
    dataset: Dataset,
    canvas: int,
    cache: Path,
    *,
    bad_images: Literal["stop", "skip"] = "stop",
    threads: int | None = None,
    tick: Tick = lambda done, total: None,
) -> Store:
    """Open the store of a dataset; build it first if there is none.

    Args:
        dataset: what to decode.
        canvas: side of a canvas in pixels; larger images are reduced to fit.
        cache: the folder in which stores lie.
        bad_images: `stop` raises when an image cannot be read, `skip` leaves it out.
        threads: that decode; all cores by default.
        tick: called with (done, total) while the store is built, here or by another process.

    Raises:
        DataError: there are images that cannot be read, or none that can.
        ResourceError: the disk is too small or cannot be written.
    """
    folder = cache / fingerprint(dataset, canvas, bad_images)
    if not (folder / "index.json").exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _only_builder(folder, lambda: tick(0, len(dataset))):
                if not (folder / "index.json").exists():  # another process may have been faster
                    _sweep(cache)
                    _build(dataset, canvas, folder, bad_images, threads or os.cpu_count() or 1, tick)
        except OSError as error:
            raise ResourceError(
                f"cannot write the image store: {error.strerror or error}",
                where=str(cache),
                next="ssl-seg train ... --cache FOLDER  # on a disk with more room",
            ) from error
    return Store(folder)


def fingerprint(dataset: Dataset, canvas: int, bad_images: str) -> str:
    """A name that changes with any image, label, class or option that the store depends on."""
    digest = hashlib.sha256(f"{FORMAT} {canvas} {bad_images} {list(dataset.classes)}".encode())
    for index, (_, target) in enumerate(dataset.samples):
        digest.update(f"{dataset.identity(index)}\0{target}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]


def pick_canvas(dataset: Dataset, image_size: int) -> int:
    """Twice the image size, or less when the images themselves are smaller.

    Of at most 64 images, evenly spaced, the longest side is looked at.
    """
    longest = 0
    for index in range(0, len(dataset), max(1, len(dataset) // 64)):
        with suppress(ValueError):
            longest = max(longest, *dataset.image(index, 2 * image_size)[0].shape[:2])
    return min(2 * image_size, longest) if longest else image_size


def _build(dataset: Dataset, canvas: int, folder: Path, bad_images: str, threads: int, tick: Tick) -> None:
    need = len(dataset) * 3 * canvas * canvas
    free = shutil.disk_usage(folder.parent).free
    if need > free:
        raise ResourceError(
            f"the image store needs {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free",
            where=str(folder.parent),
            next="ssl-seg train ... --cache FOLDER  # or a smaller --canvas",
        )
    aside = folder.with_name(f".{folder.name}.tmp")
    for leftover in (aside, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir()
    try:
        good, bad = _fill(dataset, canvas, aside / "images.u8", threads, tick)
        if bad and bad_images == "stop":
            raise _bad_images(dataset, bad)
        if not good:
            raise DataError("none of the images can be read", where=_describe(dataset, bad))
        rows, sizes, digests = zip(*good, strict=True)
        targets = [dataset.samples[row][1] for row in rows]
        columns = {"rows": rows, "sizes": sizes, "targets": targets, "digests": digests}
        for name, values in columns.items():
            np.asarray(values, dtype=np.int64).tofile(aside / f"{name}.i64")
        index = {"format": FORMAT, "count": len(rows), "canvas": canvas, "skipped": len(bad), "bad": bad}
        index["classes"] = list(dataset.classes)
        (aside / "index.json").write_text(json.dumps(index))
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fill(
    dataset: Dataset, canvas: int, path: Path, threads: int, tick: Tick
) -> tuple[list[tuple[int, tuple[int, int], int]], dict[int, str]]:
    good: list[tuple[int, tuple[int, int], int]] = []
    bad: dict[int, str] = {}
    with path.open("wb") as file:
        for index, loaded in enumerate(_load_all(dataset, canvas, threads)):
            if isinstance(loaded, str):
                bad[index] = loaded
            else:
                file.write(loaded[0])
                good.append((index, loaded[1], loaded[2]))
            if (index + 1) % _BLOCK == 0 or index + 1 == len(dataset):
                tick(index + 1, len(dataset))
        _sync(file)
    return good, bad


def _load_all(dataset: Dataset, canvas: int, threads: int) -> Iterator[Loaded]:
    """Decode in threads (Pillow lets go of the interpreter), a block at a time."""

    def load(index: int) -> Loaded:
        try:
            image, _ = dataset.image(index, canvas)
        except ValueError as error:
            return str(error)
        height, width = image.shape[:2]
        row = np.zeros((3, canvas, canvas), dtype=np.uint8)
        row[:, :height, :width] = image.transpose(2, 0, 1)
        picture = row.tobytes()
        digest = hashlib.blake2b(picture, digest_size=8, key=f"{height}x{width}".encode())
        return picture, (height, width), int.from_bytes(digest.digest(), signed=True)

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(dataset), _BLOCK):
            yield from pool.map(load, range(start, min(start + _BLOCK, len(dataset))))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _describe(dataset: Dataset, bad: dict[int, str]) -> str:
    shown = [f"{dataset.samples[index][0]}: {why}" for index, why in list(bad.items())[:_SHOWN]]
    more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    return "\n       ".join(shown + more)


def _bad_images(dataset: Dataset, bad: dict[int, str]) -> DataError:
    return DataError(
        f"{len(bad)} of {len(dataset)} images cannot be read",
        where=_describe(dataset, bad),
        next="mend or remove them, or leave them out: --bad-images skip",
    )


@contextmanager
def _only_builder(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a store. The system lets go of it when its process dies; the file stays."""
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        while not _take(lock):
            wait()
            sleep(0.2)
        yield


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(cache: Path) -> None:
    """Remove what builds of other stores that were killed have left behind."""
    for leftover in cache.glob(".*.tmp"):
        with leftover.with_suffix(".lock").open("w") as lock:
            if _take(lock):
                shutil.rmtree(leftover, ignore_errors=True)
