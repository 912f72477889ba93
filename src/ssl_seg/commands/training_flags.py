"""Flags that `ssl-seg train`, `classify` and `segment` share."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ssl_seg.commands import completion
from ssl_seg.commands.config import config_callback, run_callback
from ssl_seg.commands.flags import compute_flag, data_flag, model_flag, output_flag
from ssl_seg.utils import limits
from ssl_seg.workflows.config import AUTO

optimization_flag = partial(typer.Option, rich_help_panel="Optimization")
augmentation_flag = partial(typer.Option, rich_help_panel="Augmentation")
validation_flag = partial(typer.Option, rich_help_panel="Validation")

ModelBackbone = Annotated[
    str | None,
    model_flag(
        help="Backbone; see `ssl-seg list backbones`.",
        autocompletion=completion.backbones,
        show_default="from --init, else resnet50",
    ),
]
Init = Annotated[
    str | None,
    model_flag(
        metavar="RUN|FILE|NAME",
        help="Initial backbone weights: a run (or STUDY@STAGE), weight file, or name such as timm:resnet50.a1_in1k; every "
        "tensor must match.",
    ),
]
Prefix = Annotated[
    str | None,
    model_flag(
        help="Set of weights in the file of --init, by its prefix: teacher.backbone.",
        show_default="the published set",
    ),
]
Freeze = Annotated[bool, model_flag("--freeze", help="Freeze the backbone; train only the head.")]
AnySize = Annotated[
    bool,
    model_flag("--any-size", help="Allow an --image-size other than the one the weights were trained at."),
]

Extra = Annotated[
    str | None,
    data_flag(
        metavar="FOLDER",
        help="More training images with labels that count less, from `ssl-seg pseudo-label` for example; those that are "
        "also validation or labeled images are left out.",
    ),
]
ExtraWeight = Annotated[
    float | None,
    data_flag(metavar="WEIGHT", help="Weight of an image of --extra in the loss.", show_default="1"),
]
Fraction = Annotated[
    float | None,
    data_flag(
        min=0.0, max=1.0, help="Train on this fraction of the labeled images, stratified.", show_default="all"
    ),
]
PerClass = Annotated[
    int | None, data_flag(min=1, max=limits.COUNT, help="Train on this many labeled images of each class.")
]
Images = Annotated[
    int | None,
    data_flag(
        min=1, max=limits.COUNT, help="Train on this many labeled images, stratified; every class is present."
    ),
]
SubsetSeed = Annotated[
    int | None,
    data_flag(min=0, max=limits.SEED, help="Random seed of the subset of labeled images.", show_default="0"),
]

Canvas = Annotated[
    int,
    data_flag(
        min=0,
        max=limits.CANVAS,
        help="Longest side of cached images, in pixels; larger ones are downscaled.",
        show_default="2 x --image-size",
    ),
]

Epochs = Annotated[int, optimization_flag(min=1, max=limits.COUNT, help="Number of training epochs.")]


def _read_batch_size(text: str | int) -> int:
    """`64` or `auto`; a default is a number already."""
    text = str(text)
    if text.strip().lower() == "auto":
        return AUTO
    if not text.strip().isdecimal() or not 2 <= int(text) <= limits.COUNT:
        raise typer.BadParameter(f"a number from 2 to {limits.COUNT} or auto, got {text!r}")
    return int(text)


if TYPE_CHECKING:
    BatchSize = int | Literal["auto"]
else:
    BatchSize = Annotated[
        int,
        optimization_flag(
            parser=_read_batch_size,
            metavar="INTEGER|auto",
            help="Images per optimizer step, over all processes; auto: the largest power of two that fits in memory.",
        ),
    ]
BackboneLr = Annotated[
    float | None,
    optimization_flag(min=0.0, help="Peak learning rate of the backbone.", show_default="same as --lr"),
]
LayerDecay = Annotated[
    float | None,
    optimization_flag(
        metavar="FACTOR",
        help="Multiply the learning rate by this factor for every layer below the head: 0.75 for transformers.",
        show_default="off",
    ),
]
Schedule = Annotated[
    Literal["cosine", "constant", "poly"],
    optimization_flag(help="Learning-rate schedule after warm-up."),
]
Clip = Annotated[float, optimization_flag(min=0.0, help="Maximum gradient norm; 0 disables clipping.")]
Ema = Annotated[
    float | None,
    optimization_flag(
        metavar="DECAY",
        help="Evaluate and keep an exponential moving average of the weights: 0.999.",
        show_default="the last weights",
    ),
]
Accumulate = Annotated[
    int,
    optimization_flag(
        min=1, max=limits.COUNT, help="Gradient accumulation: micro-batches per optimizer step."
    ),
]

MaxSteps = Annotated[
    int | None,
    optimization_flag(
        min=1, max=limits.COUNT, help="Stop after this many optimizer steps, if --epochs has more."
    ),
]
MaxTime = Annotated[
    str | None,
    optimization_flag(metavar="2h|90m", help="Stop after this training time; validation does not count."),
]
EarlyStop = Annotated[
    str | None,
    optimization_flag(
        metavar="METRIC:PATIENCE",
        help="Stop when a score has not improved for PATIENCE validations: val_miou:5.",
    ),
]

Deterministic = Annotated[
    bool, compute_flag("--deterministic", help="Bit-exact results on a GPU too; slower.")
]
Compile = Annotated[bool, compute_flag("--compile", help="Compile the model with torch.compile.")]
CudaGraph = Annotated[
    bool,
    compute_flag(
        "--cuda-graph", help="Record forward and backward pass once as a CUDA graph, and replay it."
    ),
]
SyncBatchNorm = Annotated[
    Literal["all", "node", "off"],
    compute_flag(help="Several processes: BatchNorm statistics of all, of those on a machine, or of each."),
]

Metric = Annotated[
    str,
    validation_flag(
        metavar="NAME,...",
        help="Additional validation metrics; see `ssl-seg list metrics`.",
        autocompletion=completion.metrics,
        show_default="none",
    ),
]

DryRun = Annotated[
    bool,
    output_flag(
        "--dry-run",
        help="Train a few steps and print shapes, parameters, memory and a time forecast; writes nothing but the image cache.",
    ),
]
Out = Annotated[
    Path | None,
    output_flag(
        help="Output folder of the run.", show_default="runs/...", is_eager=True, callback=run_callback
    ),
]
Config = Annotated[
    Path | None,
    output_flag(help="TOML file with default values of flags.", is_eager=True, callback=config_callback),
]
Resume = Annotated[
    bool,
    output_flag(
        "--resume",
        help="Resume the run in --out from its latest checkpoint.",
        is_eager=True,
        callback=run_callback,
    ),
]
AutoResume = Annotated[
    bool,
    output_flag(
        "--auto-resume",
        help="Resume the run in --out if it has a checkpoint, else start it: one command for launchers that restart.",
        is_eager=True,
        callback=run_callback,
    ),
]
SaveEvery = Annotated[
    int,
    output_flag(min=0, max=limits.COUNT, help="Steps between checkpoints.", show_default="every 5 minutes"),
]
Track = Annotated[
    str | None,
    output_flag(
        metavar="NAME,...", help="Also log scores to tensorboard, wandb or mlflow.", show_default="none"
    ),
]
