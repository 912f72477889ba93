"""A classifier on its validation images."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.engine.calibration import calibrate
from ssl_seg.engine.inference import eval_mode, gather_outputs, run_inference
from ssl_seg.tasks.classification import head_logits, pooled_features
from ssl_seg.workflows.knn_probe import holdout_split
from ssl_seg.workflows.validator import prediction_rows, write_csv

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.run_dir import Run
    from ssl_seg.metrics.accuracy import Accuracy
    from ssl_seg.workflows.metric_collection import MetricCollection


class ClassificationValidator:
    """Top-1, top-5 and the mean over classes; see `Validator`.

    Args:
        model: on the device.
        dataset, images: that it is measured on.
        metric, extra_metrics: of logits and class indices.
        normalization: `mean` and `std`.
        should_stop: whether a signal has come to this process.
        run_dir: gets `confusion.csv` and `val_predictions.csv`.
        image_size: side of what the network sees, in pixels.
        cached: the backbone is frozen: its features are computed once.
    """

    primary_metric = "top1"

    def __init__(
        self,
        model: "Model",
        dataset: "Dataset",
        images: "ImageCache",
        metric: "Accuracy",
        *,
        device: "Device",
        normalization: Mapping[str, Any],
        should_stop: Callable[[], bool],
        run_dir: "Run",
        extra_metrics: "MetricCollection",
        image_size: int,
        cached: bool = False,
    ) -> None:
        self.model, self.dataset, self.images, self.metric = model, dataset, images, metric
        self.device, self.should_stop, self.run_dir = device, should_stop, run_dir
        self.extra_metrics = extra_metrics
        self._inputs: dict[str, Any] = {"size": image_size, **normalization}
        self._features: Tensor | None = None
        if cached:
            (self._features,) = pooled_features(model.backbone, images, device, **self._inputs)
        self._logits = torch.empty(0)

    def evaluate(self, epoch: int) -> bool:
        self._logits = self._compute_logits()
        if self.device.all_reduce_max(self.should_stop())[0]:
            return False
        self.metric.reset()
        for metric in (self.metric, self.extra_metrics):
            metric.update(self._logits, self.images.targets.to(self._logits.device))
        return True

    def compute(self) -> dict[str, float]:
        return self.metric.compute()

    def write_details(self) -> None:
        """`confusion.csv` and `val_predictions.csv`."""
        folder, names = self.run_dir.folder, list(self.images.classes)
        counts = self.metric.confusion.tolist()
        rows = [[name, *line] for name, line in zip(names, counts, strict=True)]
        write_csv(folder / "confusion.csv", ["true \\ predicted", *names], rows)
        header = ["filename", "label", "predicted", "confidence"]
        write_csv(folder / "val_predictions.csv", header, self._predictions())

    def calibration(self) -> dict[str, Any]:
        """Of a half of the images, stratified; the temperature is fitted on the other half."""
        targets = self.images.targets
        for_fit = ~holdout_split(targets, 0.5).to(self._logits.device)
        found = calibrate(self._logits, targets.to(self._logits.device), for_fit)
        return {"unit": "images", **found} if found else {}

    def format_table(self, result: dict[str, Any]) -> list[str]:
        lines = [f"{'':14}epoch   top-1   top-5   mean over classes"]
        for name in ("last", "best"):
            line = result[name]
            numbers = f"{line['top1']:8.3f}{line['top5']:8.3f}{line['mean_class']:10.3f}"
            lines.append(f"{name + ' epoch':14}{line['epoch']:5}{numbers}")
        return lines

    def _compute_logits(self) -> Tensor:
        """(N, classes) of all validation images, in their order."""
        model, device = self.model, self.device
        if self._features is not None:
            with torch.no_grad(), eval_mode(model), device.autocast():
                return head_logits(model, self._features).float()
        batches = run_inference(model, self.images, device, stopped=self.should_stop, **self._inputs)
        return gather_outputs([logits.float() for logits, _ in batches], len(self.images), device)

    def _predictions(self) -> list[list[Any]]:
        """One row an image: what was predicted, and with which probability."""
        confidence, predicted = self._logits.softmax(dim=1).max(dim=1)
        rows = prediction_rows(self.dataset, self.images, predicted)
        return [[*row, f"{value:.6f}"] for row, value in zip(rows, confidence.tolist(), strict=True)]
