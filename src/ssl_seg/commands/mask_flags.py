"""Flags of `ssl-seg segment` alone."""

from typing import Annotated, Literal

import typer

from ssl_seg.commands import completion
from ssl_seg.commands.flags import data_flag, model_flag
from ssl_seg.commands.training_flags import augmentation_flag, optimization_flag, validation_flag
from ssl_seg.utils import limits

Train = Annotated[
    str | None,
    typer.Argument(metavar="TRAIN", help="Training images with masks: a folder, a CSV list, or FORMAT:PATH."),
]
Val = Annotated[
    str | None,
    data_flag(
        metavar="DATA", help="Validation images with masks, or the share of TRAIN that is held out: 0.2."
    ),
]
Head = Annotated[
    str,
    model_flag(
        help="Segmentation head: fcn32s, deeplabv3, or smp:NAME (for example smp:unet).",
        autocompletion=completion.heads,
    ),
]
CropSize = Annotated[int, augmentation_flag(min=32, max=limits.SIDE, help="Training crop size, in pixels.")]
Augment = Annotated[
    Literal["light", "turns", "strong"],
    augmentation_flag(
        help="light: crops and horizontal flips; turns: also vertical flips and 90-degree rotations "
        "(aerial images); strong: turns plus color jitter."
    ),
]
Loss = Annotated[
    Literal["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"], optimization_flag(help="Training loss.")
]
ClassWeights = Annotated[
    bool,
    optimization_flag("--class-weights", help="Weight the cross entropy by inverse log class frequency."),
]
Exclude = Annotated[
    str | None,
    data_flag(
        help="Comma-separated classes left out of loss, predictions and mean IoU.",
        show_default="the palette's void class, e.g. unknown",
    ),
]
Watch = Annotated[
    str,
    validation_flag(help="Comma-separated validation images whose predicted masks are saved: 0013,0062."),
]
WatchEpochs = Annotated[
    str,
    validation_flag(help="Epochs at which they are saved: 1,10,50.", show_default="first, middle and last"),
]
ValEvery = Annotated[int, validation_flag(min=1, max=limits.COUNT, help="Epochs between validations.")]
Canvas = Annotated[
    int,
    data_flag(
        min=0,
        max=limits.CANVAS,
        help="Longest side of cached images, in pixels; larger ones are downscaled.",
        show_default="full size",
    ),
]
