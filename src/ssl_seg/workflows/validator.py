"""A model on its validation images: after every epoch, and at the end."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ssl_seg.errors import Stopped
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.text import csv_text
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.model_file import save_model

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Metric, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.workflows.finetune import Finetuning
    from ssl_seg.workflows.metric_collection import Further


class Judge:
    """Measures the model of a run, and keeps the best one.

    Args:
        run: whose model it is.
        model: what is measured.
        dataset, store: validation images.
        metric: of the kind `score` belongs to.
        further: what else is measured.

    Attributes:
        score: the number that tells the best epoch.
    """

    score: ClassVar[str]

    def __init__(
        self,
        run: "Finetuning",
        model: "Model",
        dataset: "Dataset",
        store: "Store",
        metric: "Metric",
        further: "Further",
    ) -> None:
        self.run, self.model, self.dataset, self.store = run, model, dataset, store
        self.metric, self.further = metric, further
        self.numbers()  # two of one name are found before the first step
        self._measured = False

    def measure(self, epoch: int) -> bool:
        """Put all validation images through the model into the metric; False when a signal has come."""
        raise NotImplementedError

    def details(self) -> None:
        """Leave what the last look has seen in the run's folder."""
        raise NotImplementedError

    def table(self, result: dict[str, Any]) -> list[str]:
        """The numbers of `result.json`, for people."""
        raise NotImplementedError

    def numbers(self) -> dict[str, float]:
        """What the metrics say of all that they have seen."""
        own = self.metric.compute()
        return own | self.further.compute(own)

    def look(self, epoch: int) -> dict[str, float]:
        """The scores after an epoch, each as `val_...`; nothing when a signal has come."""
        if not self._look(epoch):
            return {}
        scores = {f"val_{name}": value for name, value in self.numbers().items() if "/" not in name}
        mine = scores[f"val_{self.score}"]
        if self.run.device.is_main and mine > max(map(self._worth, self._lines()), default=-math.inf):
            about = self.run.about(self.store.classes) | {"epoch": epoch}
            save_model(self.run.run.folder / "best.safetensors", self.model, about)
        others = [f"val_{name} {value:.3f}" for name, value in self.further.compute(()).items()]
        self.run.console.say(f"epoch {epoch}: " + ", ".join([f"val_{self.score} {mine:.3f}", *others]))
        return scores

    def _look(self, epoch: int) -> bool:
        self.metric.reset()
        self.further.reset()
        self._measured = self.measure(epoch)
        return self._measured

    def _lines(self) -> list[dict[str, Any]]:
        """The epochs that were measured."""
        return [line for line in self.run.run.scores() if f"val_{self.score}" in line]

    def _worth(self, line: Mapping[str, Any]) -> float:
        """The score that tells the best epoch; the lowest if it is not finite."""
        value = float(line[f"val_{self.score}"])
        return value if math.isfinite(value) else -math.inf

    def write(self) -> None:
        """Leave `result.json` and the details of the last epoch in the run's folder."""
        # measured, unless the run was stopped between its last epoch and this
        if not self._measured and not self._look(self.run.given["epochs"]):
            raise Stopped(self.run.stop.signal, next=self.run.run.again)
        if not self.run.device.is_main:
            return
        numbers = self.numbers()
        # of a finished run of 0.1.0 the lines may be lost
        now = {"epoch": self.run.given["epochs"], **{f"val_{name}": n for name, n in numbers.items()}}
        lines = self._lines() or [now]
        best = max(lines, key=self._worth)
        result = {
            "images": len(self.store),
            "last": {"epoch": lines[-1]["epoch"], **numbers},
            "best": {"epoch": best["epoch"], **{n[4:]: v for n, v in best.items() if n.startswith("val_")}},
        }
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        replace_text(self.run.run.folder / "result.json", text)
        self.details()

    def summary(self) -> list[str]:
        """The numbers of the run, for people, line by line."""
        result = read_json(self.run.run.folder / "result.json")
        others = [
            f"{name}: {result['last'][name]:.4f}, in the best epoch {result['best'][name]:.4f}"
            for name in self.further.compute(())
            if name in result["best"]
        ]
        count = f"on {result['images']} validation images; the best epoch was chosen on them"
        return [*self.table(result), *others, count, f"run: {self.run.run.folder}"]


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """A table as CSV, whole or not there."""
    replace_text(path, csv_text(header, rows))
