"""A segmentation model on its validation images."""

import json
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_seg.distributed.collectives import total
from ssl_seg.engine.inference import evaluating
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.figures.masks import save_image, save_mask
from ssl_seg.results.mask_snapshots import epochs_to_watch, folder_of
from ssl_seg.tasks.segmentation import whole_images
from ssl_seg.utils.files import atomic_file, replace_text
from ssl_seg.utils.outputs import output_path, output_paths
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.mask_metadata import class_table, mask_names
from ssl_seg.workflows.metric_collection import Further
from ssl_seg.workflows.validator import Judge, write_csv

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.workflows.segment import Segmentation

_SIZES = 4


class MaskJudge(Judge):
    """Mean IoU on whole images; keeps the masks of those that are watched.

    Args:
        run, model, dataset, store: see `Judge`.

    Raises:
        UsageError: no image of a name to watch, or the network takes no images of their size.
    """

    score = "miou"
    run: "Segmentation"

    def __init__(self, run: "Segmentation", model: "Model", dataset: "Dataset", store: "Store") -> None:
        metric = run.plugins.registry.build("metrics", run.metric, store.classes, options=run.metric_options)
        if run.further and run.device.ranks > 1:
            raise UsageError(
                "--metric for pixels is measured in one process", next=f"ssl-seg predict {run.run.folder}"
            )
        further = Further(run.plugins.registry, run.further, store.classes, pixels=True)
        super().__init__(run, model, dataset, store, metric, further)
        self._watched = self._rows_of(run.given["watch"])
        self._epochs = epochs_to_watch(run.given["watch_epochs"], run.given["epochs"])
        self._check_outputs()
        self._confusions = torch.empty(0)
        self._try_sizes()
        if self._watched and run.device.is_main and not run.run.resume:
            about = {"classes": store.classes, **run.about_data}
            replace_text(
                run.run.folder / "masks.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n"
            )

    def _rows_of(self, names: str) -> dict[int, str]:
        """Row of the store -> file name of the mask."""
        rows = self.store.rows.tolist()
        files = {row: self.dataset.samples[row][0] for row in rows}
        masks = dict(enumerate(mask_names(self.dataset, range(len(self.dataset)), self.run.about_data)))
        suffix = self.run.about_data["image_suffix"]
        by_name: dict[str, int] = {}
        for place, row in enumerate(rows):
            path = PurePath(files[row])
            for name in (files[row], path.name, path.stem, path.stem.removesuffix(suffix)):
                by_name.setdefault(name, place)
        watched = {}
        for name in names_in(names):
            if name not in by_name:
                hint = did_you_mean(name, by_name)
                raise UsageError(f"no validation image {name!r} to watch{hint}", where=self.run.given["val"])
            watched[by_name[name]] = masks[rows[by_name[name]]]
        return watched

    def _check_outputs(self) -> None:
        """Ask now whether the masks can be kept, not after an epoch of training."""
        names = list(self._watched.values())
        for kind in ("labels", "images", *map(folder_of, self._epochs)):
            output_paths(self.run.run.folder, [f"masks/{kind}/{name}" for name in names], names)

    @torch.no_grad()
    def _try_sizes(self) -> None:
        """Ask the network now whether it takes whole images, not after an epoch of training."""
        sizes = self.store.sizes.unique(dim=0)[:_SIZES].tolist()
        with evaluating(self.model), self.run.device.autocast():
            for height, width in sizes:
                self.model(torch.zeros(1, 3, height, width, device=self.run.device.device))

    def look(self, epoch: int) -> dict[str, float]:
        """See `Judge`; nothing in epochs that are passed over."""
        given = self.run.given
        if epoch % given["val_every"] and epoch != given["epochs"] and epoch not in self._epochs:
            return {}
        return super().look(epoch)

    def measure(self, epoch: int) -> bool:
        run, store, count = self.run, self.store, len(self.store.classes)
        where, watched = run.device.device, list(self._watched if epoch in self._epochs else ())
        self._confusions = torch.zeros(len(store), count, count + 1, dtype=torch.int64, device=where)
        tall, wide = store.sizes.amax(dim=0).tolist()
        kept = torch.zeros(len(watched), tall, wide, dtype=torch.uint8, device=where)
        how: dict[str, Any] = {"stopped": lambda: bool(run.stop.signal), **run.how}
        for logits, batch in whole_images(self.model, store, run.device, **how):
            assert batch.masks is not None
            said = logits.argmax(dim=1)
            self.further.update(logits, batch.masks)
            for place, row in enumerate(batch.samples.tolist()):
                self.metric.reset()
                self.metric.update(said[place : place + 1], batch.masks[place : place + 1])
                self._confusions[row] = self.metric.confusion  # type: ignore[attr-defined]
                if row in watched:
                    height, width = said.shape[1:]
                    kept[watched.index(row), :height, :width] = said[place]
        # each image is in one process alone; the main one writes
        self.metric.confusion = total(self._confusions).sum(dim=0)  # type: ignore[attr-defined]
        kept = total(kept)
        if run.stopped():
            return False
        if run.device.is_main:
            self._keep(epoch, dict(zip(watched, kept.cpu().numpy(), strict=True)))
        return True

    def _keep(self, epoch: int, said: dict[int, NDArray[np.uint8]]) -> None:
        store, folder, colours = self.store, self.run.run.folder, self.run.colours
        for row, mask in said.items():
            height, width = store.sizes[row].tolist()
            (image,), (label,) = store.at(torch.tensor([row]))
            name, true = self._watched[row], label[:height, :width].numpy()
            said_here = output_path(folder, f"masks/{folder_of(epoch)}/{name}")
            save_mask(said_here, mask[:height, :width], colours)
            save_mask(output_path(folder, f"masks/labels/{name}"), true, colours)
            image = image[:, :height, :width].permute(1, 2, 0)
            save_image(output_path(folder, f"masks/images/{name}"), image.contiguous().numpy())

    def details(self) -> None:
        """`confusion.csv`, and `val_confusions.npz` with one matrix per image."""
        folder, names = self.run.run.folder, list(self.store.classes)
        confusions = self._confusions.cpu().numpy()
        rows = [[name, *line] for name, line in zip(names, confusions.sum(axis=0).tolist(), strict=True)]
        write_csv(folder / "confusion.csv", ["true \\ predicted", *names, "no class"], rows)
        files = [self.dataset.samples[row][0] for row in self.store.rows.tolist()]
        with atomic_file(folder / "val_confusions.npz") as file:
            np.savez_compressed(
                file,
                confusions=confusions,
                filenames=np.array(files),
                classes=np.array(names),
                exclude=np.array(self.run.about_data["exclude"], dtype=str),
            )

    def table(self, result: dict[str, Any]) -> list[str]:
        last, best = result["last"], result["best"]
        lines = class_table(self.store.classes, last)
        for name, line in (("last", last), ("best", best)):
            lines.append(
                f"{name} epoch {line['epoch']}: mean IoU {line['miou']:.4f}, "
                f"pixel accuracy {line['pixel_accuracy']:.4f}"
            )
        return lines
