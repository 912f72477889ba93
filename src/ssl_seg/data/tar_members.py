"""Shards of WebDataset: tar files whose members belong together by the part of their name before the first dot."""

import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ssl_seg.data.decode import EXTENSIONS
from ssl_seg.errors import DataError

_IMAGES = frozenset(ending.removeprefix(".") for ending in EXTENSIONS)
_MASKS = re.compile(r"(seg|mask|label|labels|segmentation)\.(png|tif|tiff|bmp)")
_LABELS = ("cls", "label", "txt")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000


class Place(NamedTuple):
    """Where the bytes of a member lie."""

    shard: int
    offset: int
    length: int


@dataclass
class TarSamples:
    """What shards hold, in their order; about 60 bytes a sample.

    Attributes:
        keys: of each sample: path and name before the first dot.
        labels: texts of the members `cls`, `label` or `txt`; empty where there is none.
        images, masks: shard, offset and length of each; a mask of length 0 is none.
    """

    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    images: "array[int]" = field(default_factory=lambda: array("q"))
    masks: "array[int]" = field(default_factory=lambda: array("q"))

    def image_at(self, index: int) -> Place:
        """Where an image lies."""
        return Place(*self.images[3 * index : 3 * index + 3])

    def mask_at(self, index: int) -> Place:
        """Where its mask lies."""
        return Place(*self.masks[3 * index : 3 * index + 3])


def find_shards(text: str, root: Path) -> list[Path]:
    """The tar files that a folder, a file, or `train-{0000..0009}.tar` names, in order.

    Raises:
        DataError: there is none, or one is compressed.
    """
    if found := _BRACES.search(text):
        first, last = int(found[1]), int(found[2])
        numbers = range(first, min(last, first + _MOST_SHARDS) + 1)
        width = len(found[1])
        paths = [root.with_name(_BRACES.sub(f"{number:0{width}d}", root.name, count=1)) for number in numbers]
    else:
        paths = sorted(root.glob("*.tar")) if root.is_dir() else [root]
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(f"shard not found: {missing[0]}", next=f"ls {missing[0].parent}")
    if not paths:
        packed = next((path for path in root.iterdir() if path.name.endswith((".tar.gz", ".tgz"))), None)
        advice = f"gunzip {packed}" if packed else "wds:FOLDER  # a folder of .tar files"
        raise DataError(f"no tar file in {root}{', but compressed ones' if packed else ''}", next=advice)
    return paths


def read_members(paths: Sequence[Path]) -> TarSamples:
    """Look through shards: the headers of all members, and the labels.

    Members of other kinds, samples without an image and links are left out.

    Raises:
        DataError: a shard cannot be read, or no sample has an image.
    """
    samples, others = TarSamples(), set[str]()
    for shard, path in enumerate(paths):
        try:
            with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                for key, members in _groups(tar):
                    others |= members.keys()
                    _add(samples, tar, shard, key, members)
        except (tarfile.TarError, OSError, EOFError) as error:
            way = f"gunzip {path}" if path.suffix in (".gz", ".tgz") else "write the shard again"
            raise DataError(
                f"cannot read the shard {path.name}: {error}", where=str(path), next=way
            ) from error
    if not samples.keys:
        seen = ", ".join(sorted(others)[:8]) or "nothing"
        raise DataError(
            f"no sample of {paths[0].name} has an image",
            where=f"members end in {seen}; images end in {', '.join(sorted(_IMAGES))}",
            next="members KEY.jpg and KEY.cls, or KEY.seg.png",
        )
    return samples


def _groups(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Members that follow each other and have one key, by their endings."""
    current, members = "", dict[str, tarfile.TarInfo]()
    for member in tar:
        if not member.isreg():
            continue
        folder, slash, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        key = folder + slash + stem
        if key != current and members:
            yield current, members
            members = {}
        current = key
        members[ending.lower()] = member
        vars(tar)["members"] = []  # the library remembers all of them otherwise
    if members:
        yield current, members


def _add(
    samples: TarSamples, tar: tarfile.TarFile, shard: int, key: str, members: dict[str, tarfile.TarInfo]
) -> None:
    image = next((members[ending] for ending in members if ending in _IMAGES), None)
    if image is None:
        return
    mask = next((members[ending] for ending in members if _MASKS.fullmatch(ending)), None)
    label = next((members[ending] for ending in _LABELS if ending in members), None)
    content = tar.extractfile(label) if label and label.size <= 4096 else None
    samples.keys.append(key)
    samples.labels.append(content.read().decode("utf-8", "replace").strip() if content else "")
    samples.images.extend((shard, image.offset_data, image.size))
    samples.masks.extend((shard, mask.offset_data, mask.size) if mask else (shard, 0, 0))
