"""Flags of `ssl-seg classify` alone."""

from typing import Annotated, Literal

import typer

from ssl_seg.commands import completion
from ssl_seg.commands.flags import data_flag, model_flag, output_flag
from ssl_seg.commands.training_flags import augmentation_flag, optimization_flag
from ssl_seg.utils import limits

Train = Annotated[
    str | None,
    typer.Argument(metavar="TRAIN", help="Labeled training images: a folder, a CSV file, or FORMAT:PATH."),
]
Val = Annotated[
    str | None,
    data_flag(metavar="DATA", help="Labeled validation images, or the share of TRAIN that is held out: 0.2."),
]
Head = Annotated[
    str, model_flag(help="Classification head; see `ssl-seg list heads`.", autocompletion=completion.heads)
]
ImageSize = Annotated[
    int | None,
    data_flag(
        min=8, max=limits.SIDE, help="Input image size, in pixels.", show_default="from --init, else 128"
    ),
]
Augment = Annotated[
    Literal["none", "light", "strong"],
    augmentation_flag(
        help="light: random crops and flips; strong: also color jitter, grayscale, blur and solarization."
    ),
]
Passes = Annotated[
    int,
    augmentation_flag(
        min=0,
        max=limits.COUNT,
        help="With --freeze: augmented views per image whose features are computed; 0: center crop only.",
    ),
]
Mixup = Annotated[float, augmentation_flag(min=0.0, help="Mixup alpha; 0 disables mixup.")]
LabelSmoothing = Annotated[float, optimization_flag(min=0.0, max=0.9, help="Label smoothing factor.")]
KeepFeatures = Annotated[
    int,
    output_flag(
        min=0,
        max=limits.COUNT,
        help="Training images whose features are saved at the first, middle and last epoch (t-SNE); 0: none.",
    ),
]
