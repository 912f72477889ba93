"""What a run keeps on the way, for pictures: features of training images at the first and the last epoch."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ssl_seg.augment.views import evaluation_view
from ssl_seg.data.loader import in_order
from ssl_seg.engine.inference import joined, outputs
from ssl_seg.nn.layers import pool
from ssl_seg.utils.files import atomic_file

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.data.image_cache import Store
    from ssl_seg.workflows.finetune import Finetuning

THUMBNAIL = 32  # pixels
COLUMNS = 64  # thumbnails in a row of the sheet


class FeatureKeeper:
    """Keeps what the last layer of the head sees of training images, always the same ones.

    Of a frozen backbone it is what the head sees.

    In the run's folder: `features/epoch-0001.npz` with `features` (N, C), `targets`, `filenames` and
    `classes`, and `features/thumbnails.jpg`, a sheet of the images in that order.

    Args:
        run: whose model it is.
        model: is looked at.
        dataset, store: training images.
        count: how many are kept at most; they are evenly spaced.
    """

    def __init__(
        self, run: "Finetuning", model: "Model", dataset: "Dataset", store: "Store", count: int
    ) -> None:
        self._run, self._model, self._dataset, self._store = run, model, dataset, store
        self._rows = torch.linspace(0, len(store) - 1, min(count, len(store))).round().long()
        self._epochs = {1, run.given["epochs"]} if count else set()

    def look(self, epoch: int) -> None:
        """Keep the features, if it is time to."""
        run = self._run
        if epoch not in self._epochs or run.stopped():
            return
        features = penultimate(self._model, run, self._store, self._rows, trained=not run.given["freeze"])
        if run.stopped() or not run.device.is_main:
            return
        folder = run.run.folder / "features"
        names = [self._dataset.samples[row][0] for row in self._store.rows[self._rows].tolist()]
        with atomic_file(folder / f"epoch-{epoch:04d}.npz") as file:
            np.savez_compressed(
                file,
                features=features.cpu().numpy(),
                targets=self._store.targets[self._rows].numpy(),
                filenames=np.array(names),
                classes=np.array(self._store.classes),
            )
        if not (folder / "thumbnails.jpg").exists():
            with atomic_file(folder / "thumbnails.jpg") as file:
                Image.fromarray(self._sheet()).save(file, format="JPEG", quality=85)

    def _sheet(self) -> np.ndarray:
        count = len(self._rows)
        height = -(-count // COLUMNS) * THUMBNAIL
        sheet = np.zeros((height, min(count, COLUMNS) * THUMBNAIL, 3), dtype=np.uint8)
        plain = {"size": THUMBNAIL, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        place = 0
        for batch in in_order(self._store, 256, torch.device("cpu"), self._rows):
            views = evaluation_view(batch.images, batch.sizes, **plain)  # type: ignore[arg-type]
            for view in (views.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy():
                y, x = place // COLUMNS * THUMBNAIL, place % COLUMNS * THUMBNAIL
                sheet[y : y + THUMBNAIL, x : x + THUMBNAIL] = view
                place += 1
        return sheet


@torch.no_grad()
def penultimate(model: "Model", run: "Finetuning", store: "Store", rows: Tensor, *, trained: bool) -> Tensor:
    """(N, C) float32 inputs of the last layer of a model's head; see `_Listener`.

    Args:
        trained: whether the backbone is. A frozen one's features are those before the head: what a head makes of
            them (its BatchNorm, a hidden layer) would be shown as if the backbone had learnt it.
    """
    how = {"stopped": lambda: bool(run.stop.signal), **run.how}
    with _Listener(model, head=trained) as heard:
        kept = [heard.features() for _ in outputs(model, store, run.device, size=run.size, rows=rows, **how)]
    return joined(kept, len(rows), run.device)


class _Listener:
    """What the last layer of the head is given: the last linear one, or else the last that has parameters.

    Without `head`, where it has neither, or does not give it one row an image, it is the backbone's pooled
    features.
    """

    def __init__(self, model: "Model", *, head: bool) -> None:
        own = [
            part for part in model.head.modules() if next(part.parameters(recurse=False), None) is not None
        ]
        last = [*own, *(part for part in own if isinstance(part, nn.Linear))][-1:] if head else []
        self._rows: Tensor | None = None
        self._hooks = [model.backbone.register_forward_hook(self._backbone)]
        self._hooks += [layer.register_forward_pre_hook(self._layer) for layer in last]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def features(self) -> Tensor:
        """(B, C) float32, of the newest batch."""
        assert self._rows is not None
        return self._rows

    def _backbone(self, _: nn.Module, __: Any, maps: list[Tensor]) -> None:
        self._rows = pool(maps).float()

    def _layer(self, _: nn.Module, given: tuple[Any, ...]) -> None:
        assert self._rows is not None
        found = given[0] if given else None
        if isinstance(found, Tensor) and found.ndim > 1 and len(found) == len(self._rows):
            # (B, C), (B, C, H, W) or, of tokens, (B, N, C)
            places = {2: (), 3: (1,)}.get(found.ndim, tuple(range(2, found.ndim)))
            self._rows = found.float().mean(dim=places) if places else found.float()
