"""Flags that several commands share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ssl_seg.commands.config import add_options, note_out, note_resume, take_config
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.progress import show_progress


def file_name(path: Path | None) -> Path | None:
    """A path with a name at its end, as an ending is going to be put behind it; not '', '.' or '/'."""
    if path is not None and path.name in ("", ".."):
        raise UsageError(f"--out {str(path)!r} names a folder, not a file")
    return path


def stem(default: str) -> Any:
    """`--out` of a figure; the files are the stem with .png and .svg.

    Args:
        default: for the help.
    """
    return typer.Option(metavar="STEM", help="Without an ending.", show_default=default, callback=file_name)


Data = Annotated[str | None, typer.Argument(metavar="DATA", help="A folder, a CSV file, or FORMAT:PATH.")]
RunOrFile = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or a weight file.")]
Which = Annotated[Literal["last", "best"], typer.Option(help="Which epoch's model.")]
Train = Annotated[
    str | None, typer.Argument(metavar="TRAIN", help="Labelled images: a folder, a CSV, or FORMAT:PATH.")
]
Val = Annotated[str | None, typer.Option(metavar="DATA", help="Labelled images to measure on.")]
TrainMasks = Annotated[
    str | None, typer.Argument(metavar="TRAIN", help="Images with masks: a folder, or FORMAT:PATH.")
]
ValMasks = Annotated[str | None, typer.Option(metavar="DATA", help="Images with masks to measure on.")]
Tile = Annotated[
    int,
    typer.Option(
        min=32, max=limits.CANVAS, help="Larger images go through the network in tiles of this side."
    ),
]
Overlap = Annotated[int, typer.Option(min=0, max=limits.CANVAS, help="Of neighbouring tiles, in pixels.")]
Flips = Annotated[
    bool, typer.Option("--flips", help="Average over an image and its mirror image (segmentation).")
]
ModelBackbone = Annotated[
    str | None,
    typer.Option(
        help="Network: any of `ssl-seg list backbones`.", show_default="that of --init, or resnet50"
    ),
]
CodeOfBackbone = Annotated[
    str | None, typer.Option(metavar="FILE.py:NAME", help="The backbone, of a run with one from a file.")
]
CodeOfHead = Annotated[
    str | None, typer.Option(metavar="FILE.py:NAME", help="The head, of a run with one from a file.")
]
Init = Annotated[
    str | None, typer.Option(metavar="RUN|FILE", help="Weights the backbone starts from; all must fit.")
]
Freeze = Annotated[bool, typer.Option("--freeze", help="Train the head alone.")]
AnySize = Annotated[
    bool, typer.Option("--any-size", help="Use the weights at another image size than they were trained at.")
]
ModelImageSize = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=limits.SIDE,
        help="Side of what the network sees, in pixels.",
        show_default="that of --init, or 128",
    ),
]
BackboneLr = Annotated[
    float | None,
    typer.Option(min=0.0, help="Peak learning rate of the backbone.", show_default="that of the head"),
]
Backbone = Annotated[str, typer.Option(help="Network: any of `ssl-seg list backbones`.")]
Epochs = Annotated[int, typer.Option(min=1, max=limits.COUNT, help="Passes over the data.")]
BatchSize = Annotated[int, typer.Option(min=2, max=limits.COUNT, help="Images of one optimizer step.")]
ImageSize = Annotated[
    int, typer.Option(min=8, max=limits.SIDE, help="Side of what the network sees, in pixels.")
]
Optimizer = Annotated[
    str | None, typer.Option(help="adamw, adam, sgd or lars.", show_default="what suits the method")
]
Lr = Annotated[
    float | None,
    typer.Option(min=0.0, help="Peak learning rate, used as it is.", show_default="scaled to the batch"),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(min=0.0, help="Not for biases and norms.", show_default="what suits the method"),
]
Warmup = Annotated[
    float | None,
    typer.Option(min=0.0, max=0.9, help="Share of the run.", show_default="what suits the method"),
]
AllowOverlap = Annotated[
    bool, typer.Option("--allow-overlap", help="Go on although images are in both sets, pixel for pixel.")
]
Schedule = Annotated[Literal["cosine", "constant", "poly"], typer.Option(help="After the warm-up.")]
Clip = Annotated[float, typer.Option(min=0.0, help="Largest norm of the gradients; 0: any.")]
Accumulate = Annotated[
    int, typer.Option(min=1, max=limits.COUNT, help="Parts a batch is computed in, to save memory.")
]
Seed = Annotated[int, typer.Option(min=0, max=limits.SEED, help="Of weights, order and augmentation.")]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"], typer.Option(help="auto: bf16 where the device is fast at it.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="The same bits every time, on a GPU too; slower.")
]
Compile = Annotated[bool, typer.Option("--compile", help="Run through torch.compile.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")]
Progress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show progress.", callback=show_progress)
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Do not use a GPU.")]
Out = Annotated[
    Path | None,
    typer.Option(help="The run's folder.", show_default="runs/...", is_eager=True, callback=note_out),
]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML file with defaults for flags.", is_eager=True, callback=take_config),
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="PART.KEY=VALUE",
        help="Option of a part, as ssl.decay=0.99.",
        callback=add_options,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out.", is_eager=True, callback=note_resume)
]
BadImages = Annotated[
    Literal["stop", "skip"], typer.Option(help="What to do about images that cannot be read.")
]
Canvas = Annotated[
    int,
    typer.Option(
        min=0,
        max=limits.CANVAS,
        help="Larger images are stored this size.",
        show_default="twice the image size",
    ),
]
Cache = Annotated[
    Path | None, typer.Option(help="Where decoded images are kept.", show_default="~/.cache/ssl-seg")
]
SaveEvery = Annotated[
    int,
    typer.Option(min=0, max=limits.COUNT, help="Steps between checkpoints.", show_default="every 5 minutes"),
]
Track = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...", help="Send the scores to tensorboard, wandb or mlflow too.", show_default="none"
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        metavar="NAME,...", help="Measured on --val too; see `ssl-seg list metrics`.", show_default="none"
    ),
]
