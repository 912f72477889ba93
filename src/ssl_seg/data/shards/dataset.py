"""Packed images as a dataset."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.base import Dataset
from ssl_seg.data.canvases import fitted
from ssl_seg.data.column import Column
from ssl_seg.data.file_list import FileList
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.data.shards.columns import MEMBERS, ShardFiles, local_shards
from ssl_seg.data.shards.encoding import decode
from ssl_seg.data.shards.pack_index import read_pack_index
from ssl_seg.data.shards.remote import RemoteShards

_MASK_FACTS = ("palette_text", "exclude", "how", "image_prefix", "image_suffix", "mask_prefix", "mask_suffix")


class ShardDataset(Dataset):
    """The images that `pack` has written, in the order of the shards.

    Args:
        folder: of the shards.
        remote: their source, if they are behind a URL.

    Attributes:
        files: the shards.
        index: content of its `index.json`.
        palette, exclude, ...: of masks, as the packed dataset had them.

    Raises:
        DataError: there are no packed images, or they are damaged.
    """

    def __init__(self, folder: Path, remote: RemoteShards | None = None) -> None:
        self.folder, self.index = folder, remote.index if remote else read_pack_index(folder)
        self._place = remote.url if remote else str(folder)
        count = self.index["count"]
        self.classes, self.masks = self.index["classes"], self.index["masks"]
        self._members = Column(folder / "members.i64", count, (MEMBERS,), torch.int64).mapped
        self._digests = Column(folder / "digests.i64", count, (), torch.int64).mapped
        self._sizes = Column(folder / "sizes.i64", count, (2,), torch.int64).mapped
        self.files = ShardFiles(remote.locate if remote else local_shards(folder, self.index))
        mapped = {
            name: Column(folder / name, length, (), dtype).mapped
            for name, length, dtype in (
                ("names.bin", self.index["files"]["names.bin"]["size"], torch.uint8),
                ("names.i64", count + 1, torch.int64),
                ("targets.i64", count, torch.int64),
            )
        }
        self.samples = FileList.over(*(column.numpy().data for column in mapped.values()))
        facts = self.index["mask_facts"]
        if "palette" in facts:
            self.palette = np.array(facts["palette"], dtype=np.uint8)
        for name in set(facts) & set(_MASK_FACTS):
            setattr(self, name, facts[name])

    def origin(self, index: int) -> str:
        return f"{self.file(index)}: {self.samples[index][0]}"

    def file(self, index: int) -> str:
        return os.path.join(self._place, self.index["shards"][int(self._members[index, 0])]["name"])

    def identity(self, index: int) -> str:
        return f"packed {self.samples[index][0]}\0{int(self._digests[index])} {self._members[index, 1:].tolist()}"

    def size(self, index: int) -> tuple[int, int]:
        height, width = self._sizes[index].tolist()
        return height, width

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        shard, *member = self._members[index, :4].tolist()
        image = decode(self.files.read(shard, *member), "RGB")
        height, width = fitted(*self.size(index), canvas)
        if image.shape[:2] != (height, width):
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            image = np.asarray(resized)
        return image, self.size(index)

    def mask(self, index: int, canvas: int) -> NDArray[np.uint8]:
        shard, _, _, _, *member = self._members[index].tolist()
        mask = decode(self.files.read(shard, *member), "L")
        return downsample_mask(mask, *fitted(*self.size(index), canvas))


def mask_facts(dataset: Dataset) -> dict[str, Any]:
    """What a dataset of masks knows of their colours and file names, for the index of its shards."""
    if not dataset.masks:
        return {}
    palette = getattr(dataset, "palette", None)
    colours = {} if palette is None else {"palette": np.asarray(palette).tolist()}
    return colours | {name: getattr(dataset, name) for name in _MASK_FACTS if hasattr(dataset, name)}
