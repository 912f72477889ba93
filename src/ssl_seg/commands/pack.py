"""`ssl-seg pack`: images in tar files."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import pluralize
from ssl_seg.utils import limits
from ssl_seg.utils.progress import ProgressDisplay, echo
from ssl_seg.utils.text import shown, size_text
from ssl_seg.workflows.flag_values import OF_IMAGES, read_options
from ssl_seg.workflows.pack import PackedImages, pack_images


@from_python
def pack(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Images: a folder, a CSV file, or FORMAT:PATH.")
    ],
    out: Annotated[Path, flags.output_flag(help="Folder of the shards; it may have some already.")],
    labels: Annotated[bool, flags.data_flag("--labels", help="Require a class for each image.")] = False,
    masks: Annotated[bool, flags.data_flag("--masks", help="Require a mask for each image.")] = False,
    canvas: Annotated[
        int,
        flags.data_flag(
            min=16, max=limits.SIDE, help="Downscale larger images to fit a square of this side."
        ),
    ] = 256,
    quality: Annotated[
        int,
        flags.data_flag(
            min=0, max=100, help="JPEG quality; 0: lossless PNG. A JPEG that fits is kept as it is."
        ),
    ] = 90,
    shard_size: Annotated[int, flags.data_flag(min=1, max=2**20, help="Size of a shard in MiB.")] = 256,
    bad_images: flags.BadImages = "stop",
    option: flags.Option = None,
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> PackedImages:
    """Pack images, labels and masks into WebDataset tar files.

    Any command then takes shards:FOLDER as data. The same command continues interrupted packing; run it
    several times at once to pack with several processes.
    """
    from ssl_seg.utils.home import default_cache_dir, expanded

    with ProgressDisplay() as display:
        packed = pack_images(
            data,
            expanded(out),
            canvas=canvas,
            quality=quality,
            shard_megabytes=shard_size,
            labels=labels,
            masks=masks,
            bad_images=bad_images,
            options=read_options(option or [], OF_IMAGES).get("data", {}),
            cache=cache or default_cache_dir(),
            progress=display,
        )
    skipped = f", {packed.skipped} left out" if packed.skipped else ""
    count = f"{pluralize(packed.images, 'image')}{skipped} in {pluralize(packed.shards, 'shard')}"
    echo(f"{count}, {size_text(packed.bytes)}: shards:{shown(packed.folder)}")
    return packed
