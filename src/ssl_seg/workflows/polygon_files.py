"""Predicted masks as polygons: GeoJSON, one file an image, or COCO, one file for all."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_seg.data.polygons import Region, Ring, label_regions, pieces_without_holes, trace_regions
from ssl_seg.utils.files import atomic_write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

COCO_FILE = "polygons.json"


class Outlines:
    """The regions of one mask, with their sizes and mean confidences.

    Args:
        mask: (H, W) class indices. confidence: (H, W), of each pixel.
    """

    def __init__(self, mask: "NDArray[np.uint8]", confidence: "NDArray[np.float16]") -> None:
        self.labels, classes = label_regions(mask)
        self.regions = trace_regions(self.labels, classes)
        flat = self.labels.ravel()
        self._pixels = np.bincount(flat, minlength=len(classes))
        self._sums = np.bincount(flat, weights=confidence.ravel().astype(np.float64), minlength=len(classes))

    def pixels(self, region: Region) -> int:
        """The area of a region."""
        return int(self._pixels[region.label])

    def confidence(self, region: Region) -> float:
        """The mean probability of its class over a region."""
        return round(float(self._sums[region.label] / self._pixels[region.label]), 6)


def write_geojson(path: Path, outlines: Outlines, classes: list[str]) -> None:
    """Write a FeatureCollection: a Polygon, with its holes, for each region.

    Coordinates are pixels, as in `ssl_seg.data.polygons`.
    """
    features = [
        {
            "type": "Feature",
            "properties": {
                "class": classes[region.class_index],
                "class_index": region.class_index,
                "pixels": outlines.pixels(region),
                "confidence": outlines.confidence(region),
            },
            "geometry": {"type": "Polygon", "coordinates": list(map(_closed, [region.shell, *region.holes]))},
        }
        for region in outlines.regions
    ]
    _write(path, {"type": "FeatureCollection", "features": features})


def _closed(ring: Ring) -> Ring:
    return [*ring, ring[0]]


class CocoFile:
    """Collects the regions of all images as COCO annotations; polygons of COCO have no holes, see
    `pieces_without_holes`.

    Args:
        classes: names; the category of a class is its index + 1.
    """

    def __init__(self, classes: list[str]) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]

    def add(self, name: str, outlines: Outlines) -> None:
        """Add an image with its regions."""
        height, width = outlines.labels.shape
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for region in outlines.regions:
            xs, ys = zip(*region.shell, strict=True)
            pieces = pieces_without_holes(outlines.labels, region)
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image_id,
                    "category_id": region.class_index + 1,
                    "segmentation": [[number for corner in piece for number in corner] for piece in pieces],
                    "area": outlines.pixels(region),
                    "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
                    "iscrowd": 0,
                    "score": outlines.confidence(region),
                }
            )

    def write(self, path: Path) -> None:
        """Write the file."""
        content = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        _write(path, content)


def _write(path: Path, content: dict[str, Any]) -> None:
    atomic_write_text(path, json.dumps(content, separators=(",", ":")) + "\n")
