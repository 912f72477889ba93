"""Packing images into shards: from what a person writes for DATA to the index."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ssl_seg.errors import OutputInUseError, UsageError

if TYPE_CHECKING:
    from ssl_seg.utils.progress import ProgressDisplay


@dataclass(frozen=True)
class PackedImages:
    """What `pack` has written.

    Attributes:
        folder: of the shards; `shards:FOLDER` names them as data.
        images, shards, bytes: how many.
        skipped: number of images that could not be read.
    """

    folder: Path
    images: int
    shards: int
    bytes: int
    skipped: int


def pack_images(
    data: str,
    out: Path,
    *,
    canvas: int,
    quality: int,
    shard_megabytes: int,
    labels: bool,
    masks: bool,
    bad_images: Literal["stop", "skip"],
    options: Mapping[str, str],
    cache: Path,
    progress: "ProgressDisplay",
) -> PackedImages:
    """Pack a dataset; goes on where an earlier call was stopped, and does nothing if all is up to date.

    Args:
        data, options: see `open_dataset`.
        out: folder of the shards: new, empty, or of an earlier call.
        canvas: larger images are downscaled to fit a square of this side.
        quality: of JPEG, 1 to 100; 0: lossless.
        labels, masks: require them; images of a format with labels keep them in any case.
        bad_images: `stop`: an unreadable image is an error, though all others are packed.
        cache: folder of the table of file digests.

    Raises:
        UsageError: an option that shards cannot keep. OutputInUseError: the folder holds something else.
        DataError: unreadable images.
    """
    import os

    from ssl_seg.data.shards.packing import PackOptions, pack
    from ssl_seg.plugins import load_plugins
    from ssl_seg.workflows.data import open_dataset

    if kept := [name for name in ("range", "bands") if name in options]:
        raise UsageError(
            f"shards have three colours of 8 bits, and do not keep data.{kept[0]}",
            next="use the images themselves as DATA",
        )
    _check_folder(out)
    registry = load_plugins().registry
    dataset = open_dataset(registry, data, labelled=labels, masks=masks, options=options)
    settings = PackOptions(canvas, quality, shard_megabytes << 20, threads=os.cpu_count() or 1)
    index = pack(dataset, out, settings, cache, skip=bad_images == "skip", on_progress=progress.reading)
    num_bytes = sum(shard["bytes"] for shard in index["shards"])
    return PackedImages(out, index["count"], len(index["shards"]), num_bytes, index["left_out"])


def _check_folder(out: Path) -> None:
    """A folder for shards holds nothing else."""
    from ssl_seg.data.shards.pack_index import FILES, NAME

    if out.exists() and not out.is_dir():
        raise OutputInUseError(f"{out} is not a folder", next="use another --out")
    names = [path.name for path in out.iterdir()] if out.exists() else []
    others = [name for name in names if not name.startswith((".", "shard-")) and name not in (*FILES, NAME)]
    if others:
        shown = ", ".join(sorted(others)[:3])
        raise OutputInUseError(f"{out} holds other files: {shown}", next="use another --out")
