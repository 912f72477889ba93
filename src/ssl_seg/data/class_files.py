"""A mask file for each class of an image: `masks/road/1.png`, `masks/house/1.png`."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from ssl_seg.data.drawn_masks import DrawnMasks, Legend
from ssl_seg.data.file_digests import content_digest
from ssl_seg.data.files import find_images
from ssl_seg.data.mask_files import open_mask, values_of
from ssl_seg.data.mask_layouts import Pairs
from ssl_seg.data.pair_patterns import Patterns
from ssl_seg.data.rasters import Layer, Overlap, Shape
from ssl_seg.errors import DataError


def class_masks(
    pairs: Pairs, patterns: Patterns, map: str | None, palette: str | None, overlap: Overlap
) -> DrawnMasks:
    """Masks of one file for each class and image, in which all that is not 0 is of the class.

    Args:
        pairs: images with one of their files.
        patterns: with the placeholder `{class}`.
        map, palette: see `Legend`; the palette names the classes, if it has all that there are.
        overlap: of pixels in several files.
    """
    names = list(find_images(pairs.masks))
    own = (names, None) if pairs.images == pairs.masks else (list(find_images(pairs.images)), names)
    keys, masks = patterns.split(*own)
    class_of, files = patterns.classes(masks), defaultdict[str, dict[str, str]](dict)
    for name, key in masks.items():
        if class_of[name] in files[key]:
            both = f"{files[key][class_of[name]]} and {name}"
            raise DataError(f"two masks of one image and class: {both}", next="remove one of them")
        files[key][class_of[name]] = name
    found = sorted(set(class_of.values()))
    legend = Legend(
        found, "a file for each class", classes=None, map=map, default=palette, background="class"
    )
    by_image = [sorted(files[keys[image]].items()) for image, _ in pairs.names]

    def draw(index: int) -> tuple[Shape, list[Layer]]:
        layers = [_layer(pairs.masks / file, legend.values[name]) for name, file in by_image[index]]
        shapes = {layer.inside.shape for layer in layers}
        if len(shapes) > 1:
            raise ValueError(f"its classes have masks of different sizes: {shapes}")
        height, width = shapes.pop()
        return (height, width), layers

    def identify(index: int) -> str:
        return " ".join(f"{name} {content_digest(str(pairs.masks / file))}" for name, file in by_image[index])

    return DrawnMasks(draw, lambda index: by_image[index][0][1], identify, legend, overlap)


def _layer(path: Path, value: int) -> Layer:
    values = values_of(open_mask(path))
    if len(others := np.unique(values[values != 0])) > 1:
        raise ValueError(
            f"{path.name} has the values {others[0]} and {others[1]}; a class is 0 and one other value"
        )
    return Layer(value, 0, 0, values != 0)
