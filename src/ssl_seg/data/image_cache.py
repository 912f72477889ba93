"""The image cache: every image decoded once, in one memory-mapped file.

A cache is a folder of plain arrays, named by a fingerprint of the dataset and the canvas size:

    index.json    format, count, canvas, classes, lengths and digests of the other files
    images.u8     (N, C, canvas, canvas) the image in the upper left corner, 0 elsewhere; or folded
    images.sums   digests of its blocks
    sizes.i64     (N, 2) height and width of the image
    rows.i64      (N,) index in the dataset (unreadable images may have been skipped)
    targets.i64   (N,) class index, or -1
    digests.i64   (N,) hash of the image, independent of the canvas size
    masks.u8      (N, canvas, canvas) class of every pixel, 255 for none; only with masks
    masks.sums    digests of its blocks

It is written to a temporary folder and renamed when complete. A cache that is damaged later is rebuilt. One
process at a time builds it; the others wait.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_seg.base import IGNORE_INDEX, Dataset
from ssl_seg.data.cache_builder import FORMAT, ProgressCallback, build_cache
from ssl_seg.data.cache_integrity import damage
from ssl_seg.data.cache_lock import build_lock, remove_stale_builds
from ssl_seg.data.canvases import unfolded
from ssl_seg.data.column import Column
from ssl_seg.data.file_digests import TABLE, identities
from ssl_seg.data.files import Share
from ssl_seg.data.shards.columns import ShardColumn, ShardFiles, shard_columns
from ssl_seg.data.shards.encoding import DECODER
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_json

FINGERPRINT = (
    f"content, {FORMAT}"  # inputs of a fingerprint: only fingerprints with equal inputs are compared
)


class ImageCache:
    """An open image cache. Opening one allocates no memory.

    Args:
        folder: of the cache, or of shards.
        shards: the files of shards that lie elsewhere.

    Attributes:
        canvas: side of the canvases in pixels.
        channels: of the images.
        statistics: `mean` and `std` of each band for values in [0, 1]; empty for photographs of three colours.
        shard_lengths: number of images of each shard, for the order; empty of a cache of raw canvases.
        sizes: (N, 2) int64. sample_indices, targets, digests: (N,) int64.
        classes: names; empty without labels.
        num_skipped: number of unreadable images.
        unreadable: their indices in the dataset, with the reason.
        fingerprint: of the dataset and the canvas.
        notes: further entries for `run.toml`.
    """

    def __init__(self, folder: Path, shards: ShardFiles | None = None) -> None:
        index = read_json(folder / "index.json")
        self.folder, self.fingerprint = folder, folder.name
        self.shard_lengths = [shard["count"] for shard in index.get("shards", ())]
        self.notes: dict[str, Any] = {}
        self.canvas: int = index["canvas"]
        self.channels: int = index.get("channels", 3)
        self.statistics: dict[str, list[float]] = index.get("statistics", {})
        self.classes: list[str] = index["classes"]
        self.num_skipped: int = index["skipped"]
        self.unreadable = {int(row): str(reason) for row, reason in index["bad"].items()}
        count, canvas = index["count"], (self.canvas, self.canvas)
        names = {"sizes": (2,), "rows": (), "targets": (), "digests": ()}
        self._small = [Column(folder / f"{n}.i64", count, s, torch.int64) for n, s in names.items()]
        self.sizes, self.sample_indices, self.targets, self.digests = (
            column.mapped for column in self._small
        )
        self._pixels: Sequence[Column | ShardColumn]
        if self.shard_lengths:
            self.fingerprint = index["digest"]
            self.notes["decoder"] = DECODER
            self._pixels = shard_columns(folder, index, self.sizes, shards)
        else:
            self._pixels = [Column(folder / "images.u8", count, (self.channels, *canvas), torch.uint8)]
            if (folder / "masks.u8").exists():
                self._pixels.append(Column(folder / "masks.u8", count, canvas, torch.uint8))

    @property
    def images(self) -> Tensor:
        """(N, C, canvas, canvas) uint8, a view of the mapped file; not of shards.

        Images longer than the canvas are folded, see `at`. To access it kills the process if the file was truncated.
        """
        return self._mapped(0)

    @property
    def masks(self) -> Tensor | None:
        """(N, canvas, canvas) uint8, as `images`; None without masks."""
        return self._mapped(1) if len(self._pixels) > 1 else None

    def _mapped(self, number: int) -> Tensor:
        column = self._pixels[number]
        if isinstance(column, ShardColumn):
            raise TypeError("the images of shards are encoded; use `at`")
        return column.mapped

    @property
    def num_bytes(self) -> int:
        """Bytes of all canvases, as `moved_to` makes them."""
        return sum(column.num_bytes for column in self._pixels)

    def __len__(self) -> int:
        return len(self.sample_indices)

    def at(self, indices: Tensor) -> list[Tensor]:
        """Read images, in the upper left corners of their canvases, and their masks if any.

        Args:
            indices: (B,) int64, on the CPU.

        Returns:
            (B, C, H, W) uint8, 0 outside the image, and (B, H, W) uint8, 255 outside it. H and W are `canvas`,
            or those of the tallest and widest image if one is longer.

        Raises:
            ResourceError: a file of the cache was truncated.
        """
        self.check()
        return self.unfolded([column.read(indices) for column in self._pixels], indices)

    def unfolded(self, canvases: Sequence[Tensor], indices: Tensor) -> list[Tensor]:
        """Return canvases as `at` does, from folded ones."""
        sizes = self.sizes[indices]
        return [unfolded(part, sizes, fill) for part, fill in zip(canvases, (0, IGNORE_INDEX), strict=False)]

    def masks_at(self, indices: Tensor) -> Tensor:
        """Return the (B, H, W) uint8 masks of `at` without reading the images."""
        self.check()
        return unfolded(self._pixels[1].read(indices), self.sizes[indices], IGNORE_INDEX)

    def moved_to(self, device: torch.device) -> list[Tensor]:
        """Copy all images (N, C, canvas, canvas), and masks (N, canvas, canvas), to a device."""
        return [column.moved_to(device) for column in self._pixels]

    def check(self) -> None:
        """Check the lengths of all files; cheap enough for every batch.

        Raises:
            ResourceError: a file was truncated.
        """
        for column in (*self._pixels, *self._small):
            column.check()


def open_image_cache(
    dataset: Dataset,
    canvas: int,
    cache: Path,
    *,
    bad_images: Literal["stop", "skip"] = "stop",
    threads: int | None = None,
    share: Share = lambda make: make(),
    on_progress: ProgressCallback = lambda done, count: None,
) -> ImageCache:
    """Open the image cache of a dataset; build it if it does not exist.

    Args:
        dataset: the images to decode.
        canvas: larger images are downscaled to fit a square of this side; elongated ones less, see `side_of`.
        cache: the folder of all caches.
        bad_images: `stop` raises when an image cannot be read, `skip` leaves it out.
        threads: for decoding; all cores by default.
        share: of several processes: one fingerprints the files and sends the name of the cache to the others.
        on_progress: called with (done, total) while the cache is built, here or by another process.

    Raises:
        DataError: some images cannot be read, or all.
        ResourceError: the disk is full or not writable.
    """
    count = threads or os.cpu_count() or 1
    options: dict[str, Any] = {"table": cache / TABLE, "threads": count, "on_progress": on_progress}
    own: list[str] = []

    def name() -> bytes:
        own.append(fingerprint(dataset, canvas, bad_images, **options))
        return own[0].encode()

    folder = cache / share(name).decode()
    if not _is_valid(folder):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with build_lock(folder, lambda: on_progress(0, len(dataset))), fenced():
                if not _is_valid(folder, warn=True):  # another process may have been faster
                    if not own and name().decode() != folder.name:
                        what = "the images of this process are not those of the main process"
                        raise DataError(what, next="use storage that all machines share")
                    remove_stale_builds(cache, folder)
                    build_cache(dataset, canvas, folder, bad_images, count, on_progress)
        except (OSError, ResourceError) as error:
            if isinstance(error, ResourceError) and error.next:
                raise
            reason = error if isinstance(error, OSError) else error.__cause__
            raise ResourceError(
                f"cannot write the image cache: {getattr(reason, 'strerror', '') or reason}",
                where=str(cache),
                next="ssl-seg train ... --cache FOLDER  # on a disk with more space",
            ) from error
    return ImageCache(folder)


def fingerprint(
    dataset: Dataset,
    canvas: int,
    bad_images: str,
    *,
    table: Path | None = None,
    threads: int = 1,
    on_progress: ProgressCallback = lambda done, count: None,
) -> str:
    """Return a name that changes with any image, label, class or option that the cache depends on.

    Args:
        table, threads, on_progress: see `identities`.
    """
    digest = hashlib.sha256(f"{FORMAT} {canvas} {bad_images} {list(dataset.classes)}".encode())
    known = identities(dataset, table, threads, on_progress)
    for identity, (_, target) in zip(known, dataset.samples, strict=True):
        digest.update(f"{identity}\0{target}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:20]


def _is_valid(folder: Path, *, warn: bool = False) -> bool:
    """Whether a folder has a valid cache."""
    if not (folder / "index.json").exists():
        return False
    error = damage(folder)
    if error and warn:
        log.warning("the image cache is corrupt, rebuilding it: %s/%s", folder, error)
    return not error
