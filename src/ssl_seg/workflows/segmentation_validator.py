"""A segmentation model on its validation images."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_seg.augment.views import normalize_images
from ssl_seg.distributed.collectives import all_reduce_sum
from ssl_seg.engine.calibration import SampledPixels, calibrate
from ssl_seg.engine.inference import eval_mode
from ssl_seg.nn.layers import in_chans_of
from ssl_seg.results.iou import by_difficulty
from ssl_seg.tasks.segmentation import full_image_logits
from ssl_seg.utils.files import atomic_file
from ssl_seg.workflows.mask_metadata import format_class_table
from ssl_seg.workflows.validator import write_csv

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.run_dir import Run
    from ssl_seg.metrics.mean_iou import MeanIoU
    from ssl_seg.workflows.mask_snapshots import MaskSnapshotWriter
    from ssl_seg.workflows.metric_collection import MetricCollection

_SIZES = 4
_EXTREMES = 3  # hardest images, and easiest ones, whose masks are kept


class SegmentationValidator:
    """Mean IoU on whole images; see `Validator`.

    Args:
        model: on the device.
        dataset, images: that it is measured on.
        metric, extra_metrics: of logits and masks.
        normalization: `mean` and `std`.
        should_stop: whether a signal has come to this process.
        run_dir: gets `confusion.csv` and `val_confusions.npz`.
        snapshots: keeps predicted masks of some images.
        excluded: names of the classes that are not scored.

    Raises:
        UsageError: the network takes no images of their size.
    """

    primary_metric = "miou"

    def __init__(
        self,
        model: "Model",
        dataset: "Dataset",
        images: "ImageCache",
        metric: "MeanIoU",
        *,
        device: "Device",
        normalization: Mapping[str, Any],
        should_stop: Callable[[], bool],
        run_dir: "Run",
        extra_metrics: "MetricCollection",
        snapshots: "MaskSnapshotWriter",
        excluded: list[str],
    ) -> None:
        self.model, self.dataset, self.images, self.metric = model, dataset, images, metric
        self.device, self.normalization, self.should_stop = device, normalization, should_stop
        self.run_dir, self.extra_metrics = run_dir, extra_metrics
        self.snapshots, self.excluded = snapshots, excluded
        self._confusions, self._epoch = torch.empty(0), 0
        self._sampled: SampledPixels | None = None
        self._try_sizes()

    def evaluate(self, epoch: int) -> bool:
        self._epoch = epoch
        images, classes, device = self.images, len(self.images.classes), self.device
        shape = len(images), classes, classes + 1
        confusions = torch.zeros(shape, dtype=torch.int64, device=device.device)
        masks = self.snapshots.start(epoch, device.device)
        self._sampled = sampled = SampledPixels(
            len(images), classes, self.model.excluded.tolist(), device.device
        )
        options: dict[str, Any] = {"should_stop": self.should_stop, **self.normalization}
        for logits, batch in full_image_logits(self.model, images, device, **options):
            assert batch.masks is not None
            predicted = logits.argmax(dim=1)
            self.extra_metrics.update(logits, batch.masks)
            sampled.add(logits, batch.masks, batch.samples)
            for mask, target, index in zip(predicted, batch.masks, batch.samples.tolist(), strict=True):
                confusions[index] = self.metric.confusion_of(mask[None], target[None])
                masks.add(index, mask)
        # each image is in one process alone; the main one writes
        self._confusions = all_reduce_sum(confusions)
        sampled.gather()
        self.metric.reset()
        self.metric.add(self._confusions.sum(dim=0))
        all_reduce_sum(masks.pixels)
        if device.all_reduce_max(self.should_stop())[0]:
            return False
        if device.is_main:
            self.snapshots.write(masks)
        return True

    def compute(self) -> dict[str, float]:
        return self.metric.compute()

    def write_details(self) -> None:
        """`confusion.csv`, `val_confusions.npz` with one matrix per image, and the masks of a few images."""
        folder, names = self.run_dir.folder, list(self.images.classes)
        confusions = self._confusions.cpu().numpy()
        rows = [[name, *line] for name, line in zip(names, confusions.sum(axis=0).tolist(), strict=True)]
        write_csv(folder / "confusion.csv", ["true \\ predicted", *names, "no class"], rows)
        files = [self.dataset.samples[index][0] for index in self.images.sample_indices.tolist()]
        with atomic_file(folder / "val_confusions.npz") as file:
            np.savez_compressed(
                file,
                confusions=confusions,
                filenames=np.array(files),
                classes=np.array(names),
                exclude=np.array(self.excluded, dtype=str),
            )
        self.snapshots.write_extremes(self._predict(self._extremes(confusions)), self._epoch)

    def _extremes(self, confusions: NDArray[np.int64]) -> list[int]:
        """The hardest images and the easiest ones."""
        scored_classes = np.array([name not in self.excluded for name in self.images.classes])
        order, _ = by_difficulty(confusions, scored_classes)
        half = min(_EXTREMES, len(order) // 2)
        return [*order[:half], *order[len(order) - half :]]

    @torch.no_grad()
    def _predict(self, indices: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
        """(h, w) classes of single images; keeping those of all images would take as much memory as they do."""
        found = {}
        with eval_mode(self.model), self.device.autocast():
            for index in indices:
                height, width = self.images.sizes[index].tolist()
                pixels, _ = self.images.at(torch.tensor([index]))
                inputs = pixels[:, :, :height, :width].to(self.device.device)
                logits = self.model(normalize_images(inputs, **self.normalization))
                found[index] = logits[0].argmax(dim=0).byte().cpu().numpy()
        return found

    def calibration(self) -> dict[str, Any]:
        """Of pixels of every second image; the temperature is fitted on pixels of the others."""
        assert self._sampled is not None
        found = calibrate(*self._sampled.of_images())
        return {"unit": "pixels", **found} if found else {}

    def format_table(self, result: dict[str, Any]) -> list[str]:
        lines = format_class_table(self.images.classes, result["last"])
        for name in ("last", "best"):
            line = result[name]
            lines.append(
                f"{name} epoch {line['epoch']}: mean IoU {line['miou']:.4f}, "
                f"pixel accuracy {line['pixel_accuracy']:.4f}"
            )
        return lines

    @torch.no_grad()
    def _try_sizes(self) -> None:
        """Ask the network now whether it takes whole images, not after an epoch of training."""
        sizes = self.images.sizes.unique(dim=0)[:_SIZES].tolist()
        with eval_mode(self.model), self.device.autocast():
            for height, width in sizes:
                images = torch.zeros(1, in_chans_of(self.model), height, width, device=self.device.device)
                self.model(images)
