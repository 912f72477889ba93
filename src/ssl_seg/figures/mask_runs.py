"""Runs whose masks are drawn side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_seg.errors import DataError, UsageError
from ssl_seg.figures.curves_data import names

if TYPE_CHECKING:
    from ssl_seg.results.mask_snapshots import Watched


def open_runs(folders: Sequence[Path], titles: Sequence[str]) -> tuple[dict[str, "Watched"], list[str]]:
    """Runs by their titles, and what is wrong with those that cannot be shown.

    Raises:
        UsageError: not as many titles as runs, or the runs have different classes.
        DataError: none can be shown.
    """
    from ssl_seg.results.mask_snapshots import read_watched

    if titles and len(titles) != len(folders):
        raise UsageError(f"--names has {len(titles)} titles for {len(folders)} runs")
    found: dict[str, Watched] = {}
    wrong: list[DataError] = []
    for title, folder in zip(titles or _names_of(folders), folders, strict=True):
        try:
            found[title] = read_watched(folder)
        except DataError as error:
            wrong.append(error)
    if not found:
        raise wrong[0]
    first = next(iter(found.values()))
    for title, watched in found.items():
        if watched.palette.names != first.palette.names:
            raise UsageError(
                f"the runs have different classes: {title} has {', '.join(watched.palette.names[:6])}",
                next="draw one figure per set of classes",
            )
    return found, [f"{error.what}; {error.next}" if error.next else error.what for error in wrong]


def _names_of(folders: Sequence[Path]) -> list[str]:
    found = names(folders)
    if len(set(found)) < len(found):
        raise UsageError("the same run is given twice")
    return found
