"""Features of training images, kept after the first, the middle and the last epoch, for t-SNE."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_seg.augment.views import eval_view
from ssl_seg.data.bands import as_rgb
from ssl_seg.data.loader import sequential_batches
from ssl_seg.engine.inference import gather_outputs, run_inference
from ssl_seg.nn.layers import global_pool
from ssl_seg.utils.files import atomic_file

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.run_dir import Run

THUMBNAIL = 32  # pixels
COLUMNS = 64  # thumbnails in a row of the sheet


class FeatureSnapshotWriter:
    """Keeps the inputs of the last layer of the head for some training images, always the same ones.

    Of a frozen backbone it is what the head is given.

    In the run's folder: `features/epoch-0001.npz` with `features` (N, C), `targets`, `filenames` and
    `classes`, and `features/thumbnails.jpg`, a sheet of the images in that order.

    Args:
        model: on the device.
        dataset, images: training images.
        count: how many are kept at most; they are evenly spaced.
        epochs: after which features are kept, from 1.
        is_last: whether an epoch is the run's last, after which features are kept too.
        trained: whether the backbone is; see `penultimate_features`.
        device, normalization, image_size: how images go through the model.
        should_stop: whether a signal has come to this process.
        run_dir: gets the files.
    """

    def __init__(
        self,
        model: "Model",
        dataset: "Dataset",
        images: "ImageCache",
        count: int,
        *,
        epochs: Collection[int],
        is_last: Callable[[], bool],
        trained: bool,
        device: "Device",
        normalization: Mapping[str, Any],
        image_size: int,
        should_stop: Callable[[], bool],
        run_dir: "Run",
    ) -> None:
        self._model, self._dataset, self._images = model, dataset, images
        self._indices = torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()
        self._epochs, self._is_last, self._trained = set(epochs), is_last, trained
        self._device, self._should_stop, self._run_dir = device, should_stop, run_dir
        self._inputs = {"size": image_size, "stopped": should_stop, **normalization}

    def on_epoch_end(self, epoch: int) -> None:
        """Keep the features, if it is time to."""
        is_due = len(self._indices) and (epoch in self._epochs or self._is_last())
        if not is_due or self._stops():
            return
        features = penultimate_features(
            self._model, self._images, self._indices, self._device, trained=self._trained, **self._inputs
        )
        if self._stops() or not self._device.is_main:
            return
        folder = self._run_dir.folder / "features"
        names = [
            self._dataset.samples[index][0] for index in self._images.sample_indices[self._indices].tolist()
        ]
        with atomic_file(folder / f"epoch-{epoch:04d}.npz") as file:
            np.savez_compressed(
                file,
                features=features.cpu().numpy(),
                targets=self._images.targets[self._indices].numpy(),
                filenames=np.array(names),
                classes=np.array(self._images.classes),
            )
        if not (folder / "thumbnails.jpg").exists():
            with atomic_file(folder / "thumbnails.jpg") as file:
                Image.fromarray(self._thumbnail_sheet()).save(file, format="JPEG", quality=85)

    def _stops(self) -> bool:
        """Whether a signal has come to any process. All of them must ask."""
        return self._device.all_reduce_max(self._should_stop())[0] > 0

    def _thumbnail_sheet(self) -> np.ndarray:
        count = len(self._indices)
        height = -(-count // COLUMNS) * THUMBNAIL
        sheet = np.zeros((height, min(count, COLUMNS) * THUMBNAIL, 3), dtype=np.uint8)
        channels = self._images.channels
        plain = {"size": THUMBNAIL, "mean": (0.0,) * channels, "std": (1.0,) * channels}
        index = 0
        for batch in sequential_batches(self._images, 256, torch.device("cpu"), self._indices):
            views = eval_view(batch.images, batch.sizes, **plain)  # type: ignore[arg-type]
            for view in (as_rgb(views).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy():
                y, x = index // COLUMNS * THUMBNAIL, index % COLUMNS * THUMBNAIL
                sheet[y : y + THUMBNAIL, x : x + THUMBNAIL] = view
                index += 1
        return sheet


@torch.no_grad()
def penultimate_features(
    model: "Model", images: "ImageCache", indices: Tensor, device: "Device", *, trained: bool, **inputs: Any
) -> Tensor:
    """(N, C) float32 inputs of the last layer of a model's head; see `_LastLayerInput`.

    Args:
        indices: of the images.
        trained: whether the backbone is. A frozen one's features are those before the head: what a head makes of
            them (its BatchNorm, a hidden layer) would be shown as if the backbone had learnt it.
        inputs: see `run_inference`.
    """
    with _LastLayerInput(model, head=trained) as hooked:
        features = [hooked.features() for _ in run_inference(model, images, device, rows=indices, **inputs)]
    return gather_outputs(features, len(indices), device)


class _LastLayerInput:
    """The input of the last layer of the head: the last linear one, or else the last that has parameters.

    Without `head`, where it has neither, or does not give it one row an image, it is the backbone's pooled
    features.
    """

    def __init__(self, model: "Model", *, head: bool) -> None:
        own = [
            part for part in model.head.modules() if next(part.parameters(recurse=False), None) is not None
        ]
        last = [*own, *(part for part in own if isinstance(part, nn.Linear))][-1:] if head else []
        self._features: Tensor | None = None
        self._hooks = [model.backbone.register_forward_hook(self._backbone)]
        self._hooks += [layer.register_forward_pre_hook(self._layer) for layer in last]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def features(self) -> Tensor:
        """(B, C) float32, of the newest batch."""
        assert self._features is not None
        return self._features

    def _backbone(self, _: nn.Module, __: Any, maps: list[Tensor]) -> None:
        self._features = global_pool(maps).float()

    def _layer(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert self._features is not None
        first = inputs[0] if inputs else None
        if isinstance(first, Tensor) and first.ndim > 1 and len(first) == len(self._features):
            # (B, C), (B, C, H, W) or, of tokens, (B, N, C)
            space = {2: (), 3: (1,)}.get(first.ndim, tuple(range(2, first.ndim)))
            self._features = first.float().mean(dim=space) if space else first.float()
