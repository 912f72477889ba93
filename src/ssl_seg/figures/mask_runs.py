"""Runs whose masks are drawn side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_seg.errors import DataError, UsageError
from ssl_seg.figures.curves_data import names

if TYPE_CHECKING:
    from ssl_seg.results.mask_snapshots import MaskSnapshots


def open_runs(folders: Sequence[Path], titles: Sequence[str]) -> tuple[dict[str, "MaskSnapshots"], list[str]]:
    """Runs by their titles, and what is wrong with those that cannot be shown.

    Raises:
        UsageError: not as many titles as runs, or the runs have different classes.
        DataError: none can be shown.
    """
    from ssl_seg.results.mask_snapshots import read_mask_snapshots

    if titles and len(titles) != len(folders):
        raise UsageError(f"--names has {len(titles)} titles for {len(folders)} runs")
    opened: dict[str, MaskSnapshots] = {}
    errors: list[DataError] = []
    for title, folder in zip(titles or _names_of(folders), folders, strict=True):
        try:
            opened[title] = read_mask_snapshots(folder)
        except DataError as error:
            errors.append(error)
    if not opened:
        raise errors[0]
    first = next(iter(opened.values()))
    for title, snapshots in opened.items():
        if snapshots.palette.names != first.palette.names:
            raise UsageError(
                f"the runs have different classes: {title} has {', '.join(snapshots.palette.names[:6])}",
                next="draw one figure per set of classes",
            )
    return opened, [f"{error.what}; {error.next}" if error.next else error.what for error in errors]


def _names_of(folders: Sequence[Path]) -> list[str]:
    opened = names(folders)
    if len(set(opened)) < len(opened):
        raise UsageError("the same run is given twice")
    return opened
