"""`ssl-seg figure curves`: scores of runs over their epochs."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.errors import DataError
from ssl_seg.figures.curves_data import missing_epochs, names, read_lines
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.progress import ProgressDisplay, echo


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path | None, figure_flags.stem("RUN/figures/curves, or curves for several")] = None,
) -> None:
    """Draw loss, scores and health metrics of runs over epochs.

    One panel per metric, with one line per run.
    """
    from ssl_seg.figures.curves import draw_curves, plotted_scores

    runs = list(dict.fromkeys(find_run(run) for run in runs))
    stem = out or (runs[0] / "figures" / "curves" if len(runs) == 1 else Path("curves"))
    progress = ProgressDisplay()
    lines_of_run = {}
    for name, folder in zip(names(runs), runs, strict=True):
        lines = read_lines(folder, progress.print_line)
        for note in missing_epochs(folder, lines):
            progress.print_line(f"{name}: {note}")
        if lines:
            lines_of_run[name] = lines
    if not plotted_scores(lines_of_run):
        raise DataError("no scores of a finished epoch", where=", ".join(map(str, runs[:5])))
    echo(*draw_curves(stem, lines_of_run))
