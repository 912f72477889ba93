"""One file of an image cache: equal rows, read without mapping them.

To touch a mapped file that has been cut short kills the process (SIGBUS) without a word. What is read by
`read` is checked: it is an error with the file's name.
"""

import math
import mmap
import os
import weakref
from pathlib import Path

import torch
from torch import Tensor

from ssl_seg.errors import ResourceError

_PART = 64 << 20  # bytes


class Column:
    """An open file of `count` rows.

    Args:
        path: of the file.
        count: of rows.
        shape: of a row.
        dtype: of its numbers.

    Attributes:
        mapped: (count, *shape) view of the file; opening costs no memory, and what is written into it
            does not reach the file.
        num_bytes: length of the file.

    Raises:
        ResourceError: it has another length, or cannot be opened.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.path, self._shape, self._dtype = path, shape, dtype
        self._row = math.prod(shape) * dtype.itemsize
        self.num_bytes = count * self._row
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        self.check()
        # by its handle, not `torch.from_file`: that refuses names that are not UTF-8
        pages = mmap.mmap(self._handle, self.num_bytes, access=mmap.ACCESS_COPY)
        self.mapped = torch.frombuffer(pages, dtype=dtype).view(count, *shape)

    def check(self) -> None:
        """See whether the file still has its length.

        Raises:
            ResourceError: it has not.
        """
        size = os.fstat(self._handle).st_size
        if size != self.num_bytes:
            raise ResourceError(
                "the image cache was changed while in use; it is rebuilt at the next start",
                where=f"{self.path} has {size:,} bytes instead of {self.num_bytes:,}",
            )

    def read(self, rows: Tensor) -> Tensor:
        """(B, *shape) rows of the file, in memory of their own.

        Args:
            rows: (B,) int64, on the CPU.

        Raises:
            ResourceError: the file has been cut short.
            OSError: it cannot be read.
        """
        read = torch.empty(len(rows), *self._shape, dtype=self._dtype)
        whole = read.view(-1).view(torch.uint8).numpy().data
        for position, row in enumerate(rows.tolist()):
            part, offset = whole[position * self._row : (position + 1) * self._row], row * self._row
            while part:
                done = os.preadv(self._handle, [part], offset)
                if not done:
                    self.check()
                part, offset = part[done:], offset + done
        return read

    def moved_to(self, device: torch.device) -> Tensor:
        """(count, *shape) on a device, read part by part.

        Raises:
            ResourceError, OSError: see `read`.
        """
        moved = torch.empty(self.mapped.shape, dtype=self._dtype, device=device)
        for rows in torch.arange(len(moved)).split(max(1, _PART // self._row)):
            moved[rows[0] : rows[-1] + 1] = self.read(rows)
        return moved
