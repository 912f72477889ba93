"""What a run predicted for single images: CSV files with the columns `filename`, `label` and `predicted`."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_seg.utils.text import from_csv_cell

VALIDATION = "val_predictions.csv"
PROBE = "probe_predictions.csv"  # of the last k-NN probe
UNTRAINED = "probe_untrained.csv"  # of the one before the first step


class PerImage(NamedTuple):
    """What is known of single images; see `StageScores`."""

    images: list[tuple[str, str]]
    correct: NDArray[np.int64]
    scored_classes: NDArray[np.bool_] | None


NO_IMAGES = PerImage([], np.zeros(0, np.int64), None)


class UnusableError(Exception):
    """Predictions that cannot be used, and why."""


def read_predictions(path: Path) -> PerImage:
    """Read the images and whether each was classified correctly.

    Raises:
        UnusableError: the file is missing, empty or corrupt, or lacks a column.
    """
    if not path.exists():
        raise UnusableError(f"no {path.name}: no per-image results")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [
                {column: from_csv_cell(cell or "") for column, cell in line.items() if column}
                for line in csv.DictReader(file)
            ]
        images = [(line["filename"], line["label"]) for line in lines]
        correct = np.array([line["label"] == line["predicted"] for line in lines], np.int64)
    except KeyError as error:
        raise UnusableError(f"{path.name} has no column {error}") from error
    except (csv.Error, UnicodeDecodeError, TypeError, OSError) as error:
        raise UnusableError(f"{path.name} is corrupt: {error}") from error
    if not lines:
        raise UnusableError(f"{path.name} is empty")
    return PerImage(images, correct, None)
