"""A model on its validation images: after every epoch, and at the end."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.text import csv_text
from ssl_seg.utils.toml import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.run_dir import Run
    from ssl_seg.workflows.metric_collection import MetricCollection


class Validator(Protocol):
    """Measures one kind of model on validation images.

    Attributes:
        primary_metric: the score that selects the best epoch.
        images: that are measured on.
        extra_metrics: those of `--metric`.
    """

    primary_metric: str
    images: "ImageCache"
    extra_metrics: "MetricCollection"

    def evaluate(self, epoch: int) -> bool:
        """Put all validation images through the model; False if a signal has come meanwhile."""

    def compute(self) -> dict[str, float]:
        """The model's own scores on what `evaluate` has seen."""

    def write_details(self) -> None:
        """Leave what `evaluate` has seen last in the run's folder."""

    def calibration(self) -> dict[str, Any]:
        """How far the confidences of what `evaluate` has seen last can be trusted; see `calibrate`."""

    def format_table(self, result: dict[str, Any]) -> list[str]:
        """The scores of `result.json`, for people."""


class ValidationLog:
    """Validates after each epoch, keeps the best model, and writes `result.json`.

    Args:
        validator: of the model.
        run_dir: its `scores.jsonl` holds the scores of each epoch.
        is_main: whether this process writes.
        is_due: the epochs after which the model is validated.
        save_best: is called with the epoch when the primary score is the highest so far.
        print_line: shows a line to people.
    """

    def __init__(
        self,
        validator: Validator,
        run_dir: "Run",
        *,
        is_main: bool,
        is_due: Callable[[int], bool],
        save_best: Callable[[int], None],
        print_line: Callable[[str], None],
    ) -> None:
        self._validator, self._run_dir = validator, run_dir
        self._is_main, self._is_due = is_main, is_due
        self._save_best, self._print_line = save_best, print_line
        self._primary = f"val_{validator.primary_metric}"
        self._is_current = False  # whether the last epoch is what the metrics hold
        self._compute()  # two scores of one name are found before the first step

    def validate(self, epoch: int) -> dict[str, float]:
        """The scores after an epoch, each as `val_...`; none if it is not due or a signal has come."""
        if not self._is_due(epoch) or not self._evaluate(epoch):
            return {}
        scores = {f"val_{name}": value for name, value in self._compute().items() if "/" not in name}
        score = scores[self._primary]
        if self._is_main and score > max(map(self._rank, self._validated()), default=-math.inf):
            self._save_best(epoch)
        extra = [f"val_{name} {value:.3f}" for name, value in self._validator.extra_metrics.compute().items()]
        self._print_line(f"epoch {epoch}: " + ", ".join([f"{self._primary} {score:.3f}", *extra]))
        return scores

    def write_result(self, last_epoch: int, *, again: bool = False) -> bool:
        """Write `result.json` and the details of the last epoch; False if a signal has come before.

        Args:
            last_epoch: of the run, counted from 1.
            again: measure the model once more, for what is kept of a last epoch.
        """
        # the scores are there, unless the run was stopped between its last epoch and this
        if (again or not self._is_current) and not self._evaluate(last_epoch):
            return False
        if not self._is_main:
            return True
        numbers = self._compute()
        # of a finished run of 0.1.0 the lines may be lost
        now = {"epoch": last_epoch, **{f"val_{name}": value for name, value in numbers.items()}}
        lines = self._validated()
        lines += [now] * (not lines or lines[-1]["epoch"] != last_epoch)
        best = max(lines, key=self._rank)
        result = {
            "images": len(self._validator.images),
            "last": {"epoch": lines[-1]["epoch"], **numbers},
            "best": {"epoch": best["epoch"], **{n[4:]: v for n, v in best.items() if n.startswith("val_")}},
        }
        if calibration := self._validator.calibration():
            result["calibration"] = {"epoch": last_epoch, **calibration}
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        atomic_write_text(self._run_dir.folder / "result.json", text)
        self._validator.write_details()
        return True

    def summary(self) -> list[str]:
        """The scores of the run, for people, line by line."""
        result = read_json(self._run_dir.folder / "result.json")
        extra = [
            f"{name}: {result['last'][name]:.4f}, in the best epoch {result['best'][name]:.4f}"
            for name in self._validator.extra_metrics.compute()
            if name in result["best"]
        ]
        if calibration := result.get("calibration"):
            extra.append(
                f"calibration error {calibration['ece']:.4f}, {calibration['ece_scaled']:.4f} with temperature "
                f"{calibration['temperature']:.3f}, on {calibration['measured_on']} {calibration['unit']}"
            )
        count = f"on {result['images']} validation images; the best epoch was chosen on them"
        return [*self._validator.format_table(result), *extra, count, f"run: {self._run_dir.folder}"]

    def _evaluate(self, epoch: int) -> bool:
        self._validator.extra_metrics.reset()
        self._is_current = self._validator.evaluate(epoch)
        return self._is_current

    def _compute(self) -> dict[str, float]:
        own = self._validator.compute()
        return own | self._validator.extra_metrics.compute(own)

    def _validated(self) -> list[dict[str, Any]]:
        """The lines of `scores.jsonl` of the epochs that were validated."""
        return [line for line in self._run_dir.scores() if self._primary in line]

    def _rank(self, line: Mapping[str, Any]) -> float:
        """The score that selects the best epoch; the lowest if it is not finite."""
        value = float(line[self._primary])
        return value if math.isfinite(value) else -math.inf


def prediction_rows(
    dataset: "Dataset", images: "ImageCache", predicted: "Tensor", rows: "Tensor | slice" = slice(None)
) -> list[list[Any]]:
    """File, label and predicted class of some images of a cache, all of them by default.

    Args:
        predicted: (N,) int64 class indices of these images.
        rows: which they are.
    """
    columns = images.sample_indices[rows].tolist(), images.targets[rows].tolist(), predicted.tolist()
    names = images.classes
    return [[dataset.samples[index][0], names[y], names[p]] for index, y, p in zip(*columns, strict=True)]


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """A table as CSV, whole or not there."""
    atomic_write_text(path, csv_text(header, rows))
