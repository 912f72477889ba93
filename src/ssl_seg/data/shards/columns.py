"""Pixels of packed images: read from their shards and decoded when they are asked for."""

import os
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.canvases import laid
from ssl_seg.data.column import Column
from ssl_seg.data.shards.encoding import decode
from ssl_seg.errors import ResourceError

_OPEN_SHARDS, _ATTEMPTS = 64, 10
MEMBERS = 7


class _OpenFile:
    """A file that is closed when nobody uses it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


class ShardFiles:
    """The tar files of packed images; as many are open as were used last.

    Args:
        locate: number of a shard -> its file, which may be fetched then; see `local_shards`.
    """

    def __init__(self, locate: Callable[[int], Path]) -> None:
        self._locate = locate
        self._handles: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = Lock()

    def read(self, shard: int, offset: int, length: int, crc: int) -> bytes:
        """The bytes of a member.

        Raises:
            ResourceError: they are not what was packed.
        """
        file = self._open(shard)
        data = os.pread(file.number, length, offset)
        if len(data) != length or zlib.crc32(data) != crc:
            raise ResourceError(
                "a shard is damaged, or was changed while in use",
                where=f"{file.path}, bytes {offset:,} to {offset + length:,}",
                next="pack the images again: complete shards are kept",
            )
        return data

    def _open(self, shard: int) -> _OpenFile:
        with self._lock:
            if shard in self._handles:
                self._handles.move_to_end(shard)
                return self._handles[shard]
        for attempt in range(_ATTEMPTS):  # another process may remove it at any time, to free space
            try:
                file = _OpenFile(self._locate(shard))  # not locked: others read what is there
                break
            except FileNotFoundError:
                if attempt + 1 == _ATTEMPTS:
                    raise
        with self._lock:
            file = self._handles.setdefault(shard, file)
            if len(self._handles) > _OPEN_SHARDS:
                self._handles.popitem(last=False)
            return file


def local_shards(folder: Path, index: dict[str, Any]) -> Callable[[int], Path]:
    """Where the shards of a folder lie."""
    return lambda number: folder / index["shards"][number]["name"]


class ShardColumn:
    """Images or masks of all shards, as rows of canvases; the counterpart of `Column`.

    Args:
        files: the shards.
        members: (N, 7) column of `pack_index`.
        sizes: (N, 2) int64 height and width.
        canvas: side of the canvases.
        kind: what is read.
        pool: threads that decode.
    """

    def __init__(
        self,
        files: ShardFiles,
        members: Column,
        sizes: Tensor,
        canvas: int,
        kind: Literal["images", "masks"],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._files, self._members, self._sizes = files, members, sizes
        self._canvas, self._is_mask, self._pool = canvas, kind == "masks", pool
        shape = (canvas, canvas) if self._is_mask else (3, canvas, canvas)
        self._shape = shape
        self.num_bytes = len(sizes) * int(np.prod(shape))

    def check(self) -> None:
        """Nothing: what is read is compared with its checksum."""

    def read(self, rows: Tensor) -> Tensor:
        """(B, 3, canvas, canvas) or (B, canvas, canvas) uint8, possibly folded; see `canvases`.

        Args:
            rows: (B,) int64, on the CPU.

        Raises:
            ResourceError: a shard is damaged.
        """
        read = torch.empty(len(rows), *self._shape, dtype=torch.uint8)
        jobs = zip(read.numpy(), self._members.mapped[rows].tolist(), self._sizes[rows].tolist(), strict=True)
        for _ in self._pool.map(lambda job: self._decode(*job), list(jobs)):
            pass
        return read

    def _decode(self, canvas: Any, member: Sequence[int], size: Sequence[int]) -> None:
        shard, offset, length, crc = member[0], *(member[4:] if self._is_mask else member[1:4])
        data = self._files.read(shard, offset, length, crc)
        try:
            picture = decode(data, "L" if self._is_mask else "RGB")
        except ValueError as error:
            raise ResourceError(f"an image of a shard cannot be decoded: {error}") from error
        planes = picture[None] if self._is_mask else picture.transpose(2, 0, 1)
        if list(planes.shape[1:]) != list(size):
            raise ResourceError(f"an image of a shard is {planes.shape[1:]}, not {tuple(size)}")
        fill = IGNORE_INDEX if self._is_mask else 0
        canvas[:] = np.frombuffer(laid(planes, self._canvas, fill), np.uint8).reshape(canvas.shape)

    def moved_to(self, device: torch.device) -> Tensor:
        """(N, ...) on a device, read part by part.

        Raises:
            ResourceError: a shard is damaged.
        """
        moved = torch.empty(len(self._sizes), *self._shape, dtype=torch.uint8, device=device)
        for rows in torch.arange(len(moved)).split(256):
            moved[rows[0] : rows[-1] + 1] = self.read(rows)
        return moved


def shard_columns(
    folder: Path, index: dict[str, Any], sizes: Tensor, files: ShardFiles | None = None
) -> list[ShardColumn]:
    """The images of packed images, and their masks if any.

    Args:
        folder, index: see `read_pack_index`.
        sizes: (N, 2) int64.
        files: the shards; default: those of the folder.
    """
    files = files or ShardFiles(local_shards(folder, index))
    members = Column(folder / "members.i64", index["count"], (MEMBERS,), torch.int64)
    pool = ThreadPoolExecutor(os.cpu_count() or 1, "ssl-seg-decode")
    kinds: list[Literal["images", "masks"]] = ["images", "masks"] if index["masks"] else ["images"]
    return [ShardColumn(files, members, sizes, index["canvas"], kind, pool) for kind in kinds]
