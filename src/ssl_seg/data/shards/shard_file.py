"""One shard: a tar file, and a small file beside it that says what lies where."""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.data.shards.encoding import EncodedSample
from ssl_seg.utils.files import atomic_file, atomic_path


@dataclass(frozen=True)
class ShardIndex:
    """What a shard holds.

    Attributes:
        fingerprint: of everything that the shard was made from.
        num_bytes: length of the tar file.
        members: (n, 6) int64: offset, length and CRC-32 of the image and of its mask (0, 0, 0 without).
        sizes: (n, 2) int64 height and width. targets, digests: (n,) int64.
        names: of the images in their dataset.
        bad: indices in the dataset of images that were left out, with the reason.
    """

    fingerprint: str
    num_bytes: int
    members: NDArray[np.int64]
    sizes: NDArray[np.int64]
    targets: NDArray[np.int64]
    digests: NDArray[np.int64]
    names: list[bytes]
    bad: Mapping[int, str]


def write_shard(
    path: Path, fingerprint: str, first: int, samples: Iterable[EncodedSample], bad: Mapping[int, str]
) -> None:
    """Write a shard and its index; the index last, so that a shard with an index is complete.

    Args:
        path: of the tar file.
        first: number of the first image, for the names of the members: WebDataset groups members by the part of
            the name before the first dot.
        bad: filled while the samples are encoded.
    """
    rows: list[tuple[int, ...]] = []
    sizes, targets, digests, names = [], [], [], []
    with atomic_path(path) as aside, aside.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, sample in enumerate(samples, first):
                key = f"{number:010d}"
                image = _add(tar, f"{key}.{sample.suffix}", sample.image)
                mask = _add(tar, f"{key}.mask.png", sample.mask) if sample.mask else (0, 0, 0)
                if sample.target >= 0:
                    _add(tar, f"{key}.cls", str(sample.target).encode())
                rows.append((*image, *mask))
                sizes.append(sample.size)
                targets.append(sample.target)
                digests.append(sample.digest)
                names.append(sample.name.encode("utf-8", "surrogateescape"))
        num_bytes = file.tell()
    columns: dict[str, Any] = {
        "fingerprint": np.array(fingerprint),
        "num_bytes": np.array(num_bytes),
        "members": np.array(rows, dtype=np.int64).reshape(-1, 6),
        "sizes": np.array(sizes, dtype=np.int64).reshape(-1, 2),
        "targets": np.array(targets, dtype=np.int64),
        "digests": np.array(digests, dtype=np.int64),
        **_joined("names", names),
        "bad_rows": np.array(list(bad), dtype=np.int64),
        **_joined("bad", [reason.encode() for reason in bad.values()]),
    }
    with atomic_file(index_path(path)) as file:
        np.savez(file, **columns)


def read_shard_index(path: Path) -> ShardIndex | None:
    """The index of a shard; None if the shard is missing, incomplete or of another length."""
    try:
        with np.load(index_path(path), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        reasons = [text.decode() for text in _split(found["bad"], found["bad_ends"])]
        index = ShardIndex(
            str(found["fingerprint"]),
            int(found["num_bytes"]),
            found["members"],
            found["sizes"],
            found["targets"],
            found["digests"],
            _split(found["names"], found["names_ends"]),
            dict(zip(found["bad_rows"].tolist(), reasons, strict=True)),
        )
        return index if path.stat().st_size == index.num_bytes else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def index_path(path: Path) -> Path:
    """The file beside a shard that says what lies where."""
    return path.with_suffix(".npz")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int, int]:
    """Add a member; returns offset, length and CRC-32 of its data."""
    info = tarfile.TarInfo(name)  # no time, no owner: the same images make the same file
    info.size, info.mode = len(data), 0o644
    start = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(info, io.BytesIO(data))
    return start, len(data), zlib.crc32(data)


def _joined(name: str, texts: list[bytes]) -> dict[str, Any]:
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return {name: np.frombuffer(b"".join(texts), np.uint8), f"{name}_ends": ends}


def _split(joined: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[bytes]:
    whole, starts = joined.tobytes(), [0, *ends.tolist()]
    return [whole[start:end] for start, end in pairwise(starts)]
