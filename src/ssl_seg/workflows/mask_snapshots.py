"""Predicted masks of some validation images, kept after some epochs: `--watch` and `--watch-epochs`."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_seg.data.bands import as_rgb
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.figures.masks import save_image, save_mask
from ssl_seg.results.mask_snapshots import EXTREMES, epoch_dir
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import output_path, output_paths
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.mask_metadata import mask_names

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.run_dir import Run


class PredictedMasks:
    """The masks of one epoch, on the device.

    Attributes:
        epoch: from 1.
        indices: of the images in the cache.
        pixels: (len(indices), H, W) uint8 classes; each mask lies in the upper left corner.
    """

    def __init__(self, epoch: int, indices: list[int], size: tuple[int, int], device: torch.device) -> None:
        self.epoch, self.indices = epoch, indices
        self.pixels = torch.zeros(len(indices), *size, dtype=torch.uint8, device=device)

    def add(self, index: int, mask: Tensor) -> None:
        """Take in the (H, W) mask of an image, if it is one of those that are kept."""
        if index in self.indices:
            height, width = mask.shape
            self.pixels[self.indices.index(index), :height, :width] = mask


class MaskSnapshotWriter:
    """Writes predicted and true masks of some images into `masks/` of a run, and `masks.json` beside it.

    Args:
        run_dir: of the run.
        dataset, images: validation images.
        metadata: of the masks; see `metadata_of_masks`.
        names: of the images, with commas between them.
        epochs: after which masks are kept.
        where: what the names are of, for an error.
        is_last: whether an epoch is the run's last, after which masks are kept too.

    Raises:
        UsageError: no image has such a name.
    """

    def __init__(
        self,
        run_dir: "Run",
        dataset: "Dataset",
        images: "ImageCache",
        metadata: dict[str, Any],
        names: str,
        epochs: Collection[int],
        *,
        where: str,
        is_last: Callable[[], bool] = lambda: False,
    ) -> None:
        self.epochs, self._is_last = epochs, is_last
        self._run_dir, self._images, self._metadata = run_dir, images, metadata
        self._dataset = dataset
        self._colors = np.array(metadata["colours"], dtype=np.uint8)
        self._files = self._find(dataset, split_names(names), where)
        self._check_outputs()

    def write_metadata(self) -> None:
        """Write `masks.json`, if any masks are kept."""
        if self._files:
            self._write_metadata("masks.json")

    def start(self, epoch: int, device: torch.device) -> PredictedMasks:
        """Room for the masks of an epoch."""
        height, width = self._images.sizes.amax(dim=0).tolist()
        indices = list(self._files) if epoch in self.epochs or self._is_last() else []
        return PredictedMasks(epoch, indices, (height, width), device)

    def write(self, masks: PredictedMasks) -> None:
        """Write the masks of an epoch, with the images and the true masks."""
        for index, mask in zip(masks.indices, masks.pixels.cpu().numpy(), strict=True):
            height, width = self._images.sizes[index].tolist()
            self._save("masks", self._files[index], index, epoch_dir(masks.epoch), mask[:height, :width])

    def write_extremes(self, predicted: Mapping[int, NDArray[np.uint8]], epoch: int) -> None:
        """Write the masks of a run's hardest and easiest images into `extremes/`, whether they are watched or not.

        Args:
            predicted: index in the image cache -> (h, w) classes, at the image's size on the canvas.
            epoch: whose model has predicted them.
        """
        rows = self._images.sample_indices.tolist()
        names = mask_names(self._dataset, [rows[index] for index in predicted], self._metadata)
        for (index, mask), name in zip(predicted.items(), names, strict=True):
            self._save(f"{EXTREMES}/masks", name, index, epoch_dir(epoch), mask)
        if predicted:
            self._write_metadata(f"{EXTREMES}/masks.json")

    def _save(self, parent: str, name: str, index: int, epoch: str, mask: NDArray[np.uint8]) -> None:
        """Write an image, its target and an (h, w) prediction."""
        folder = self._run_dir.folder
        height, width = mask.shape
        (image,), (target,) = self._images.at(torch.tensor([index]))
        save_mask(output_path(folder, f"{parent}/{epoch}/{name}"), mask, self._colors)
        target_pixels = target[:height, :width].numpy()
        save_mask(output_path(folder, f"{parent}/labels/{name}"), target_pixels, self._colors)
        pixels = as_rgb(image)[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
        save_image(output_path(folder, f"{parent}/images/{name}"), pixels)

    def _write_metadata(self, name: str) -> None:
        metadata = {"classes": self._images.classes, **self._metadata}
        text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
        atomic_write_text(output_path(self._run_dir.folder, name), text)

    def _find(self, dataset: "Dataset", names: list[str], where: str) -> dict[int, str]:
        """Index in the image cache -> file name of the mask."""
        rows = self._images.sample_indices.tolist()
        masks = mask_names(dataset, range(len(dataset)), self._metadata)
        suffix = self._metadata["image_suffix"]
        by_name: dict[str, int] = {}
        for index, row in enumerate(rows):
            path = PurePath(dataset.samples[row][0])
            for name in (dataset.samples[row][0], path.name, path.stem, path.stem.removesuffix(suffix)):
                by_name.setdefault(name, index)
        for name in names:
            if name not in by_name:
                hint = did_you_mean(name, by_name)
                raise UsageError(f"no validation image {name!r} to watch{hint}", where=where)
        return {by_name[name]: masks[rows[by_name[name]]] for name in names}

    def _check_outputs(self) -> None:
        """Ask now whether the masks can be kept, not after an epoch of training."""
        names = list(self._files.values())
        for kind in ("labels", "images", *map(epoch_dir, self.epochs)):
            output_paths(self._run_dir.folder, [f"masks/{kind}/{name}" for name in names], names)
