"""From the watched images of segmentation runs to a gallery, and a list of what is missing in it."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.figures.gallery_drawing import Color, Tile, draw_gallery
from ssl_seg.figures.masks import colorize_mask, ignore_color
from ssl_seg.results.mask_snapshots import snapshot_epochs
from ssl_seg.results.planned_epochs import epochs_of
from ssl_seg.utils.text import shown
from ssl_seg.utils.toml import read_toml

if TYPE_CHECKING:
    from ssl_seg.results.mask_snapshots import MaskSnapshots

T = TypeVar("T")

_MAX_ROWS = 40  # rows
_SIDE = 640  # pixels of a tile
_CLASSES = 24  # in the legend; of more, only those that can be seen


class MaskGallery:
    """What `draw_gallery` draws of runs with the same classes.

    Args:
        runs: by title.
        requested: names of images, as `0013`; all of them if there are none.

    Attributes:
        titles, rows: see `draw_gallery`.
        missing: what could not be shown, one line each.

    Raises:
        UsageError: an image that is not watched.
    """

    def __init__(self, runs: dict[str, "MaskSnapshots"], requested: Sequence[str] = ()) -> None:
        self.runs, self.missing = runs, list[str]()
        self._seen: set[int] = set()
        self._first = next(iter(runs.values()))
        self._single_run = len(runs) == 1
        self._columns = [
            (title, epoch)
            for title, run in runs.items()
            for epoch in (run.epochs if self._single_run else run.epochs[-1:])
        ]
        self.titles = ["image", "target"]
        for title, epoch in self._columns:
            self.titles.append(f"epoch {epoch}" if self._single_run else f"{title}, epoch {epoch}")
        for title, run in runs.items():
            self.missing += [f"{title}: epoch {epoch} (not reached)" for epoch in _missing_epochs(run)]
        names = self._select(requested)
        self.rows = [(self._first.title(name), self._row_tiles(name)) for name in names[:_MAX_ROWS]]
        if len(names) > _MAX_ROWS:
            rest = f"{len(names) - _MAX_ROWS} of {len(names)} images"
            self.missing.append(f"{rest} not shown; select images with --images")

    def save(self, stem: Path) -> list[Path]:
        """Write the figure as `stem`.png and `stem`.svg."""
        from ssl_seg.figures.style import figure_style, save

        if stem.suffix in (".png", ".svg"):
            stem = stem.with_suffix("")
        with figure_style():
            return save(draw_gallery(self.rows, self.titles, self.legend(), self.note()), stem)

    def legend(self) -> list[tuple[str, Color]]:
        """Classes and their colours; of very many, those that can be seen."""
        palette = self._first.palette
        excluded = set().union(*(run.palette.exclude for run in self.runs.values()))
        entries = [
            (f"{name} (excluded)" if name in excluded else name, colour)
            for index, (name, colour) in enumerate(zip(palette.names, palette.colours, strict=True))
            if len(palette.names) <= _CLASSES or index in self._seen
        ]
        gray = ignore_color(palette.array)
        return entries + ([("unlabeled", (gray, gray, gray))] if IGNORE_INDEX in self._seen else [])

    def note(self) -> str:
        """What the numbers mean."""
        rule = "Per-image IoU: mean over classes in the target or the prediction"
        excluded = {shown(", ".join(run.palette.exclude)) for run in self.runs.values()} - {""}
        left_out = f", excluded classes omitted ({'; '.join(sorted(excluded))})" if excluded else ""
        ignore_excluded = any(run.ignore_excluded for run in self.runs.values())
        pixels = "; pixels of excluded classes are ignored" if excluded and ignore_excluded else ""
        return f"{rule}{left_out}{pixels}. The run's mean IoU is computed from pixel counts summed over all images."

    def _select(self, requested: Sequence[str]) -> list[str]:
        """Names of masks, by what people call the images."""
        known = {run.title(name): name for run in self.runs.values() for name in run.names}
        known = {title.rpartition("/")[2]: name for title, name in known.items()} | known
        for name in requested:
            if name not in known:
                raise UsageError(f"no saved masks of image {name!r}{did_you_mean(name, known)}")
        return [known[name] for name in requested] or sorted(set(known.values()))

    def _row_tiles(self, name: str) -> list[Tile]:
        """Image and label of the first run that has them, then each prediction."""
        targets = {
            title: self._read(f"{title}: target of {run.title(name)}", partial(run.target, name))
            for title, run in self.runs.items()
        }
        predictions = [
            self._prediction_tile(name, title, epoch, targets[title]) for title, epoch in self._columns
        ]
        return [self._image_tile(name), self._target_tile(targets), *predictions]

    def _image_tile(self, name: str) -> Tile:
        for title, run in self.runs.items():
            what = f"{title}: image of {run.title(name)}"
            if (pixels := self._read(what, partial(run.image, name, _SIDE))) is not None:
                return Tile(pixels)
        return Tile(None, "no image")

    def _target_tile(self, targets: dict[str, NDArray[np.uint8] | None]) -> Tile:
        for title, target in targets.items():
            if target is not None:
                return Tile(self._colorize(target, title), nearest=True)
        return Tile(None, "no target")

    def _prediction_tile(self, name: str, title: str, epoch: int, target: NDArray[np.uint8] | None) -> Tile:
        run = self.runs[title]
        what = f"{title}: epoch {epoch} of {run.title(name)}"
        prediction = self._read(what, partial(run.prediction, epoch, name))
        if prediction is None:
            return Tile(None, "no prediction")
        iou = None if target is None else self._read(f"{what}: IoU", partial(run.iou, prediction, target))
        caption = "" if iou is None else "n/a" if math.isnan(iou) else f"IoU {iou:.3f}"
        return Tile(self._colorize(prediction, title), caption, nearest=True)

    def _colorize(self, mask: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
        """In colours, and no larger than can be shown."""
        self._seen.update(np.unique(mask).tolist())
        scale = min(1.0, _SIDE / max(mask.shape))
        height, width = (max(1, round(side * scale)) for side in mask.shape)
        return colorize_mask(downsample_mask(mask, height, width), self.runs[title].palette.array)

    def _read(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except ValueError as error:
            self.missing.append(what if str(error) == "missing" else f"{what}: {error}")
            return None


def _missing_epochs(run: "MaskSnapshots") -> list[int]:
    """Epochs whose masks the run was to keep and has not, or not yet."""
    path = run.folder / "run.toml"
    config = read_toml(path) if path.is_file() else {}
    if not (epochs := epochs_of(config)):
        return []
    planned = snapshot_epochs(str(config.get("watch_epochs", "")), epochs)
    return sorted(planned.difference(run.epochs))
