"""A k-NN accuracy on labelled images while a backbone is being trained."""

from typing import Any

import torch
from torch import Tensor

from ssl_seg.augment import stateless_rng as chance
from ssl_seg.base import Backbone
from ssl_seg.data.image_cache import Store
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.engine.signals import Stop
from ssl_seg.errors import DataError
from ssl_seg.workflows.overlap import tell_twins

HELD_BACK = 0.2


def split_of(targets: Tensor, share: float = HELD_BACK) -> Tensor:
    """(N,) bool: which images are held back, a share of every class, the same in every run."""
    draw = chance.uniform(0, 0, 0, torch.arange(len(targets)), 1)[0]
    held = torch.zeros(len(targets), dtype=torch.bool)
    for target in targets.unique():
        rows = (targets == target).nonzero()[:, 0]
        count = max(1, round(share * len(rows)))
        held[rows[draw[rows].argsort(stable=True)[:count]]] = True
    return held


class Probe:
    """Classifies a fifth of the images, held back, by their neighbours among the others.

    Args:
        metric: `knn`, new.
        store: labelled images.
        size: of an image in pixels.
    """

    def __init__(
        self,
        metric: Any,
        store: Store,
        device: Device,
        *,
        size: int,
        stop: Stop,
    ) -> None:
        self._metric = metric
        self._store, self._device, self._size, self._stop = store, device, size, stop
        self._held = split_of(store.targets)
        tell_twins(store, self._held)
        if int((~self._held).sum()) == 0:
            raise DataError("the probe needs at least two images of a class")

    def about(self) -> str:
        """What is classified, and how well the most frequent class alone would do."""
        asked = self._store.targets[self._held]
        chance = float(asked.bincount().max()) / len(asked)
        classes = len(self._store.classes)
        return f"{len(asked)} of {len(self._store)} images, {classes} classes, by chance {chance:.3f}"

    def __call__(self, backbone: Backbone) -> dict[str, float]:
        """`probe_knn`, in [0, 1]; nothing when a signal has come meanwhile."""
        how: dict[str, Any] = {"size": self._size, "stopped": lambda: bool(self._stop.signal)}
        features, targets = extract_features(backbone, self._store, self._device, **how)
        if self._stop.came(self._device):
            return {}
        held = self._held.to(features.device)
        self._metric.reset()
        self._metric.fill(features[~held], targets[~held])
        self._metric.update(features[held], targets[held])
        return {f"probe_{name}": value for name, value in self._metric.compute().items()}
