"""The confusion matrix that a run leaves in `confusion.csv`."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_seg.errors import DataError
from ssl_seg.utils.text import from_csv_cell


@dataclass(frozen=True)
class Confusion:
    """What was predicted for each class, in images or pixels.

    Attributes:
        classes: of the targets. predicted: of the predictions; of masks, `no class` comes last.
        counts: (classes, predicted) int64.
    """

    classes: list[str]
    predicted: list[str]
    counts: NDArray[np.int64]

    def shares(self) -> NDArray[np.float64]:
        """Each row divided by its sum; a class without targets has NaN."""
        sums = self.counts.sum(axis=1, keepdims=True)
        shares = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, sums, out=shares, where=sums > 0)
        return shares

    def most_confused(self, most: int) -> list[tuple[str, str, float, int]]:
        """(target, prediction, share of the target, count), the largest shares first."""
        wrong = np.nan_to_num(self.shares())
        np.fill_diagonal(wrong, 0.0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = (divmod(int(flat), len(self.predicted)) for flat in order)
        return [
            (
                self.classes[row],
                self.predicted[column],
                float(wrong[row, column]),
                int(self.counts[row, column]),
            )
            for row, column in pairs
            if wrong[row, column] > 0
        ]


def read_confusion(run: Path) -> Confusion:
    """Read the matrix of a run.

    Raises:
        DataError: the run has none, or it is damaged.
    """
    path = run / "confusion.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            (_, *predicted), *rows = [line for line in csv.reader(file) if line]
        counts = np.array([[int(value) for value in row[1:]] for row in rows], dtype=np.int64)
        classes = [from_csv_cell(row[0]) for row in rows]
        if counts.shape != (len(classes), len(predicted)) or not classes or (counts < 0).any():
            raise ValueError("rows and columns do not fit")
    except FileNotFoundError as error:
        raise DataError(
            f"{run} has no confusion matrix", where=str(path), next="train with --val, which writes it"
        ) from error
    except (OSError, ValueError, OverflowError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return Confusion(classes, [from_csv_cell(name) for name in predicted], counts)
