"""Flags of `ssl-seg segment` alone."""

from typing import Annotated, Literal

import typer

from ssl_seg.utils import limits

CropSize = Annotated[int, typer.Option(min=32, max=limits.SIDE, help="Side of a training crop, in pixels.")]
Augment = Annotated[
    Literal["light", "turns", "strong"],
    typer.Option(help="Crops and mirrors; turns: all eight, for pictures from above; strong: colours too."),
]
Loss = Annotated[
    Literal["ce", "dice", "lovasz", "ce+dice", "ce+lovasz"], typer.Option(help="What is minimised.")
]
ClassWeights = Annotated[
    bool, typer.Option("--class-weights", help="Rare classes weigh more in the cross entropy.")
]
Exclude = Annotated[
    str | None,
    typer.Option(
        help="Classes, with commas between, neither trained on, nor predicted, nor in the mean.",
        show_default="what the palette calls none, as unknown",
    ),
]
Watch = Annotated[
    str, typer.Option(help="Validation images, with commas between, whose masks are kept: 0013,0062.")
]
WatchEpochs = Annotated[
    str, typer.Option(help="When they are kept, as 1,10,50.", show_default="first, middle and last")
]
ValEvery = Annotated[int, typer.Option(min=1, max=limits.COUNT, help="Epochs between two looks at --val.")]
Canvas = Annotated[
    int,
    typer.Option(
        min=0,
        max=limits.CANVAS,
        help="Larger images are reduced to this side.",
        show_default="none is reduced",
    ),
]
