"""The confusion matrix of a run as a figure."""

from pathlib import Path

from ssl_seg.study.run_paths import find_run


def draw_confusion_of_run(run: Path, out: Path | None = None) -> list[Path]:
    """Draw `confusion.csv` of a run, which is of its last epoch and its validation images.

    Args:
        run: folder of a run of `classify` or `segment` with validation images.
        out: path of the figures without extension; RUN/figures/confusion by default.

    Returns:
        The files.

    Raises:
        DataError: the run has no matrix, or a damaged one.
    """
    from ssl_seg.figures.class_marks import class_marks
    from ssl_seg.figures.confusion import draw_confusion
    from ssl_seg.results.confusion import read_confusion

    run = find_run(run)
    confusion = read_confusion(run)
    unit = "images" if len(confusion.predicted) == len(confusion.classes) else "pixels"
    note = "rows sum to 100 %; last epoch, validation images"
    marks = class_marks(run, confusion.classes)
    return draw_confusion(out or run / "figures" / "confusion", confusion, marks, unit=unit, note=note)
