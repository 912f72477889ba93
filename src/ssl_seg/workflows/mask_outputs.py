"""Predicted masks of images, in files, with what else is known of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_seg.data.bands import as_rgb
from ssl_seg.data.canvases import WHOLE
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.data.pair_names import core_of
from ssl_seg.data.tiff_bands import georeference, save_geotiff
from ssl_seg.errors import SslSegError, UsageError, pluralize
from ssl_seg.figures.masks import colorize_mask, overlay, save_image
from ssl_seg.utils.interrupt import stopped_on_interrupt
from ssl_seg.utils.outputs import output_path, output_paths, refuse_taken
from ssl_seg.workflows.mask_metadata import mask_names
from ssl_seg.workflows.mask_prediction import MaskPrediction, SlidingWindow, predicted_masks
from ssl_seg.workflows.polygon_files import COCO_FILE, CocoFile, Outlines, write_geojson
from ssl_seg.workflows.predict import PredictionFiles, save_npz, say_kept, taken_record, write_result
from ssl_seg.workflows.run_result import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.workflows.inference import InferenceSession

_RESULT = "result.json"


def predict_masks(
    session: "InferenceSession",
    images: Sequence[str],
    out: Path,
    window: SlidingWindow,
    files: PredictionFiles,
) -> Predictions:
    """Write the mask of every image, in the palette's colours or as indices, and what else is asked for.

    Raises:
        UsageError: a flag of classification, `out` is a file, two images would have the same mask, or see
            `output_path`.
        OutputInUseError: there are such masks already, and not `files.overwrite`.
        DataError: an image cannot be read; masks that were written before stay.
    """
    files.refuse("classifiers", "top")
    if out.is_file():
        raise UsageError(f"--out {out} is a file", next="name a folder: one mask is written for each image")
    metadata = session.loaded.metadata
    dataset = session.dataset(images)
    names = [name for name, _ in dataset.samples]
    indices = images_among(names, metadata, session.progress.print_line)
    masks = [
        _georeferenced(name, Path(dataset.file(index)))
        for name, index in zip(mask_names(dataset, indices, metadata), indices, strict=True)
    ]
    writer = _MaskWriter(session, dataset, out, files, masks, indices)
    record = output_path(out, _RESULT)
    refuse_taken([*writer.paths(), *taken_record(record)], session.inputs(dataset), overwrite=files.overwrite)
    start, written = perf_counter(), 0
    try:
        with stopped_on_interrupt():
            predictions = predicted_masks(session, dataset, indices, window, files.maps)
            for number, prediction in enumerate(predictions):
                if prediction is not None:
                    writer.write(number, prediction)
                    written += 1
                session.advance(len(indices))
            writer.finish()
            seconds = perf_counter() - start
            return write_result(session, record, out, written, seconds, writer.written)
    except SslSegError as error:
        if there := sum(output_path(out, name).exists() for name in writer.names):
            say_kept(error, f"{pluralize(there, 'mask')} in {out}")
        raise


def _georeferenced(name: str, image: Path) -> str:
    """The name of a mask, which is a GeoTIFF as its image is one."""
    is_tiff = image.suffix.lower() in (".tif", ".tiff")
    return f"{name.removesuffix('.png')}.tif" if is_tiff and georeference(image) else name


def images_among(
    names: list[str], metadata: Mapping[str, Any], print_line: Callable[[str], None]
) -> list[int]:
    """Indices of the images; files that are masks by their names are left out."""
    stems = [PurePath(name).stem for name in names]
    image, mask = (
        (metadata.get(f"{kind}_prefix", ""), metadata[f"{kind}_suffix"]) for kind in ("image", "mask")
    )
    paired = [index for index, stem in enumerate(stems) if any(image) and core_of(stem, image) is not None]
    indices = paired or [
        index for index, stem in enumerate(stems) if not any(mask) or core_of(stem, mask) is None
    ]
    chosen = set(indices)
    if left_out := [name for index, name in enumerate(names) if index not in chosen]:
        count = pluralize(len(left_out), "file")
        print_line(f"left out by name, as masks are: {count}, for example {left_out[0]}")
    return indices


class _MaskWriter:
    """Writes what is asked for of each image below one folder.

    Args:
        names: of the masks, relative to `out`.
        indices: of their images in `dataset`.
    """

    def __init__(
        self,
        session: "InferenceSession",
        dataset: "Dataset",
        out: Path,
        files: PredictionFiles,
        names: list[str],
        indices: list[int],
    ) -> None:
        self.names, self.written = names, list[Path]()
        self._dataset, self._out, self._indices = dataset, out, indices
        self._files, self._classes = files, session.loaded.metadata["classes"]
        self._coco = CocoFile(self._classes)
        self._colors = np.array(session.loaded.metadata["colours"], dtype=np.uint8)

    def paths(self) -> list[Path]:
        """All files that will be written; see `output_paths`."""
        owners = [self._dataset.samples[index][0] for index in self._indices]
        names, whose = list[str](), list[str]()
        for name, owner in zip(self.names, owners, strict=True):
            names += (own := list(self._names(name).values()))
            whose += [owner] * len(own)
        if self._files.polygons == "coco":
            names, whose = [*names, COCO_FILE], [*whose, "the polygons"]
        return output_paths(self._out, names, whose)

    def _names(self, mask: str) -> dict[str, str]:
        """The files of one image by what is in them: those beside its mask have the mask's name in other folders."""
        asked = {"mask": mask}
        if self._files.probabilities:
            asked["probabilities"] = f"probabilities/{PurePath(mask).with_suffix('.npz')}"
        if self._files.uncertainty:
            asked["uncertainty"] = f"uncertainty/{mask}"
        if self._files.overlay:
            asked["overlay"] = f"overlays/{mask}"
        if self._files.polygons == "geojson":
            asked["polygons"] = f"polygons/{PurePath(mask).with_suffix('.geojson')}"
        return asked

    def write(self, number: int, prediction: MaskPrediction) -> None:
        """Write the files of one image, its mask first; each path is asked for again: a link may be new."""
        index = self._indices[number]
        size = self._dataset.size(index)
        mask = downsample_mask(prediction.mask, *size)
        for kind, name in self._names(self.names[number]).items():
            path = output_path(self._out, name)
            if kind == "mask":
                pixels = mask if self._files.indices else colorize_mask(mask, self._colors)
                self._save(path, pixels, index)
            elif kind == "overlay":
                self._save(path, overlay(self._image(index, prediction), mask, self._colors), index)
            elif kind == "uncertainty":
                assert prediction.uncertainty is not None
                self._save(path, downsample_mask(prediction.uncertainty, *size), index)
            elif kind == "polygons":
                write_geojson(path, self._outlines(mask, prediction), self._classes)
            else:
                assert prediction.probabilities is not None
                probabilities = np.stack([downsample_mask(each, *size) for each in prediction.probabilities])
                save_npz(path, probabilities=probabilities, classes=self._classes)
            self.written.append(path)
        if self._files.polygons == "coco":
            self._coco.add(self._dataset.samples[index][0], self._outlines(mask, prediction))

    def finish(self) -> None:
        """Write what is about all images."""
        if self._files.polygons == "coco":
            path = output_path(self._out, COCO_FILE)
            self._coco.write(path)
            self.written.append(path)

    def _outlines(self, mask: "NDArray[np.uint8]", prediction: MaskPrediction) -> Outlines:
        assert prediction.confidence is not None
        return Outlines(mask, downsample_mask(prediction.confidence, *mask.shape))

    def _image(self, index: int, prediction: MaskPrediction) -> "NDArray[np.uint8]":
        """An image at its full size, which the network may not have seen."""
        image = prediction.image
        if image.shape[:2] != self._dataset.size(index):
            image = self._dataset.image(index, WHOLE)[0]
        return np.moveaxis(as_rgb(np.moveaxis(image, 2, 0)), 0, 2)

    def _save(self, path: Path, pixels: "NDArray[np.uint8]", index: int) -> None:
        """As PNG, or as GeoTIFF at the place of the image, as the ending says."""
        tags = georeference(Path(self._dataset.file(index))) if path.suffix == ".tif" else None
        if tags is None:
            save_image(path, pixels)
        else:
            save_geotiff(path, pixels, tags)
