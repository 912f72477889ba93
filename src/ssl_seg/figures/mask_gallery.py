"""From the watched images of segmentation runs to a gallery, and a list of what is missing in it."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE
from ssl_seg.data.mask_files import reduce_mask
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.figures.gallery_drawing import Colour, Tile, draw_gallery
from ssl_seg.figures.masks import nothing, paint
from ssl_seg.results.mask_snapshots import epochs_to_watch
from ssl_seg.utils.text import shown
from ssl_seg.utils.toml import read_toml

if TYPE_CHECKING:
    from ssl_seg.results.mask_snapshots import Watched

T = TypeVar("T")

_MOST = 40  # rows
_SIDE = 640  # pixels of a tile
_CLASSES = 24  # in the legend; of more, only those that can be seen


class Gallery:
    """What `draw_gallery` draws of runs with the same classes.

    Args:
        runs: by title.
        wanted: names of images, as `0013`; all of them if there are none.

    Attributes:
        titles, rows: see `draw_gallery`.
        missing: what could not be shown, one line each.

    Raises:
        UsageError: an image that is not watched.
    """

    def __init__(self, runs: dict[str, "Watched"], wanted: Sequence[str] = ()) -> None:
        self.runs, self.missing = runs, list[str]()
        self._seen: set[int] = set()
        self._first = next(iter(runs.values()))
        self._alone = len(runs) == 1
        self._columns = [
            (title, epoch)
            for title, run in runs.items()
            for epoch in (run.epochs if self._alone else run.epochs[-1:])
        ]
        self.titles = ["image", "target"]
        for title, epoch in self._columns:
            self.titles.append(f"epoch {epoch}" if self._alone else f"{title}, epoch {epoch}")
        for title, run in runs.items():
            self.missing += [f"{title}: epoch {epoch} (not reached)" for epoch in _not_kept(run)]
        names = self._chosen(wanted)
        self.rows = [(self._first.title(name), self._tiles(name)) for name in names[:_MOST]]
        if len(names) > _MOST:
            rest = f"{len(names) - _MOST} of {len(names)} images"
            self.missing.append(f"{rest} not shown; select images with --images")

    def save(self, stem: Path) -> list[Path]:
        """Write the figure as `stem`.png and `stem`.svg."""
        from ssl_seg.figures.style import drawing, save

        if stem.suffix in (".png", ".svg"):
            stem = stem.with_suffix("")
        with drawing():
            return save(draw_gallery(self.rows, self.titles, self.legend(), self.note()), stem)

    def legend(self) -> list[tuple[str, Colour]]:
        """Classes and their colours; of very many, those that can be seen."""
        palette = self._first.palette
        excluded = set().union(*(run.palette.exclude for run in self.runs.values()))
        entries = [
            (f"{name} (excluded)" if name in excluded else name, colour)
            for index, (name, colour) in enumerate(zip(palette.names, palette.colours, strict=True))
            if len(palette.names) <= _CLASSES or index in self._seen
        ]
        grey = nothing(palette.array)
        return entries + ([("unlabeled", (grey, grey, grey))] if IGNORE in self._seen else [])

    def note(self) -> str:
        """What the numbers mean."""
        rule = "Per-image IoU: mean over classes in the target or the prediction"
        excluded = {shown(", ".join(run.palette.exclude)) for run in self.runs.values()} - {""}
        left_out = f", excluded classes omitted ({'; '.join(sorted(excluded))})" if excluded else ""
        lenient = any(run.lenient for run in self.runs.values())
        pixels = "; pixels of excluded classes are ignored" if excluded and lenient else ""
        return f"{rule}{left_out}{pixels}. The run's mean IoU is computed from pixel counts summed over all images."

    def _chosen(self, wanted: Sequence[str]) -> list[str]:
        """Names of masks, by what people call the images."""
        known = {run.title(name): name for run in self.runs.values() for name in run.names}
        known = {title.rpartition("/")[2]: name for title, name in known.items()} | known
        for name in wanted:
            if name not in known:
                raise UsageError(f"no saved masks of image {name!r}{did_you_mean(name, known)}")
        return [known[name] for name in wanted] or sorted(set(known.values()))

    def _tiles(self, name: str) -> list[Tile]:
        """Image and label of the first run that has them, then each prediction."""
        labels = {
            title: self._try(f"{title}: target of {run.title(name)}", partial(run.label, name))
            for title, run in self.runs.items()
        }
        predictions = [self._said(name, title, epoch, labels[title]) for title, epoch in self._columns]
        return [self._image(name), self._label(labels), *predictions]

    def _image(self, name: str) -> Tile:
        for title, run in self.runs.items():
            what = f"{title}: image of {run.title(name)}"
            if (pixels := self._try(what, partial(run.image, name, _SIDE))) is not None:
                return Tile(pixels)
        return Tile(None, "no image")

    def _label(self, labels: dict[str, NDArray[np.uint8] | None]) -> Tile:
        for title, label in labels.items():
            if label is not None:
                return Tile(self._painted(label, title), exact=True)
        return Tile(None, "no target")

    def _said(self, name: str, title: str, epoch: int, label: NDArray[np.uint8] | None) -> Tile:
        run = self.runs[title]
        what = f"{title}: epoch {epoch} of {run.title(name)}"
        said = self._try(what, partial(run.said, epoch, name))
        if said is None:
            return Tile(None, "no prediction")
        iou = None if label is None else self._try(f"{what}: IoU", partial(run.iou, said, label))
        caption = "" if iou is None else "n/a" if math.isnan(iou) else f"IoU {iou:.3f}"
        return Tile(self._painted(said, title), caption, exact=True)

    def _painted(self, mask: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
        """In colours, and no larger than can be shown."""
        self._seen.update(np.unique(mask).tolist())
        share = min(1.0, _SIDE / max(mask.shape))
        height, width = (max(1, round(side * share)) for side in mask.shape)
        return paint(reduce_mask(mask, height, width), self.runs[title].palette.array)

    def _try(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ValueError as error:
            self.missing.append(what if str(error) == "missing" else f"{what}: {error}")
            return None


def _not_kept(run: "Watched") -> list[int]:
    """Epochs whose masks the run was to keep and has not, or not yet."""
    path = run.folder / "run.toml"
    given = read_toml(path) if path.is_file() else {}
    if not isinstance(given.get("epochs"), int):
        return []
    planned = epochs_to_watch(str(given.get("watch_epochs", "")), given["epochs"])
    return sorted(planned.difference(run.epochs))
