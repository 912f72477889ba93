"""The index of all shards of a folder: flat arrays, which are mapped and not loaded.

index.json     format, count, canvas, classes, the shards, lengths and digests of the files below
members.i64    (N, 7) number of the shard; offset, length and CRC-32 of the image and of its mask
sizes.i64      (N, 2) height and width
rows.i64       (N,) index in the packed dataset: 0, 1, ...
targets.i64    (N,) class index, or -1
digests.i64    (N,) hash of the pixels before encoding
names.bin      names of the images, joined
names.i64      (N,) where each ends
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.cache_integrity import index_digest
from ssl_seg.data.shards.shard_file import ShardIndex, index_path, read_shard_index
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.files import atomic_file, atomic_write_text, discard
from ssl_seg.utils.text import first_lines
from ssl_seg.utils.toml import read_json

FORMAT = 1
NAME = "index.json"
FILES = ("members.i64", "sizes.i64", "rows.i64", "targets.i64", "digests.i64", "names.bin", "names.i64")


def write_pack_index(
    folder: Path,
    paths: Sequence[Path],
    dataset: Dataset,
    limit: int,
    mask_facts: Mapping[str, Any],
    *,
    skip: bool,
) -> dict[int, str]:
    """Write the index of complete shards; `index.json` last. Shards of an earlier, longer pack are removed.

    Returns:
        The images that were left out, by their index in the dataset, with the reason.

    Raises:
        DataError: there are images that could not be read, and `skip` is false; or none could.
    """
    side, bad, shards = 1, dict[int, str](), list[dict[str, Any]]()
    with ExitStack() as stack:
        files = {name: _SummedFile(stack.enter_context(atomic_file(folder / name))) for name in FILES}
        count = characters = 0
        for number, path in enumerate(paths):
            shard = read_shard_index(path)
            if shard is None:
                raise ResourceError(
                    f"{path} was changed while the images were packed", next="run the command again"
                )
            rows = len(shard.sizes)
            ends = characters + np.cumsum([len(name) for name in shard.names], dtype=np.int64)
            columns = {
                "members.i64": np.column_stack([np.full(rows, number, dtype=np.int64), shard.members]),
                "sizes.i64": shard.sizes,
                "rows.i64": np.arange(count, count + rows, dtype=np.int64),
                "targets.i64": shard.targets,
                "digests.i64": shard.digests,
                "names.bin": np.frombuffer(b"".join(shard.names), np.uint8),
                "names.i64": ends,
            }
            for name, column in columns.items():
                files[name].write(column)
            count, characters = count + rows, int(ends[-1]) if rows else characters
            side, bad = max(side, _side(shard, limit)), bad | dict(shard.bad)
            shards.append({"name": path.name, "bytes": shard.num_bytes, "count": rows})
        if not count or (bad and not skip):
            lines = [f"{dataset.samples[row][0]}: {reason}" for row, reason in sorted(bad.items())]
            what = f"{len(bad)} of {len(dataset)} images are unreadable"
            raise DataError(
                what, where=first_lines(lines), next="repair or remove them, or use --bad-images skip"
            )
    index: dict[str, Any] = {
        "format": FORMAT,
        "count": count,
        "canvas": side,
        "limit": limit,
        "classes": list(dataset.classes),
        "masks": bool(dataset.masks),
        "mask_facts": dict(mask_facts),
        "shards": shards,
        "skipped": 0,
        "bad": {},  # those that could not be read are not among the packed images
        "files": {name: file.summary() for name, file in files.items()},
    }
    index["digest"] = index_digest(index)
    atomic_write_text(folder / NAME, json.dumps(index))
    for old in set(folder.glob("shard-*.tar")) - set(paths):
        discard(old)
        discard(index_path(old))
    return bad


def read_pack_index(folder: Path) -> dict[str, Any]:
    """The index of packed images, checked: every file has the length that it was written with.

    Raises:
        DataError: there is none, or a file is missing or damaged.
    """
    where = str(folder / NAME)
    if not (folder / NAME).is_file():
        raise DataError(
            f"{folder} has no packed images", where=where, next=f"ssl-seg pack DATA --out {folder}"
        )
    again = "pack the images again: complete shards are kept"
    try:
        index: dict[str, Any] = read_json(folder / NAME)
        stated = index["digest"]
        if index_digest({key: value for key, value in index.items() if key != "digest"}) != stated:
            raise DataError(
                "the index of the packed images is damaged: digest mismatch", where=where, next=again
            )
        if index["format"] != FORMAT:
            raise DataError(
                f"packed images of format {index['format']}, not {FORMAT}", where=where, next=again
            )
        expected = {name: file["size"] for name, file in index["files"].items()}
        expected |= {shard["name"]: shard["bytes"] for shard in index["shards"]}
        for name, size in expected.items():
            if (found := (folder / name).stat().st_size) != size:
                what = f"a file of the packed images has {found:,} bytes instead of {size:,}"
                raise DataError(what, where=str(folder / name), next=again)
        for name, file in index["files"].items():
            if _file_digest(folder / name) != file["digest"]:
                raise DataError(
                    "a file of the packed images is damaged", where=str(folder / name), next=again
                )
    except OSError as error:
        raise DataError(f"packed images: {error.strerror}", where=str(error.filename), next=again) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("the index of the packed images is damaged", where=where, next=again) from error
    return index


class _SummedFile:
    """An open file, with length and digest of what is written into it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._size = file, hashlib.blake2b(digest_size=16), 0

    def write(self, part: NDArray[Any]) -> None:
        data = np.ascontiguousarray(part).tobytes()
        self._digest.update(data)
        self._size += self._file.write(data)

    def summary(self) -> dict[str, Any]:
        return {"size": self._size, "digest": self._digest.hexdigest()}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _side(shard: ShardIndex, limit: int) -> int:
    """Of a canvas that holds every image: whole, or folded if it is longer than the limit."""
    longest = shard.sizes.max(axis=1, initial=1)
    whole = int(longest[longest <= limit].max(initial=1))
    pixels = int(shard.sizes.prod(axis=1)[longest > limit].max(initial=0))
    return max(whole, math.isqrt(pixels - 1) + 1 if pixels else 0)
