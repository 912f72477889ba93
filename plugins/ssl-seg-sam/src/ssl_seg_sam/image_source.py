"""The images of a folder, by name, with their labels where there are any."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl_seg.data.canvases import WHOLE
from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.utils.outputs import names_below
from ssl_seg.utils.text import shown
from ssl_seg.workflows.inference import files_of
from ssl_seg_sam.agreement import rows_of

if TYPE_CHECKING:
    from ssl_seg.base import Dataset

_SHOWN = 8


class ImageSource:
    """Images by name.

    Attributes:
        files: their names in the data.
        names: the same, relative to one folder that holds them all.
        inputs: the files themselves.
        suffix: what follows the short name of an image in its file's, as `_sat`.
        classes: of the labels; none without labels.
        exclude: those that do not count.
    """

    files: Sequence[str]
    names: Sequence[str]
    inputs: Sequence[Path] = ()
    suffix = ""
    classes: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def image(self, row: int) -> NDArray[np.uint8]:
        """The (H, W, 3) image.

        Raises:
            DataError: it cannot be read.
        """
        raise NotImplementedError

    def label(self, row: int) -> NDArray[np.uint8]:
        """The class of every pixel, 255 where there is none.

        Raises:
            ValueError: there is none, or it cannot be read; the text says why.
        """
        raise ValueError("no label map")

    @property
    def scored_classes(self) -> NDArray[np.bool_]:
        """(C,) which classes count."""
        return np.array([name not in self.exclude for name in self.classes], dtype=bool)

    def find(self, names: Sequence[str], where: str) -> list[int]:
        """The rows of images by name: the file's, with or without its folders, ending and suffix.

        Raises:
            UsageError: no image of a name, or several.
        """
        known, rows = rows_of(self.files, self.suffix), []
        for name in names:
            found = known.get(name, [])
            if not found:
                raise UsageError(f"no image {name!r}{did_you_mean(name, known)}", where=where)
            if len(found) > 1:
                files = ", ".join(shown(self.files[row]) for row in found[:_SHOWN])
                raise UsageError(f"{len(found)} images match {name!r}", where=files)
            rows.append(found[0])
        return list(dict.fromkeys(rows))

    def short(self, row: int) -> str:
        """`a/0013_sat.jpg` -> `a/0013`: what is written for an image begins so."""
        path = PurePath(self.names[row])
        return str(path.with_name(path.stem.removesuffix(self.suffix) or path.stem))


class DatasetImages(ImageSource):
    """Images of a data set of ssl-seg, with its masks as labels if it has any."""

    def __init__(self, dataset: "Dataset", exclude: Sequence[str] | None = None) -> None:
        self._dataset = dataset
        self.files = [name for name, _ in dataset.samples]
        self.names = names_below(self.files, Path(getattr(dataset, "root", "")))
        self.inputs = list(files_of(dataset))
        self.suffix = getattr(dataset, "image_suffix", "")
        if dataset.masks:
            self.classes = list(dataset.classes)
            self.exclude = getattr(dataset, "exclude", []) if exclude is None else exclude

    def image(self, row: int) -> NDArray[np.uint8]:
        try:
            return self._dataset.image(row, WHOLE)[0]
        except ValueError as error:
            raise DataError(f"cannot read {self.files[row]!r}: {error}") from error

    def label(self, row: int) -> NDArray[np.uint8]:
        if not self.classes:
            return super().label(row)
        return self._dataset.mask(row, WHOLE)


def folder_source(spec: str, options: Mapping[str, str]) -> ImageSource:
    """The images of a folder or `FORMAT:PATH`; if there are masks beside them, as labels.

    Raises:
        UsageError, DataError: see `ssl_seg.workflows.data.open_dataset`.
    """
    return DatasetImages(open_images(spec, options, masks=_has_masks(spec, options)))


def _has_masks(spec: str, options: Mapping[str, str]) -> bool:
    """Whether a folder says that it has masks, by an option or a file name; a format says it itself."""
    from ssl_seg.data.files import find_images

    folder = Path(spec).expanduser()
    if not folder.is_dir():
        return False
    return bool(options) or any(PurePath(name).stem.endswith("_mask") for name in find_images(folder))


def open_images(spec: str, options: Mapping[str, str], *, masks: bool, palette: str = "") -> "Dataset":
    """The validation images that `spec` names; with `masks` those of a folder have masks.

    Args:
        palette: how masks are read where neither an option nor a file says it.
    """
    from ssl_seg.plugins import load_plugins
    from ssl_seg.workflows.data import open_dataset

    registry = load_plugins().registry
    return open_dataset(registry, spec, split="val", masks=masks, palette=palette, options=options)
