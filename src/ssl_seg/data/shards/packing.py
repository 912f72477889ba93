"""Packing a dataset: shards in any order, by any number of processes, then one index of all.

A shard is made again only if an image, label or option that it depends on has changed, so packing goes on where it
was stopped. Processes with the same output folder share the work: each takes the next shard that nobody holds.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ssl_seg.augment.stateless_rng import permutation
from ssl_seg.base import Dataset
from ssl_seg.data.file_digests import TABLE, identities
from ssl_seg.data.shards.dataset import mask_facts
from ssl_seg.data.shards.encoding import EncodedSample, encode
from ssl_seg.data.shards.pack_index import FILES, NAME, write_pack_index
from ssl_seg.data.shards.shard_file import read_shard_index, write_shard
from ssl_seg.data.subset import Subset
from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import discard, total_size
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.lock import sign, signature, try_lock
from ssl_seg.utils.timeout import StallDetector, timeout_seconds

FORMAT = 1
_INSPECTED = 64
_BLOCK = 256  # images encoded ahead of the one that is written
_POLL_SECONDS = 0.5
_LOCKS, _INDEX = ".locks", "index"

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class PackOptions:
    """How images are packed.

    Attributes:
        limit: larger images are downscaled to fit a square of this side; see `canvases.side_of`.
        quality: of JPEG; 0: lossless.
        shard_bytes: length of a shard, about.
        threads: for decoding and encoding.
    """

    limit: int = 256
    quality: int = 90
    shard_bytes: int = 256 << 20
    threads: int = 1


def pack(
    dataset: Dataset,
    folder: Path,
    options: PackOptions,
    cache: Path,
    *,
    skip: bool = False,
    on_progress: ProgressCallback = lambda done, count: None,
) -> dict[str, Any]:
    """Write the shards that are missing, and the index of all.

    Args:
        folder: of the shards; made if missing.
        cache: folder of the table of file digests.
        skip: leave out images that cannot be read.
        on_progress: called with (done, total) images.

    Returns:
        The index; see `write_pack_index`.

    Raises:
        DataError: some images cannot be read, or all. ResourceError: a file cannot be written.
    """
    (folder / _LOCKS).mkdir(parents=True, exist_ok=True)
    count = len(dataset)
    # in a random order, so that the images of one class are in all shards
    parts = permutation(0, 0, count).split(_images_per_shard(dataset, options))
    ready = 0

    def on_images(images: int) -> None:
        nonlocal ready
        ready += images
        on_progress(ready, count)

    left, idle = dict(enumerate(parts)), StallDetector(_POLL_SECONDS)
    while left:
        done = {
            number
            for number, rows in left.items()
            if _complete(dataset, folder, number, rows, len(parts[0]), options, cache, on_images)
        }
        left = {number: rows for number, rows in left.items() if number not in done}
        if left and not done:
            _wait(folder, shard_path(folder, next(iter(left))).stem, idle)
    paths = [shard_path(folder, number) for number in range(len(parts))]
    with (folder / _LOCKS / _INDEX).open("a+") as lock:
        while not try_lock(lock):
            _wait(folder, _INDEX, idle)
        for name in (*FILES, NAME):
            _discard_temporary(folder, name)
        return write_pack_index(folder, paths, dataset, options.limit, mask_facts(dataset), skip=skip)


def _wait(folder: Path, name: str, idle: StallDetector) -> None:
    """Wait a moment for another process, which holds a lock.

    Raises:
        ResourceError: it has written nothing for `timeout_seconds()` seconds.
    """
    with (folder / _LOCKS / name).open("a+") as lock:
        try_lock(lock, seconds=_POLL_SECONDS)
        if idle.is_stalled(total_size([*folder.glob("*.tar"), *folder.glob(".*.tmp-*")])):
            raise ResourceError(
                f"timeout: another process packs {name}, without progress for {timeout_seconds():.0f} s",
                where=signature(lock),
                next="stop that process; then run the command again",
            )


def shard_path(folder: Path, number: int) -> Path:
    """Where the tar file of a shard lies."""
    return folder / f"shard-{number:06d}.tar"


def _complete(
    dataset: Dataset,
    folder: Path,
    number: int,
    rows: Tensor,
    size: int,
    options: PackOptions,
    cache: Path,
    on_images: Callable[[int], None],
) -> bool:
    """Write a shard unless it is up to date; False if another process is doing that."""
    path, part = shard_path(folder, number), Subset(dataset, rows.tolist())
    with (folder / _LOCKS / path.stem).open("a+") as lock:
        if not try_lock(lock):
            return False
        sign(lock)
        expected = _fingerprint(part, options, cache)
        known = read_shard_index(path)
        if known is not None and known.fingerprint == expected:
            on_images(len(rows))
            return True
        _discard_temporary(folder, f"{path.stem}.*")
        bad: dict[int, str] = {}
        samples = _encoded(part, rows.tolist(), options, bad, on_images)
        write_shard(path, expected, number * size, samples, bad)
        return True


def _discard_temporary(folder: Path, name: str) -> None:
    """Remove what a killed process has left of a file whose lock is held."""
    for path in folder.glob(f".{name}.tmp-*"):
        discard(path)


def _encoded(
    part: Subset,
    rows: Sequence[int],
    options: PackOptions,
    bad: dict[int, str],
    on_images: Callable[[int], None],
) -> Iterator[EncodedSample]:
    """The images of a shard in order, encoded by threads; `bad` gets those that cannot be read."""

    def encode_one(index: int) -> EncodedSample | str:
        with fenced(lambda: part.samples[index][0]):
            try:
                return encode(part, index, options.limit, options.quality)
            except ValueError as error:
                return str(error)

    with ThreadPoolExecutor(options.threads) as pool:
        for start in range(0, len(part), _BLOCK):
            block = range(start, min(start + _BLOCK, len(part)))
            for index, sample in zip(block, pool.map(encode_one, block), strict=True):
                if isinstance(sample, str):
                    bad[rows[index]] = sample
                else:
                    yield sample
            on_images(len(block))


def _fingerprint(part: Subset, options: PackOptions, cache: Path) -> str:
    """A text that changes with any image, label or option that the shard depends on."""
    settings = f"{FORMAT} {options.limit} {options.quality} {list(part.classes)}"
    digest = hashlib.sha256(settings.encode("utf-8", "surrogateescape"))
    known = identities(part, cache / TABLE, options.threads, lambda done, count: None)
    for identity, (_, target) in zip(known, part.samples, strict=True):
        digest.update(f"{identity}\0{target}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _images_per_shard(dataset: Dataset, options: PackOptions) -> int:
    """So many that a shard has about the length asked for, by some images of the whole dataset."""
    lengths = []
    for index in np.linspace(0, len(dataset) - 1, min(_INSPECTED, len(dataset)), dtype=np.int64).tolist():
        try:
            sample = encode(dataset, index, options.limit, options.quality)
        except ValueError:  # listed when its shard is written
            continue
        lengths.append(len(sample.image) + len(sample.mask) + 1024)
    mean = sum(lengths) / len(lengths) if lengths else 1024
    return max(1, min(len(dataset), math.ceil(options.shard_bytes / mean)))
