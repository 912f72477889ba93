"""A classifier on its validation images."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.engine.inference import evaluating, joined, outputs
from ssl_seg.tasks.classification import logits_of, pooled_features
from ssl_seg.workflows.metric_collection import Further
from ssl_seg.workflows.validator import Judge, write_csv

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.workflows.classify import Classification


class ClassJudge(Judge):
    """Top-1, top-5 and the mean over classes.

    Args:
        run, model, dataset, store: see `Judge`.
        cached: the backbone is frozen: its features are computed once.
    """

    score = "top1"

    def __init__(
        self, run: "Classification", model: "Model", dataset: "Dataset", store: "Store", *, cached: bool
    ) -> None:
        metric = run.plugins.registry.build("metrics", run.metric, store.classes, options=run.metric_options)
        further = Further(run.plugins.registry, run.further, store.classes, pixels=False)
        super().__init__(run, model, dataset, store, metric, further)
        self._features = None
        if cached:
            (self._features,) = pooled_features(model.backbone, store, run.device, size=run.size, **run.how)
        self._logits = torch.empty(0)

    def measure(self, epoch: int) -> bool:
        self._logits = self.logits()
        if self.run.stopped():
            return False
        for metric in (self.metric, self.further):
            metric.update(self._logits, self.store.targets.to(self._logits.device))
        return True

    def logits(self) -> Tensor:
        """(N, classes) of all validation images, in their order."""
        run, model = self.run, self.model
        if self._features is not None:
            with torch.no_grad(), evaluating(model), run.device.autocast():
                return logits_of(model, self._features).float()
        how: dict[str, Any] = {"stopped": lambda: bool(run.stop.signal), **run.how}
        said = outputs(model, self.store, run.device, size=run.size, **how)
        return joined([out.float() for out, _ in said], len(self.store), run.device)

    def details(self) -> None:
        """`confusion.csv` and `val_predictions.csv`."""
        folder, names = self.run.run.folder, list(self.store.classes)
        confusion: Tensor = self.metric.confusion  # type: ignore[attr-defined]
        rows = [[name, *line] for name, line in zip(names, confusion.tolist(), strict=True)]
        write_csv(folder / "confusion.csv", ["true \\ predicted", *names], rows)
        write_csv(folder / "val_predictions.csv", *self.predictions(self._logits))

    def predictions(self, logits: Tensor) -> tuple[list[str], list[list[Any]]]:
        """Header and rows: what was said of each image, and how surely."""
        confidence, said = logits.softmax(dim=1).max(dim=1)
        names, store = self.store.classes, self.store
        columns = store.rows.tolist(), store.targets.tolist(), said.tolist(), confidence.tolist()
        rows = [
            [self.dataset.samples[row][0], names[target], names[guess], f"{sure:.6f}"]
            for row, target, guess, sure in zip(*columns, strict=True)
        ]
        return ["filename", "label", "predicted", "confidence"], rows

    def table(self, result: dict[str, Any]) -> list[str]:
        lines = [f"{'':14}epoch   top-1   top-5   mean over classes"]
        for name in ("last", "best"):
            line = result[name]
            numbers = f"{line['top1']:8.3f}{line['top5']:8.3f}{line['mean_class']:10.3f}"
            lines.append(f"{name + ' epoch':14}{line['epoch']:5}{numbers}")
        return lines
