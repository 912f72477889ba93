"""`ssl-seg figure curves`: how runs went, from what they wrote after every epoch."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import flags
from ssl_seg.errors import DataError
from ssl_seg.figures.curves_data import missing_epochs, names, read_lines
from ssl_seg.utils.progress import Console, echo


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs of any kind.")],
    out: Annotated[Path | None, flags.stem("RUN/figures/curves, or curves here for several")] = None,
) -> None:
    """Draw loss, scores and health of runs over their epochs: one plot per number, the runs in each.

    Writes STEM.png and STEM.svg.
    """
    from ssl_seg.figures.curves import draw_curves, panels

    runs = list(dict.fromkeys(runs))
    stem = out or (runs[0] / "figures" / "curves" if len(runs) == 1 else Path("curves"))
    console = Console()
    found = {}
    for name, folder in zip(names(runs), runs, strict=True):
        lines = read_lines(folder, console.say)
        for note in missing_epochs(folder, lines):
            console.say(f"{name}: {note}")
        if lines:
            found[name] = lines
    if not panels(found):
        raise DataError("nothing to draw: no scores of a finished epoch", where=", ".join(map(str, runs[:5])))
    echo(*draw_curves(stem, found))
