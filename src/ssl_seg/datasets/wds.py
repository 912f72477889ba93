"""Tar shards that WebDataset and its kin have written."""

import os
from collections.abc import Sequence
from pathlib import Path

from ssl_seg.data.contained import ContainedDataset
from ssl_seg.data.file_list import FileList
from ssl_seg.data.tar_members import Place, TarSamples, find_shards, read_members
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.text import split_names


class TarShards:
    """Images in tar files, read where they lie; nothing is extracted.

    Args:
        paths: of the shards.
        members: what they hold.
    """

    def __init__(self, paths: Sequence[Path], members: TarSamples) -> None:
        self._paths, self._members = paths, members

    def location(self, index: int) -> tuple[Path, str]:
        shard, offset, length = self._members.image_at(index)
        return self._paths[shard], f"bytes {offset} to {offset + length}"

    def encoded(self, index: int) -> bytes:
        return self._read(self._members.image_at(index))

    def encoded_mask(self, index: int) -> bytes:
        return self._read(self._members.mask_at(index))

    def _read(self, location: Place) -> bytes:
        try:
            with self._paths[location.shard].open("rb") as file:
                content = os.pread(file.fileno(), location.length, location.offset)
        except OSError as error:
            raise ValueError(f"{self._paths[location.shard]}: {error.strerror}") from error
        if len(content) < location.length:
            raise ValueError("the shard is truncated")
        return content


def _labels(texts: Sequence[str], classes: Sequence[str], *, masks: bool) -> tuple[list[str], list[int]]:
    """Names of the classes, and the index of each sample; -1 without a label."""
    known = sorted({text for text in texts if text})
    if masks or not known:
        return list(classes or ()), [-1] * len(texts)
    if all(text.isdecimal() for text in known):
        count = max(map(int, known)) + 1
        names = list(classes) if classes else [str(number) for number in range(count)]
        if count > len(names):
            what = f"label {count - 1} with {len(names)} classes"
            raise DataError(what, next="-o data.classes=NAME,NAME,...  # one for each label from 0")
        return names, [int(text) if text else -1 for text in texts]
    names = list(classes) if classes else known
    if unknown := [text for text in known if text not in names]:
        raise DataError(
            f"label {unknown[0]!r} is none of the classes {', '.join(names[:8])}", next="-o data.classes=..."
        )
    index = {name: number for number, name in enumerate(names)}
    return names, [index.get(text, -1) for text in texts]


def open_shards(
    paths: Sequence[Path], classes: Sequence[str], range: tuple[float, ...] | None
) -> ContainedDataset:
    """The images of shards.

    Args:
        paths: of the shards.
        classes: names of the classes, in order of their indices; none: as the labels have them.
        range: see `ContainedDataset`.

    Raises:
        DataError: see `wds`.
    """
    found = read_members(paths)
    with_mask = list(found.masks[2::3])
    masks = all(with_mask)
    if any(with_mask) and not masks:
        raise DataError(
            f"{with_mask.count(0)} of {len(found.keys)} samples have no mask",
            where=str(paths[0]),
            next="shards in which every sample has one, or none",
        )
    names, targets = _labels(found.labels, classes, masks=masks)
    samples = FileList(zip(found.keys, targets, strict=True))
    return ContainedDataset(
        paths[0].parent, TarShards(paths, found), samples, names, masks=masks, range=range
    )


def wds(
    root: str, split: str, *, classes: str = "", range: tuple[float, ...] | None = None
) -> ContainedDataset:
    """Shards of WebDataset: `KEY.jpg` with `KEY.cls`, or with a mask of class indices, `KEY.seg.png`.

    Args:
        root: a folder of tar files, one of them, or `FOLDER/train-{0000..0009}.tar`.
        split: files whose names begin with it, such as `train-0000.tar`, if there are some in the folder.
        classes: names of the classes, `sea,land`, in order. Default: the labels; of masks they must be given.
        range: values that become black and white in images of more than 8 bits.

    Raises:
        DataError: no shard, a compressed or damaged one, no image, or masks without names of classes.
    """
    paths = find_shards(root, expanded(root))
    own = [path for path in paths if split and path.name.startswith(split)]
    return open_shards(own or paths, split_names(classes), range)


@hookimpl
def datasets() -> dict[str, object]:
    return {"wds": wds}
