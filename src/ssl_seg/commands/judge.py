"""A classifier on its validation images: after every epoch, and at the end."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.engine.evaluate import evaluating, outputs
from ssl_seg.engine.model_file import save_model
from ssl_seg.engine.supervised import Supervised, logits_of, pooled_features
from ssl_seg.run import replace_text

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.commands.classify import Classification
    from ssl_seg.data.store import Store


class ClassJudge:
    """Measures the model of a run, and keeps the best one.

    Args:
        run: whose model it is.
        module: what is trained.
        dataset, store: validation images.
        cached: the backbone is frozen: its features are computed once.
    """

    def __init__(
        self,
        run: "Classification",
        module: Supervised,
        dataset: "Dataset",
        store: "Store",
        *,
        cached: bool,
    ) -> None:
        self._run, self._module, self._dataset, self._store = run, module, dataset, store
        self._metric = run.build("metrics", "accuracy", store.classes, part="accuracy")
        self._features = None
        if cached:
            backbone = module.model.backbone
            (self._features,) = pooled_features(backbone, store, run.device, size=run.size, **run.how)
        self._logits = torch.empty(0)

    def look(self, epoch: int) -> dict[str, float]:
        """`val_top1`, `val_top5` and `val_mean_class` after an epoch; nothing when a signal has come."""
        run = self._run
        logits = self.logits()
        if run.stop.signal:
            return {}
        self._metric.reset()
        self._metric.update(logits, self._store.targets.to(logits.device))
        self._logits = logits
        scores = {f"val_{name}": value for name, value in self.numbers().items() if "/" not in name}
        best = max((line["val_top1"] for line in run.run.scores()), default=-1.0)
        if scores["val_top1"] > best and run.device.is_main:
            about = run.about(self._store.classes) | {"epoch": epoch}
            save_model(run.run.folder / "best.safetensors", self._module.model, about)
        run.console.say(f"epoch {epoch}: val_top1 {scores['val_top1']:.3f}")
        return scores

    def numbers(self) -> dict[str, float]:
        """Of the last look, by name."""
        numbers: dict[str, float] = self._metric.compute()
        return numbers

    def logits(self) -> Tensor:
        """(N, classes) of all validation images, in their order."""
        run, model = self._run, self._module.model
        if self._features is not None:
            with torch.no_grad(), evaluating(model), run.device.autocast():
                return logits_of(model, self._features).float()
        how: dict[str, Any] = {"stopped": lambda: bool(run.stop.signal), **run.how}
        return torch.cat(
            [out.float() for out, _ in outputs(model, self._store, run.device, size=run.size, **how)]
        )

    def write(self) -> None:
        """Leave `result.json`, `confusion.csv` and `val_predictions.csv` of the last epoch in the run's folder."""
        logits = self._logits if len(self._logits) else self.logits()
        self._metric.reset()
        self._metric.update(logits, self._store.targets.to(logits.device))
        scores = [line for line in self._run.run.scores() if "val_top1" in line]
        best = max(scores, key=lambda line: line["val_top1"])
        result = {
            "images": len(self._store),
            "last": {"epoch": scores[-1]["epoch"], **self.numbers()},
            "best": {"epoch": best["epoch"], **{n[4:]: v for n, v in best.items() if n.startswith("val_")}},
        }
        folder = self._run.run.folder
        replace_text(folder / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        names = list(self._store.classes)
        rows = [[name, *line] for name, line in zip(names, self._metric.confusion.tolist(), strict=True)]
        write_csv(folder / "confusion.csv", ["true \\ predicted", *names], rows)
        write_csv(folder / "val_predictions.csv", *self.predictions(logits))

    def predictions(self, logits: Tensor) -> tuple[list[str], list[list[Any]]]:
        """Header and rows: what was said of each image, and how surely."""
        confidence, said = logits.softmax(dim=1).max(dim=1)
        names, store = self._store.classes, self._store
        columns = store.rows.tolist(), store.targets.tolist(), said.tolist(), confidence.tolist()
        rows = [
            [self._dataset.samples[row][0], names[target], names[guess], f"{sure:.6f}"]
            for row, target, guess, sure in zip(*columns, strict=True)
        ]
        return ["filename", "label", "predicted", "confidence"], rows

    def summary(self) -> str:
        """The numbers of the run, for people."""
        result = json.loads((self._run.run.folder / "result.json").read_text())
        lines = [f"{'':14}epoch   top-1   top-5   mean over classes"]
        for name in ("last", "best"):
            line = result[name]
            numbers = f"{line['top1']:8.3f}{line['top5']:8.3f}{line['mean_class']:10.3f}"
            lines.append(f"{name + ' epoch':14}{line['epoch']:5}{numbers}")
        lines.append(f"on {result['images']} validation images; the best epoch was chosen on them")
        return "\n".join([*lines, f"run: {self._run.run.folder}"])


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """A table as CSV, whole or not there."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    replace_text(path, text.getvalue())
