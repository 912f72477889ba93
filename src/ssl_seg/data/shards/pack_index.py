"""The index of all shards of a folder: flat arrays, which are mapped and not loaded.

index.json     format, count, canvas, classes, the shards, lengths and digests of the files below
members.i64    (N, 7) number of the shard; offset, length and CRC-32 of the image and of its mask
sizes.i64      (N, 2) height and width
rows.i64       (N,) index in the packed dataset: 0, 1, ...
targets.i64    (N,) class index, or -1
digests.i64    (N,) hash of the pixels before encoding
names.bin      names of the images, joined
names.i64      (N + 1,) 0, then where each ends
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.cache_builder import bad_images_error
from ssl_seg.data.cache_integrity import index_digest
from ssl_seg.data.file_digests import file_digest
from ssl_seg.data.shards.shard_file import ShardIndex, index_path, read_shard_index
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.files import atomic_file, atomic_write_text, discard
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
) -> dict[str, Any]:
    """Write the index of complete shards; `index.json` last. Shards of an earlier, longer pack are removed.

    Returns:
        The index.

    Raises:
        DataError: there are images that could not be read, and `skip` is false; or none could.
    """
    shards, side, bad = list[dict[str, Any]](), 1, dict[int, str]()
    with _Columns(folder) as columns:
        for path in paths:
            shard = read_shard_index(path)
            if shard is None:
                what = f"{path} was changed while the images were packed"
                raise ResourceError(what, next="run the command again")
            columns.add(shard)
            shards.append({"name": path.name, "bytes": shard.num_bytes, "count": len(shard.sizes)})
            side = max(side, _side(shard, limit))
            bad.update(shard.bad)
        if not columns.count or (bad and not skip):
            what = f"{len(bad)} of {len(dataset)} images are unreadable"
            ordered = {row: bad[row] for row in sorted(bad)}
            raise bad_images_error(dataset, ordered, what, "repair or remove them, or use --bad-images skip")
    index: dict[str, Any] = {
        "format": FORMAT,
        "count": columns.count,
        "canvas": side,
        "limit": limit,
        "classes": list(dataset.classes),
        "masks": bool(dataset.masks),
        "mask_facts": dict(mask_facts),
        "shards": shards,
        "left_out": len(bad),  # for they could not be read
        "skipped": 0,  # of the packed images
        "bad": {},
        "files": columns.summary(),
    }
    index["digest"] = index_digest(index)
    atomic_write_text(folder / NAME, json.dumps(index))
    for old in set(folder.glob("shard-*.tar")) - set(paths):
        discard(old)
        discard(index_path(old))
    return index


def read_pack_index(folder: Path, *, with_shards: bool = True) -> dict[str, Any]:
    """The index of packed images, checked: every file has the length that it was written with.

    Args:
        with_shards: whether all shards must be there.

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
        names = [f"shard-{number:06d}.tar" for number in range(len(index["shards"]))]
        if [shard["name"] for shard in index["shards"]] != names or set(index["files"]) != set(FILES):
            raise ValueError("names of other files")
        expected = {name: file["size"] for name, file in index["files"].items()}
        if with_shards:
            expected |= {shard["name"]: shard["bytes"] for shard in index["shards"]}
        for name, size in expected.items():
            if (found := (folder / name).stat().st_size) != size:
                what = f"a file of the packed images has {found:,} bytes instead of {size:,}"
                raise DataError(what, where=str(folder / name), next=again)
        for name, file in index["files"].items():
            if file_digest(folder / name).hex() != file["digest"]:
                raise DataError(
                    "a file of the packed images is damaged", where=str(folder / name), next=again
                )
    except OSError as error:
        raise DataError(f"packed images: {error.strerror}", where=str(error.filename), next=again) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("the index of the packed images is damaged", where=where, next=again) from error
    return index


class _Columns:
    """Writes the columns of all shards, with their digests; nothing is left of them if the block ends with an error."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._digests = {name: hashlib.blake2b(digest_size=16) for name in FILES}
        self._sizes = dict.fromkeys(FILES, 0)
        self.count = self._shards = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._files = {name: stack.enter_context(atomic_file(self._folder / name)) for name in FILES}
            self._stack = stack.pop_all()
        self._write("names.i64", np.zeros(1, dtype=np.int64))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, shard: ShardIndex) -> None:
        rows, characters = len(shard.sizes), self._sizes["names.bin"]
        columns = {
            "members.i64": np.column_stack([np.full(rows, self._shards, dtype=np.int64), shard.members]),
            "sizes.i64": shard.sizes,
            "rows.i64": np.arange(self.count, self.count + rows, dtype=np.int64),
            "targets.i64": shard.targets,
            "digests.i64": shard.digests,
            "names.bin": np.frombuffer(b"".join(shard.names), np.uint8),
            "names.i64": characters + np.cumsum([len(name) for name in shard.names], dtype=np.int64),
        }
        for name, column in columns.items():
            self._write(name, column)
        self.count, self._shards = self.count + rows, self._shards + 1

    def _write(self, name: str, column: NDArray[Any]) -> None:
        data = np.ascontiguousarray(column).tobytes()
        self._digests[name].update(data)
        self._sizes[name] += self._files[name].write(data)

    def summary(self) -> dict[str, Any]:
        """Length and digest of each file."""
        return {
            name: {"size": self._sizes[name], "digest": self._digests[name].hexdigest()} for name in FILES
        }


def _side(shard: ShardIndex, limit: int) -> int:
    """Of a canvas that holds every image: whole, or folded if it is longer than the limit."""
    longest = shard.sizes.max(axis=1, initial=1)
    whole = int(longest[longest <= limit].max(initial=1))
    pixels = int(shard.sizes.prod(axis=1)[longest > limit].max(initial=0))
    return max(whole, math.isqrt(pixels - 1) + 1 if pixels else 0)
