"""Masks of COCO annotations: polygons and run lengths in one JSON file."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ssl_seg.data.drawn_masks import Background, DrawnMasks, Legend, check_unique, no_images
from ssl_seg.data.files import FileDataset, subfolders
from ssl_seg.data.levels import Range
from ssl_seg.data.mask_dataset import MaskDataset
from ssl_seg.data.rasters import Layer, Overlap, Shape, fill_polygons, fill_runs
from ssl_seg.data.splits import choose, kind_of, split_folder
from ssl_seg.errors import DataError, pluralize
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.toml import parse_json, read_json


def coco_masks(
    root: str,
    split: str,
    *,
    images: str | None = None,
    classes: Sequence[str] | None = None,
    map: str | None = None,
    default_palette: str | None = None,
    background: Background = "class",
    overlap: Overlap = "smaller",
    stray: Literal["stop", "ignore"] = "stop",
    splits: bool = True,
    range: Range = None,
    bands: str | None = None,
) -> MaskDataset:
    """Images whose masks are drawn from the polygons and run lengths of a COCO JSON file.

    Args:
        root: the file, or a folder with one in it, in `annotations/`, or in the folder `split`.
        split: `train`, `val` or `test`; used when `root` is a folder: `instances_train2017.json`.
        images: folder that filenames are relative to. Default: the file's folder, the one above, or one in it.
        classes: categories to use, in order. Default: all, by their ids.
        map: categories to merge, rename, or ignore: `cat:animal,dog:animal`; see `apply_map`.
        default_palette: classes of the training masks, used if they hold the categories of the file.
        background: pixels without annotation: the class `background`, or unlabeled (`ignore`).
        overlap: of annotations that overlap, the `smaller` or the `last` is on top, or the pixels are unlabeled (`ignore`).
        stray: action for annotations without an outline and of other categories: `stop`, or leave them out (`ignore`).
        splits: false: folders named after splits have no special meaning.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: no such file, or what it holds is no segmentation; images that are not there.
    """
    path = _annotation_file(expanded(root), split if splits else "")
    content = _content(path)
    names = [str(image["file_name"]) for image in content["images"]]
    if not names:
        raise DataError(f"{path} lists no images", next="ssl-seg list datasets  # all formats")
    check_unique(names, str(path))
    folder = path.parent / images if images else _image_folder(path, names[0])
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise no_images(str(path), missing, str(folder))
    categories = {category["id"]: str(category["name"]) for category in content["categories"]}
    found = [name for _, name in sorted(categories.items())]
    options: Any = {"classes": classes, "map": map, "default": default_palette, "background": background}
    legend = Legend(found, path.name, **options)
    shapes = _shapes_by_image(path, content, categories, legend, leave_out=stray == "ignore")
    sizes = [(int(image["height"]), int(image["width"])) for image in content["images"]]

    def draw(index: int) -> tuple[Shape, list[Layer]]:
        return sizes[index], [_layer(sizes[index], *shape) for shape in parse_json(shapes[index])]

    def identify(index: int) -> str:
        return f"{sizes[index]} {hashlib.sha256(shapes[index].encode()).hexdigest()}"

    masks = DrawnMasks(draw, lambda index: f"in {path.name}", identify, legend, overlap)
    files = FileDataset(folder, ((name, -1) for name in names), range=range, bands=bands)
    return MaskDataset(files, masks)


def _annotation_file(root: Path, split: str) -> Path:
    if root.is_file():
        return root
    base = split_folder(root, split)
    files = [file for folder in (base, base / "annotations") for file in sorted(folder.glob("*.json"))]
    if not files and base != root:
        files = sorted((root / "annotations").glob("*.json"))
    by_word = {word: file for file in files for word in file.stem.split("_") if kind_of(word)}
    if len(files) > 1 and kind_of(split) and len(by_word) > 1:
        return by_word[choose(sorted(by_word), kind_of(split) or "train", Path()).name]
    if len(files) != 1:
        shown = " or ".join(f"coco_masks:{file}" for file in files[:4]) or "coco_masks:FILE.json"
        raise DataError(f"{len(files)} JSON files in {base}, one is needed", next=shown)
    return files[0]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}", next="a JSON file in the format of COCO") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise DataError(
            f"{path} is not in the format of COCO",
            where=f"needed: the lists {', '.join(keys)}",
            next="labelme_masks:FOLDER  # a JSON file for each image",
        )
    return content


def _image_folder(path: Path, first: str) -> Path:
    if (path.parent / first).is_file():
        return path.parent
    above = path.parent.parent
    folders = [above, *(folder / name for folder in (path.parent, above) for name in subfolders(folder))]
    found = [folder for folder in dict.fromkeys(folders) if (folder / first).is_file()]
    if own := [folder for folder in found if folder.name in path.stem]:
        found = own  # `instances_train2017.json` is of `train2017/`
    if len(found) != 1:
        where = ", ".join(map(str, found[:4])) or "in no folder beside the file"
        raise DataError(
            f"{first} of {path}: {len(found)} files of this name", where=where, next="-o data.images=FOLDER"
        )
    return found[0]


def _shapes_by_image(
    path: Path, content: dict[str, Any], categories: dict[int, str], legend: Legend, *, leave_out: bool
) -> list[str]:
    """The value and the outline of each annotation, as JSON, for each image: small in memory."""
    shapes: dict[int, list[Any]] = defaultdict(list)
    boxes = 0
    for annotation in content["annotations"]:
        name = categories.get(annotation.get("category_id"))
        if name is None:
            what = f"{path}: no category {annotation.get('category_id')!r}"
            where = f"annotation {annotation.get('id')}"
            raise DataError(what, where=where, next="add it to the categories, or remove the annotation")
        value = legend.value(name, ignore_unknown=leave_out)
        outline = annotation.get("segmentation")
        if not outline:
            boxes += 1
        elif value is not None:
            shapes[annotation["image_id"]].append([value, outline])
    if boxes and not leave_out:
        raise DataError(
            f"{pluralize(boxes, 'annotation')} of {path} without an outline, as boxes are",
            next="-o data.stray=ignore  # leave them out",
        )
    if lost := shapes.keys() - {image["id"] for image in content["images"]}:
        raise DataError(
            f"{path}: annotations of an image that is not listed: {min(lost)!r}",
            next="list it, or remove them",
        )
    return [json.dumps(shapes.get(image["id"], [])) for image in content["images"]]


def _layer(shape: Shape, value: int, outline: Any) -> Layer:
    if isinstance(outline, dict):
        if list(outline.get("size", [])) != list(shape):
            raise ValueError(f"its run lengths are of {outline.get('size')}, the image is {list(shape)}")
        return fill_runs(outline["counts"], shape, value)
    return fill_polygons(outline, shape, value)


@hookimpl
def datasets() -> dict[str, object]:
    return {"coco_masks": coco_masks}
