"""Masks of LabelMe annotations: a JSON file of shapes beside each image."""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.contained import index_mask
from ssl_seg.data.drawn_masks import Background, DrawnMasks, Legend, check_unique
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.levels import Range
from ssl_seg.data.mask_dataset import MaskDataset
from ssl_seg.data.rasters import Layer, Overlap, Shape, fill_polygons
from ssl_seg.data.splits import split_folder
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.log import log
from ssl_seg.utils.text import first_lines
from ssl_seg.utils.toml import read_json

_BACKGROUND, _IGNORE = "_background_", "__ignore__"  # names that LabelMe gives a meaning
_SPECIAL = (_BACKGROUND, _IGNORE)
_CORNERS = {"polygon": 3, "rectangle": 2, "circle": 2, "oriented_rectangle": 4, "mask": 2}


def labelme_masks(
    root: str,
    split: str,
    *,
    classes: Sequence[str] | None = None,
    map: str | None = None,
    default_palette: str | None = None,
    background: Background = "class",
    overlap: Overlap = "smaller",
    stray: Literal["stop", "ignore"] = "stop",
    unpaired: Literal["stop", "skip"] = "stop",
    splits: bool = True,
    range: Range = None,
    bands: str | None = None,
) -> MaskDataset:
    """Images whose masks are drawn from the shapes in the JSON files of LabelMe: `a.json` beside `a.jpg`.

    Polygons, rectangles, circles and pixel masks, which its AI tools make, are drawn. `_background_` is the background, and `__ignore__` is unlabeled.

    Args:
        root: the folder, or one that holds the folder `split`.
        split: `train`, `val` or `test`, which finds folders of these names in any spelling: `Training`, `valid`.
        classes: labels to use, in order. Default: all, in alphabetical order.
        map: labels to merge, rename, or ignore: `cat:animal,dog:animal`; see `apply_map`.
        default_palette: classes of the training masks, used if they hold the labels of the files.
        background: pixels in no shape: the class `background`, or unlabeled (`ignore`).
        overlap: of shapes that overlap, the `smaller` or the `last` is on top, or the pixels are unlabeled (`ignore`).
        stray: action for other shapes, such as lines, and other labels: `stop`, or leave them out (`ignore`).
        unpaired: action for images without a JSON file.
        splits: false: folders named after splits have no special meaning.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: no split that fits, an image without a file, or one that is no annotation.
    """
    folder = split_folder(expanded(root), split if splits else "")
    names = _annotated(folder, skip=unpaired == "skip")
    files = FileDataset(folder, ((str(Path(name).with_suffix(".json")), -1) for name in names))
    labels = {label for index, _ in enumerate(names) for label, *_ in _shapes(Path(files.file(index)))}
    found = [label for label in sorted(labels) if label not in _SPECIAL]
    options: Any = {"classes": classes, "map": map, "default": default_palette, "background": background}
    legend, leave_out = Legend(found, "the labels of LabelMe", **options), stray == "ignore"
    values = {label: legend.value(label, ignore_unknown=leave_out) for label in found}
    values |= {_BACKGROUND: legend.background, _IGNORE: IGNORE_INDEX}
    images = FileDataset(folder, ((name, -1) for name in names), range=range, bands=bands)

    def draw(index: int) -> tuple[Shape, list[Layer]]:
        shape, layers = images.size(index), []
        for label, kind, points, pixels in _shapes(Path(files.file(index))):
            value = values[label]
            if kind not in _CORNERS and not leave_out:
                raise ValueError(f"a {kind} has no area; -o data.stray=ignore leaves it out")
            if kind in _CORNERS and value is not None:
                layers.append(_layer(kind, points, pixels, shape, value))
        return shape, layers

    masks = DrawnMasks(draw, lambda index: files.samples[index][0], files.identity, legend, overlap, files)
    return MaskDataset(images, masks)


def _annotated(folder: Path, *, skip: bool) -> list[str]:
    """The images that have a JSON file."""
    names = list(find_images(folder))
    with_file = [name for name in names if (folder / name).with_suffix(".json").is_file()]
    if not with_file:
        raise DataError(f"no image in {folder} has a JSON file of its name", next=f"mask_pairs:{folder}")
    check_unique([str(Path(name).with_suffix("")) for name in with_file], str(folder))
    if lone := [name for name in names if name not in set(with_file)]:
        if not skip:
            where = f"{folder}: {first_lines(lone)}"
            raise DataError(
                f"an image has no JSON file: {len(lone)} in all", where=where, next="-o data.unpaired=skip"
            )
        log.warning("%d images without a JSON file are left out", len(lone))
    return with_file


def _shapes(path: Path) -> Iterator[tuple[str, str, Any, Any]]:
    """Label, kind, points and, of a `mask`, pixels of each shape."""
    try:
        for shape in read_json(path)["shapes"]:
            kind = str(shape.get("shape_type") or "polygon")
            yield str(shape["label"]), kind, shape["points"], shape.get("mask")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no annotation of LabelMe: {error!r}", next="coco_masks:FILE.json"
        ) from error


def _layer(kind: str, points: Any, pixels: object, shape: Shape, value: int) -> Layer:
    corners = np.array(points, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < _CORNERS[kind]:
        raise ValueError(f"a {kind} of {len(points)} points")
    if kind == "mask":
        return _pixels(pixels, corners, shape, value)
    if kind == "circle":
        (x, y), edge = corners[0], corners[1]
        radius = float(np.hypot(*(edge - corners[0])))
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        return Layer(value, 0, 0, (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2)
    if kind == "rectangle":
        (x, y), (u, v) = corners[:2]
        corners = np.array([(x, y), (u, y), (u, v), (x, v)])
    return fill_polygons([corners.ravel().tolist()], shape, value)


def _pixels(content: object, corners: NDArray[np.float64], shape: Shape, value: int) -> Layer:
    """A PNG of the pixels from the upper left to the lower right corner, both included."""
    (left, top), (right, bottom) = corners[:2].astype(np.int64).tolist()
    try:
        inside = index_mask(b64decode(str(content), validate=True)) > 0
    except ValueError as error:
        raise ValueError("a mask whose pixels cannot be read") from error
    if inside.shape != (bottom - top + 1, right - left + 1) or min(left, top) < 0:
        raise ValueError(f"a mask of {inside.shape[::-1]} pixels from {left, top} to {right, bottom}")
    return Layer(value, top, left, inside[: max(0, shape[0] - top), : max(0, shape[1] - left)])


@hookimpl
def datasets() -> dict[str, object]:
    return {"labelme_masks": labelme_masks}
