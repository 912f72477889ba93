"""A list of image files that stays small in memory."""

import os
from array import array
from collections.abc import Iterable, Sequence
from typing import Self, overload


class FileList(Sequence[tuple[str, int]]):
    """(path, target) pairs in about 20 bytes each and one copy of the names."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        names, ends, targets = bytearray(), array("q", [0]), array("q")
        for name, target in pairs:
            names += os.fsencode(name)
            ends.append(len(names))
            targets.append(target)
        self._names: bytes | memoryview = bytes(names)
        self._ends: Sequence[int] = ends
        self.targets: Sequence[int] = targets

    @classmethod
    def over(cls, names: memoryview, ends: Sequence[int], targets: Sequence[int]) -> Self:
        """A list over arrays that are mapped, and not copied.

        Args:
            names: bytes of all names, joined. ends: 0, then where each ends. targets: of each.
        """
        files = cls(())
        files._names, files._ends, files.targets = names, ends, targets
        return files

    def __len__(self) -> int:
        return len(self.targets)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | Sequence[tuple[str, int]]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        name = bytes(self._names[self._ends[index] : self._ends[index + 1]])
        return os.fsdecode(name), self.targets[index]
