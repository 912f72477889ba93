"""`ssl-seg figure confusion`: the confusion matrix of a run."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.confusion_figure import draw_confusion_of_run


def confusion(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a classification or segmentation run.")
    ],
    out: Annotated[Path | None, figure_flags.stem("RUN/figures/confusion")] = None,
) -> None:
    """Draw the confusion matrix of a run's validation images.

    Per target class the share of each prediction, and the pairs that are confused most.
    """
    echo(*draw_confusion_of_run(run, out))
