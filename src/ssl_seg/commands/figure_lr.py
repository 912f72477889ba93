"""`ssl-seg figure lr`: a learning-rate range test."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.utils import limits
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.lr_figure import LrRangeTest, draw_lr_range

# what is typed for the training command is left to it
SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}


def lr(
    context: typer.Context,
    command: Annotated[
        Literal["train", "classify", "segment"],
        typer.Argument(
            metavar="COMMAND ...", help="train, classify or segment, with its arguments and flags."
        ),
    ],
    lr_min: Annotated[float, typer.Option(help="Learning rate of the first step.")] = 1e-6,
    lr_max: Annotated[float, typer.Option(help="Learning rate of the last step.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, max=limits.COUNT, help="Number of training steps.")] = 100,
    out: Annotated[Path, figure_flags.stem("lr")] = Path("lr"),
) -> None:
    """Draw the loss over rising learning rates, and suggest one.

    Trains --steps steps of the command that follows, while the learning rate rises by equal factors (Smith
    2017), and leaves no run. The suggestion is where the smoothed loss falls steepest.
    Example: ssl-seg figure lr train photos --backbone resnet18.
    """
    training = context.find_root().command.commands[command]  # type: ignore[attr-defined]

    def start() -> None:
        words = [*context.args, "--dry-run"]  # which also says what it excludes
        with training.make_context(command, words, parent=context) as inner:
            training.invoke(inner)

    found, paths = draw_lr_range(start, LrRangeTest(lr_min, lr_max, steps), out)
    if found.suggested is None:
        echo("no suggestion: the loss does not fall at any of these rates")
    else:
        echo(
            f"suggested: --lr {found.suggested:.2g} (the loss, averaged over {found.window} steps, falls steepest there; "
            f"it is lowest at {found.lowest:.2g})"
        )
    echo(*(f"figure: {path}" for path in paths))
