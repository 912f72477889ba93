"""Packed images as a dataset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ssl_seg.base import Dataset
from ssl_seg.data.column import Column
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.data.shards.columns import MEMBERS, ShardFiles
from ssl_seg.data.shards.encoding import decode
from ssl_seg.data.shards.pack_index import read_pack_index

_MASK_FACTS = ("palette_text", "exclude", "how", "image_prefix", "image_suffix", "mask_prefix", "mask_suffix")


class ShardDataset(Dataset):
    """The images that `pack` has written, in the order of the shards.

    Args:
        folder: of the shards.

    Attributes:
        index: content of its `index.json`.
        palette, exclude, ...: of masks, as the packed dataset had them.

    Raises:
        DataError: there are no packed images, or they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.index = folder, read_pack_index(folder)
        count = self.index["count"]
        self.classes, self.masks = self.index["classes"], self.index["masks"]
        self._members = Column(folder / "members.i64", count, (MEMBERS,), torch.int64).mapped
        self._digests = Column(folder / "digests.i64", count, (), torch.int64).mapped
        self._sizes = Column(folder / "sizes.i64", count, (2,), torch.int64).mapped
        self._files = ShardFiles(folder, [shard["name"] for shard in self.index["shards"]])
        self.samples: Sequence[tuple[str, int]] = _Samples(folder, self.index)
        facts = self.index["mask_facts"]
        if "palette" in facts:
            self.palette = np.array(facts["palette"], dtype=np.uint8)
        for name in set(facts) & set(_MASK_FACTS):
            setattr(self, name, facts[name])

    def origin(self, index: int) -> str:
        return f"{self.file(index)}: {self.samples[index][0]}"

    def file(self, index: int) -> str:
        return str(self.folder / self.index["shards"][int(self._members[index, 0])]["name"])

    def identity(self, index: int) -> str:
        return f"packed {self.samples[index][0]}\0{int(self._digests[index])} {self._members[index, 1:].tolist()}"

    def size(self, index: int) -> tuple[int, int]:
        height, width = self._sizes[index].tolist()
        return height, width

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        shard, offset, length, crc = self._members[index, :4].tolist()
        image = Image.fromarray(decode(self._files.read(shard, offset, length, crc), "RGB"))
        image.thumbnail((canvas, canvas), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.asarray(image), self.size(index)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        shard, _, _, _, *member = self._members[index].tolist()
        height, width = self.image(index, canvas)[0].shape[:2]
        return downsample_mask(decode(self._files.read(shard, *member), "L"), height, width)


class _Samples(Sequence[tuple[str, int]]):
    """Names and targets, read from the mapped index when they are asked for."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        count = index["count"]
        self._targets = Column(folder / "targets.i64", count, (), torch.int64).mapped
        self._ends = Column(folder / "names.i64", count, (), torch.int64).mapped
        self._names: Tensor = Column(
            folder / "names.bin", index["files"]["names.bin"]["size"], (), torch.uint8
        ).mapped

    def __len__(self) -> int:
        return len(self._targets)

    @overload
    def __getitem__(self, index: int) -> tuple[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, int] | Sequence[tuple[str, int]]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        start = int(self._ends[index - 1]) if index else 0
        name = self._names[start : int(self._ends[index])].numpy().tobytes()
        return name.decode("utf-8", "surrogateescape"), int(self._targets[index])


def mask_facts(dataset: Dataset) -> dict[str, Any]:
    """What a dataset of masks knows of their colours and file names, for the index of its shards."""
    if not dataset.masks:
        return {}
    palette = getattr(dataset, "palette", None)
    colours = {} if palette is None else {"palette": np.asarray(palette).tolist()}
    return colours | {name: getattr(dataset, name) for name in _MASK_FACTS if hasattr(dataset, name)}
