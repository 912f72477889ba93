"""The store: every image decoded once, side by side in one memory-mapped file.

A store is a folder of plain arrays, named by a fingerprint of the dataset and the canvas:

    index.json    format, count, canvas, classes, lengths and digests of the other files
    images.u8     (N, 3, canvas, canvas) the picture in the upper left corner, 0 elsewhere; or folded
    images.sums   digests of its blocks
    sizes.i64     (N, 2) height and width of the picture
    rows.i64      (N,) index in the dataset (bad images may have been left out)
    targets.i64   (N,) class index, or -1
    digests.i64   (N,) hash of the picture: equal pictures have equal ones, on whatever canvas
    masks.u8      (N, canvas, canvas) class of every pixel, 255 where there is none; only with masks
    masks.sums    digests of its blocks

It is written aside and renamed when whole, so a store that exists is complete; one that was damaged
afterwards is built anew. One process at a time builds it, the others wait.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_seg.base import IGNORE, Dataset
from ssl_seg.data.cache_builder import FORMAT, Tick, build
from ssl_seg.data.cache_integrity import damage
from ssl_seg.data.canvases import unfolded
from ssl_seg.data.column import Column
from ssl_seg.data.file_digests import TABLE, identities
from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import discard
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.lock import sign, signature, try_lock
from ssl_seg.utils.log import log
from ssl_seg.utils.timeout import StallDetector, timeout_seconds
from ssl_seg.utils.toml import read_json

_LOOK = 0.2  # seconds between two looks at a store that another process builds
FINGERPRINT = (
    f"content, {FORMAT}"  # what a fingerprint is made of: of two that were made alike, a difference counts
)


class Store:
    """An open store. Opening costs no memory.

    Attributes:
        canvas: side of the canvases in pixels.
        images: (N, 3, canvas, canvas) uint8, a view of the mapped file. Pictures that are longer than the
            canvas lie folded in it, see `at`; to touch it kills the process if the file is cut short.
        sizes: (N, 2) int64. rows, targets, digests: (N,) int64.
        masks: (N, canvas, canvas) uint8, or None; as `images`.
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
        count, canvas = index["count"], (self.canvas, self.canvas)
        self._pixels = [Column(folder / "images.u8", count, (3, *canvas), torch.uint8)]
        if (folder / "masks.u8").exists():
            self._pixels.append(Column(folder / "masks.u8", count, canvas, torch.uint8))
        self.images = self._pixels[0].mapped
        self.masks = self._pixels[1].mapped if len(self._pixels) > 1 else None
        names = {"sizes": (2,), "rows": (), "targets": (), "digests": ()}
        self._small = [Column(folder / f"{n}.i64", count, s, torch.int64) for n, s in names.items()]
        self.sizes, self.rows, self.targets, self.digests = (column.mapped for column in self._small)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, rows: Tensor) -> list[Tensor]:
        """Pictures in the upper left corners of their canvases, and their masks if there are such.

        Args:
            rows: (B,) int64, on the CPU.

        Returns:
            (B, 3, H, W) uint8, 0 beside the picture, and (B, H, W) uint8, 255 beside it. H and W are
            `canvas`, or those of the tallest and the widest picture if one is longer than that.

        Raises:
            ResourceError: a file of the store has been cut short.
        """
        self.check()
        return self.seen([column.read(rows) for column in self._pixels], rows)

    def seen(self, canvases: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
        """Canvases as `at` gives them, from those that lie in the files or were moved."""
        sizes = self.sizes[rows]
        return [unfolded(part, sizes, fill) for part, fill in zip(canvases, (0, IGNORE), strict=False)]

    def masks_at(self, rows: Tensor) -> Tensor:
        """(B, H, W) uint8: the masks that `at` gives, without reading the pictures."""
        self.check()
        return unfolded(self._pixels[1].read(rows), self.sizes[rows], IGNORE)

    def moved_to(self, device: torch.device) -> list[Tensor]:
        """(N, 3, canvas, canvas), and (N, canvas, canvas) of masks: the files, whole, on a device."""
        return [column.moved_to(device) for column in self._pixels]

    def check(self) -> None:
        """See whether all files still have their lengths; cheap enough for every batch.

        Raises:
            ResourceError: one has not.
        """
        for column in (*self._pixels, *self._small):
            column.check()


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
        canvas: larger images are reduced to fit a square of this side; elongated ones less, see `side_of`.
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
    if not _is_whole(folder):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _only_builder(folder, lambda: tick(0, len(dataset))), fenced():
                if not _is_whole(folder, say=True):  # another process may have been faster
                    _sweep(cache, folder)
                    build(dataset, canvas, folder, bad_images, count, tick)
        except (OSError, ResourceError) as error:
            if isinstance(error, ResourceError) and error.next:
                raise
            reason = error if isinstance(error, OSError) else error.__cause__
            raise ResourceError(
                f"cannot write the image cache: {getattr(reason, 'strerror', '') or reason}",
                where=str(cache),
                next="ssl-seg train ... --cache FOLDER  # on a disk with more space",
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


def _is_whole(folder: Path, *, say: bool = False) -> bool:
    """Whether there is a store in a folder, as it was written."""
    if not (folder / "index.json").exists():
        return False
    trouble = damage(folder)
    if trouble and say:
        log.warning("the image cache is corrupt, rebuilding it: %s/%s", folder, trouble)
    return not trouble


@contextmanager
def _only_builder(folder: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a store. The system lets go of it when its process dies; the file stays.

    Raises:
        ResourceError: another process holds it, and has not written to the store for `timeout_seconds()` seconds.
    """
    with folder.with_name(f".{folder.name}.lock").open("a+") as lock:
        idle = StallDetector(_LOOK)
        while not try_lock(lock, seconds=_LOOK):
            wait()
            if idle.is_stalled(_written(folder)):
                raise ResourceError(
                    f"timeout: another process is building the image cache, without progress for {timeout_seconds():.0f} s",
                    where=f"{folder}: {signature(lock)}",
                    next="stop that process, or use --cache OTHER_FOLDER",
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
