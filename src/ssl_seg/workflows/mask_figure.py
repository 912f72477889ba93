"""Saved mask predictions of segmentation runs, side by side."""

from collections.abc import Sequence
from pathlib import Path

from ssl_seg.figures.mask_runs import open_runs
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.text import split_names


def draw_masks(
    runs: Sequence[Path], *, images: str = "", names: str = "", out: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Draw image, target and predictions of segmentation runs.

    Args:
        runs: folders of the runs.
        images: comma-separated; all saved ones by default.
        names: comma-separated titles of the runs.
        out: path of the figures without extension.

    Returns:
        Paths of the figures, and one line for each mask that is missing.

    Raises:
        DataError: no run has saved masks. UsageError: an unknown image, or titles that do not fit the runs.
    """
    from ssl_seg.figures.mask_gallery import MaskGallery

    runs = [find_run(run) for run in runs]
    snapshots, missing = open_runs(runs, split_names(names))
    gallery = MaskGallery(snapshots, split_names(images))
    own = runs[0] / "figures" / "masks" if len(runs) == 1 else Path("masks")
    return gallery.save(out or own), missing + gallery.missing
