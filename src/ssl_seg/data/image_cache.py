"""The store: every image decoded once, side by side in one memory-mapped file.

A store is a folder of plain arrays, named by a fingerprint of the dataset and the canvas:

    index.json    format, count, canvas, classes
    images.u8     (N, 3, canvas, canvas) the picture in the upper left corner, 0 elsewhere
    sizes.i64     (N, 2) height and width of the picture on the canvas
    rows.i64      (N,) index in the dataset (bad images may have been left out)
    targets.i64   (N,) class index, or -1
    digests.i64   (N,) hash of the picture: equal pictures have equal ones
    masks.u8      (N, canvas, canvas) class of every pixel, 255 where there is none; only with masks

It is written aside and renamed when whole, so a store that exists is complete. One process at a
time builds it, the others wait.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_seg.base import Dataset
from ssl_seg.data.cache_builder import FORMAT, Tick, build
from ssl_seg.data.file_digests import TABLE, identities
from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import discard
from ssl_seg.utils.lock import sign, signature, try_lock
from ssl_seg.utils.patience import Idle, patience
from ssl_seg.utils.toml import read_json

_LOOK = 0.2  # seconds between two looks at a store that another process builds
FINGERPRINT = (
    f"content, {FORMAT}"  # what a fingerprint is made of: of two that were made alike, a difference counts
)


class Store:
    """An open store. Its tensors are views of mapped files: opening costs no memory.

    Attributes:
        images: (N, 3, canvas, canvas) uint8.
        sizes: (N, 2) int64. rows, targets, digests: (N,) int64.
        masks: (N, canvas, canvas) uint8, or None.
        classes: names; empty when unlabelled.
        skipped: how many bad images were left out.
        bad: their indices in the dataset, and what is wrong with each.
        fingerprint: of the dataset and the canvas.
        notes: what else `run.toml` is to say of it.
    """

    def __init__(self, folder: Path) -> None:
        index = read_json(folder / "index.json")
        self.folder, self.fingerprint = folder, folder.name
        self.notes: dict[str, str] = {}
        self.canvas: int = index["canvas"]
        self.classes: list[str] = index["classes"]
        self.skipped: int = index["skipped"]
        self.bad = {int(row): str(why) for row, why in index["bad"].items()}
        count = index["count"]
        self.images = _map(folder / "images.u8", (count, 3, self.canvas, self.canvas), torch.uint8)
        self.sizes = _map(folder / "sizes.i64", (count, 2), torch.int64)
        self.rows = _map(folder / "rows.i64", (count,), torch.int64)
        self.targets = _map(folder / "targets.i64", (count,), torch.int64)
        self.digests = _map(folder / "digests.i64", (count,), torch.int64)
        masks = folder / "masks.u8"
        shape = (count, self.canvas, self.canvas)
        self.masks = _map(masks, shape, torch.uint8) if masks.exists() else None

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
    count = threads or os.cpu_count() or 1
    known: dict[str, Any] = {"table": cache / TABLE, "threads": count, "tick": tick}
    folder = cache / fingerprint(dataset, canvas, bad_images, **known)
    if not (folder / "index.json").exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _only_builder(folder, lambda: tick(0, len(dataset))):
                if not (folder / "index.json").exists():  # another process may have been faster
                    _sweep(cache, folder)
                    build(dataset, canvas, folder, bad_images, count, tick)
        except (OSError, ResourceError) as error:
            if isinstance(error, ResourceError) and error.next:
                raise
            reason = error if isinstance(error, OSError) else error.__cause__
            raise ResourceError(
                f"cannot write the image store: {getattr(reason, 'strerror', '') or reason}",
                where=str(cache),
                next="ssl-seg train ... --cache FOLDER  # on a disk with more room",
            ) from error
    return Store(folder)


def fingerprint(
    dataset: Dataset,
    canvas: int,
    bad_images: str,
    *,
    table: Path | None = None,
    threads: int = 1,
    tick: Tick = lambda done, total: None,
) -> str:
    """A name that changes with any image, label, class or option that the store depends on.

    Args:
        table, threads, tick: see `identities`.
    """
    digest = hashlib.sha256(f"{FORMAT} {canvas} {bad_images} {list(dataset.classes)}".encode())
    found = identities(dataset, table, threads, tick)
    for identity, (_, target) in zip(found, dataset.samples, strict=True):
        digest.update(f"{identity}\0{target}\n".encode("utf-8", "surrogateescape"))
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


def whole_canvas(dataset: Dataset) -> int:
    """The longest side of all images: no image is reduced."""
    longest = 1
    for index in range(len(dataset)):
        with suppress(ValueError):
            longest = max(longest, *dataset.size(index))
    return longest


@contextmanager
def _only_builder(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a store. The system lets go of it when its process dies; the file stays.

    Raises:
        ResourceError: another process holds it, and has not written to the store for `patience()` seconds.
    """
    with folder.with_name(f".{folder.name}.lock").open("a+") as lock:
        idle = Idle(_LOOK)
        while not try_lock(lock, seconds=_LOOK):
            wait()
            if idle.look(_written(folder)):
                raise ResourceError(
                    f"another process builds the image store, and has written nothing for {patience():.0f} s",
                    where=f"{folder}: {signature(lock)}",
                    next="end that process, or --cache OTHER_FOLDER",
                )
        sign(lock)
        yield


def _written(folder: Path) -> int:
    """Bytes that a build of a store has written so far."""
    sizes = 0
    for path in folder.parent.glob(f".{folder.name}.tmp-*/*"):
        with suppress(OSError):
            sizes += path.stat().st_size
    return sizes


def _sweep(cache: Path, folder: Path) -> None:
    """Remove what killed builds have left behind: of `folder`, whose lock is held, and of other stores."""
    for leftover in cache.glob(".*.tmp-*"):
        name = leftover.name.rpartition(".tmp-")[0]
        if name == f".{folder.name}":
            discard(leftover)
            continue
        with leftover.with_name(f"{name}.lock").open("a") as lock:
            if try_lock(lock):
                discard(leftover)
