"""`ssl-seg runs`: the runs below a folder."""

import time
from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.errors import DataError
from ssl_seg.utils.progress import echo
from ssl_seg.utils.text import aligned, format_duration, shown


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to look, subfolders included.")
    ] = Path(),
) -> None:
    """List runs with state, model, score, time and size.

    The score is the main one of the command (val_top1, val_miou, probe_knn): best epoch, then last epoch.
    """
    from ssl_seg.results.run_list import RunSummary, find_runs
    from ssl_seg.utils.home import expanded

    root = expanded(folder)
    if not root.is_dir():
        raise DataError(f"no such folder: {folder}", next="ssl-seg runs FOLDER")

    def cells(run: RunSummary) -> list[str]:
        score = f"{run.score} {run.best:.3f} {run.last:.3f}" if run.score else ""
        epochs = f"{run.epochs}/{run.planned}" if run.planned else ""
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.modified))
        size = f"{run.bytes / 1e6:.0f} MB"
        return [shown(str(run.folder)), run.state, run.command, shown(run.model), epochs, score,
                format_duration(run.seconds), size, date]  # fmt: skip

    rows = [cells(run) for run in find_runs(root)]
    if not rows:
        raise DataError(f"no runs in {folder}", next="ssl-seg train DATA --out runs/first")
    head = ["run", "state", "command", "model", "epochs", "score (best, last)", "time", "size", "changed"]
    echo(*aligned([head, *rows]))
