"""A k-NN accuracy on labelled images while a backbone is being trained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ssl_seg.augment import stateless_rng
from ssl_seg.base import Backbone, Dataset
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.label_checks import check_labels
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.errors import DataError
from ssl_seg.results.predictions import PROBE, UNTRAINED
from ssl_seg.workflows.overlap import is_in, warn_of_copies
from ssl_seg.workflows.validator import prediction_rows, write_csv

if TYPE_CHECKING:
    from ssl_seg.base import SSLMethod
    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.config import PretrainConfig
    from ssl_seg.workflows.session import Session

HOLDOUT_FRACTION = 0.2


def holdout_split(targets: Tensor, fraction: float = HOLDOUT_FRACTION) -> Tensor:
    """(N,) bool: which images are held out, a fraction of every class, the same in every run."""
    draw = stateless_rng.uniform(0, 0, 0, torch.arange(len(targets)), 1)[0]
    is_holdout = torch.zeros(len(targets), dtype=torch.bool)
    for target in targets.unique():
        indices = (targets == target).nonzero()[:, 0]
        count = max(1, round(fraction * len(indices)))
        is_holdout[indices[draw[indices].argsort(stable=True)[:count]]] = True
    return is_holdout


class KNNProbe:
    """Classifies a fifth of the images, held out, by their neighbours among the others.

    Args:
        metric: `knn`, new.
        dataset, images: labelled images.
        should_stop: whether a signal has come to this process.
        inputs: what the network sees: `size` in pixels, and `mean` and `std` if they are not ImageNet's.
    """

    def __init__(
        self,
        metric: Any,
        dataset: Dataset,
        images: ImageCache,
        device: Device,
        *,
        should_stop: Callable[[], bool],
        **inputs: Any,
    ) -> None:
        self._metric, self._dataset = metric, dataset
        self.images, self._device, self._inputs = images, device, inputs
        self._should_stop = should_stop
        self._is_holdout = holdout_split(images.targets)
        warn_of_copies(images, self._is_holdout)
        if self._is_holdout.all():
            raise DataError("the probe needs at least two images of a class")

    def description(self) -> str:
        """What is classified, and how well the most frequent class alone would do."""
        images, targets = self.images, self.images.targets[self._is_holdout]
        majority = float(targets.bincount().max()) / len(targets)
        classes = len(images.classes)
        return f"{len(targets)} of {len(images)} images, {classes} classes, by chance {majority:.3f}"

    def __call__(self, backbone: Backbone, predictions: Path | None = None) -> dict[str, float]:
        """`probe_knn`, in [0, 1]; nothing when a signal has come meanwhile.

        Args:
            predictions: CSV file for the class of each image that is held out; the main process writes it.
        """
        inputs = {**self._inputs, "stopped": self._should_stop}
        features, targets = extract_features(backbone, self.images, self._device, **inputs)
        if self._device.all_reduce_max(self._should_stop())[0]:
            return {}
        is_holdout = self._is_holdout.to(features.device)
        self._metric.reset()
        self._metric.fill(features[~is_holdout], targets[~is_holdout])
        self._metric.update(features[is_holdout], targets[is_holdout])
        if predictions and self._device.is_main:
            self._write_predictions(predictions)
        return {f"probe_{name}": value for name, value in self._metric.compute().items()}

    def _write_predictions(self, path: Path) -> None:
        predicted = torch.cat(self._metric.predicted)
        rows = prediction_rows(self._dataset, self.images, predicted, self._is_holdout)
        write_csv(path, ["filename", "label", "predicted"], rows)


def open_probe(
    session: "Session",
    config: "PretrainConfig",
    dataset: Dataset,
    components: "Components",
    normalization: Mapping[str, Any],
) -> KNNProbe:
    """The probe of a run, with the images that it decodes."""
    images = session.image_cache(dataset, config)
    check_labels(images, dataset, config.probe or "probe")
    options = config.o.get("probe")
    metric = components.build("metrics", "knn", images.classes, part="probe", options=options)
    inputs = {"size": config.size, **normalization}
    return KNNProbe(metric, dataset, images, session.device, should_stop=session.should_stop, **inputs)


def probe_epochs(
    session: "Session", config: "PretrainConfig", method: "SSLMethod", probe: KNNProbe
) -> Callable[[int], dict[str, float]]:
    """What is measured at the end of each epoch: the probe's scores in every `probe_every`th and in the last."""

    def on_epoch_end(epoch: int) -> dict[str, float]:
        if epoch % config.probe_every and not session.stopping.is_last:
            return {}
        scores = probe(method.backbone, session.run_dir.folder / PROBE)
        for name, value in scores.items():
            session.progress.print_line(f"epoch {epoch}: {name} {value:.3f}")
        return scores

    return on_epoch_end


def measure_untrained(
    session: "Session", method: "SSLMethod", probe: KNNProbe, trained_on: ImageCache, init: str | None
) -> None:
    """Say what the probe measures, and its score before training, from random weights or those of `init`."""
    session.device.to_device(method)
    shared = int(is_in(probe.images, trained_on).sum())
    also = f"; {shared} of them are trained on, without labels" if shared else ""
    session.progress.print_line(f"probe: {probe.description()}{also}")
    for name, value in probe(method.backbone, session.run_dir.folder / UNTRAINED).items():
        session.progress.print_line(f"{'before training' if init else 'untrained'}: {name} {value:.3f}")
