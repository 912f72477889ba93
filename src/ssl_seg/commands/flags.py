"""Flags that several commands share, with the group in which `--help` shows each."""

import re
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ssl_seg.commands import completion
from ssl_seg.commands.config import add_options
from ssl_seg.utils import limits
from ssl_seg.utils.progress import show_progress


def check_device(name: str) -> str:
    """Parser of `--device`: whether it is there is found where it is used."""
    name = name.strip().lower()
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise typer.BadParameter(f"one of auto, cpu, cuda, cuda:N, mps, got {name!r}")
    return name


data_flag = partial(typer.Option, rich_help_panel="Data")
model_flag = partial(typer.Option, rich_help_panel="Model")
label_flag = partial(typer.Option, rich_help_panel="Labels")
inference_flag = partial(typer.Option, rich_help_panel="Inference")
compute_flag = partial(typer.Option, rich_help_panel="Compute")
output_flag = partial(typer.Option, rich_help_panel="Output")
code_flag = partial(model_flag, metavar="FILE.py:NAME")

DATA_HELP = "Images: a folder, a CSV file, or FORMAT:PATH."

RunOrFile = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, STUDY@STAGE, or weight file.")]
AllowOverlap = Annotated[
    bool, data_flag("--allow-overlap", help="Allow identical images in the training and validation sets.")
]
BadImages = Annotated[
    Literal["stop", "skip"], data_flag(help="Unreadable images: stop with an error, or skip them.")
]
Cache = Annotated[Path | None, data_flag(help="Folder of the image cache.", show_default="~/.cache/ssl-seg")]

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="Images: a folder, a CSV file, FORMAT:PATH, image files, a quoted pattern such as 'photos/*.jpg', or - "
        "for the names on standard input.",
        show_default=False,
    ),
]

ImageFolder = Annotated[
    str | None,
    data_flag(
        "--images", metavar="FOLDER", help="Folder of the images of a CSV file.", show_default="see CSV"
    ),
]

Which = Annotated[Literal["last", "best"], model_flag(help="Model to load: last or best epoch.")]
FileBackbone = Annotated[
    str | None,
    model_flag(
        help="Backbone of a weight file; see `ssl-seg list backbones`.",
        autocompletion=completion.backbones,
        show_default="from RUN, else resnet50",
    ),
]
FileImageSize = Annotated[
    int | None,
    model_flag(
        min=8, max=limits.SIDE, help="Input image size, in pixels.", show_default="from RUN, else 128"
    ),
]
CodeOfBackbone = Annotated[str | None, code_flag(help="Backbone, if the run took it from a file.")]
CodeOfHead = Annotated[str | None, code_flag(help="Head, if the run took it from a file.")]
Option = Annotated[
    list[str] | None,
    model_flag(
        "-o",
        "--option",
        metavar="PART.KEY=VALUE",
        help="Component option, for example ssl.decay=0.99; repeatable.",
        callback=add_options,
    ),
]

Tile = Annotated[
    int,
    inference_flag(min=32, max=limits.CANVAS, help="Sliding-window size, in pixels; used for larger images."),
]
Overlap = Annotated[
    int, inference_flag(min=0, max=limits.CANVAS, help="Overlap of adjacent windows, in pixels.")
]
Tta = Annotated[
    str | None,
    inference_flag(
        metavar="NAMES",
        help="Test-time augmentation, averaging probabilities: flips (horizontal), scales (0.75, 1, 1.25), or "
        "both, comma-separated.",
    ),
]
Flips = Annotated[bool, inference_flag("--flips", help="The same as --tta flips.")]
InferenceBatchSize = Annotated[
    int | None,
    inference_flag(
        "--batch-size",
        min=1,
        max=limits.COUNT,
        help="Images per forward pass; of segmentation models, images of the same size.",
        show_default="256; segmentation: 1",
    ),
]

Precision = Annotated[
    Literal["auto", "bf16", "fp32"],
    compute_flag(help="Compute precision; auto: bf16 where the device accelerates it, else fp32."),
]
Device = Annotated[
    str,
    compute_flag(
        metavar="NAME",
        help="Device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.",
        parser=check_device,
    ),
]
Cpu = Annotated[bool, compute_flag("--cpu", help="The same as --device cpu.")]
Seed = Annotated[
    int,
    compute_flag(min=0, max=limits.SEED, help="Random seed: initialization, data order and augmentation."),
]

Overwrite = Annotated[bool, output_flag("--overwrite", help="Replace existing outputs.")]
Progress = Annotated[
    bool, output_flag("--progress/--no-progress", help="Show progress.", callback=show_progress)
]


def joined_tta(tta: str | None, flips: bool) -> str | None:
    """The value of `--tta` and `--flips` together."""
    return ",".join([*(["flips"] if flips else []), *([tta] if tta else [])]) or None


def __getattr__(name: str) -> Any:
    """Names of 0.1.0 that commands of other packages may use: flags of training have a module of their own."""
    training = import_module("ssl_seg.commands.training_flags")
    if name.startswith("_") or name not in vars(training):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{name} is in ssl_seg.commands.training_flags", DeprecationWarning, stacklevel=2)
    return getattr(training, name)
