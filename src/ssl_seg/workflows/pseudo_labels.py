"""Labels of unlabelled images by a trained model: its confident predictions, as a data set to train on.

Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method, 2013.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.mask_files import downsample_mask
from ssl_seg.engine.class_thresholds import ConfidenceHistogram, Thresholds, selected, thresholds_of
from ssl_seg.errors import DataError, UsageError
from ssl_seg.exporting.output import atomic_output
from ssl_seg.figures.masks import save_mask
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import output_path, output_paths
from ssl_seg.workflows.mask_metadata import mask_names
from ssl_seg.workflows.mask_outputs import images_among
from ssl_seg.workflows.mask_prediction import SlidingWindow, predicted_masks
from ssl_seg.workflows.predict import write_record
from ssl_seg.workflows.run_result import PseudoLabels
from ssl_seg.workflows.validator import write_csv

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ssl_seg.base import Dataset
    from ssl_seg.workflows.inference import InferenceSession

_IMAGE, _MASK = "_sat", "_mask"  # with these endings images and masks are found without options


@dataclass(frozen=True)
class _Labels:
    """What was found.

    Attributes:
        written, images: how many images got a label, and were predicted.
        predicted, labeled: (C,) images or pixels of each class.
        thresholds: of each class.
        highest: confidence of a prediction.
    """

    written: int
    images: int
    predicted: "NDArray[np.int64]"
    labeled: "NDArray[np.int64]"
    thresholds: Sequence[float]
    highest: float


def pseudo_label(
    session: "InferenceSession", data_spec: Sequence[str], out: Path, window: SlidingWindow, rule: Thresholds
) -> PseudoLabels:
    """Write a folder that `--extra` of `classify` and `segment` reads; it is there when it is complete.

    A classifier's labels are in `train.csv`, with the place of each image. Masks lie beside their images in `train/`,
    as class indices, with 255 where no class is confident enough; `palette.json` says so.

    Raises:
        UsageError: the images are no files, or two would have one name.
        OutputInUseError: `out` is there and not empty.
        DataError: nothing is confident enough, or an image cannot be read.
    """
    start = perf_counter()
    classes = session.loaded.metadata["classes"]
    with atomic_output(out) as folder:
        dataset = session.dataset(data_spec)
        if session.loaded.metadata["task"] == "segment":
            found = _label_masks(session, dataset, folder, window, rule)
        else:
            found = _label_images(session, dataset, folder, out, rule)
        if not found.written:
            raise DataError(
                f"none of {found.images} images has a prediction of confidence {rule.threshold:g} or more; the highest is "
                f"{found.highest:.3f}",
                next="a lower --threshold, or --per-class-share 0.2",
            )
        numbers = zip(found.predicted, found.labeled, found.thresholds, strict=True)
        table = {
            name: {"predicted": int(predicted), "labeled": int(labeled), "threshold": round(threshold, 6)}
            for name, (predicted, labeled, threshold) in zip(classes, numbers, strict=True)
            if name not in session.loaded.metadata.get("exclude", ())
        }
        record: dict[str, Any] = {"run": str(session.run), "which": session.which, "labeled": found.written}
        record |= {**vars(rule), "classes": table}
        seconds = perf_counter() - start
        write_record(session, folder / "result.json", found.images, seconds, **record)
    return PseudoLabels(out, found.written, found.images, table, session.temperature)


def _label_images(
    session: "InferenceSession", dataset: "Dataset", folder: Path, out: Path, rule: Thresholds
) -> _Labels:
    """Write `train.csv`; its names of images are relative to `out`, the later name of `folder`."""
    files = _files_of(dataset, range(len(dataset)))
    images, classes = session.image_cache(dataset), session.loaded.metadata["classes"]
    best = session.logits(images).softmax(dim=1).max(dim=1)
    confidence, predicted = best.values.cpu().numpy(), best.indices.cpu().numpy()
    thresholds = thresholds_of(predicted, confidence, len(classes), rule)
    chosen = selected(predicted, confidence, thresholds)
    samples = images.sample_indices.numpy()[chosen]
    base = os.path.realpath(out)
    rows = [
        [os.path.relpath(os.path.realpath(files[sample]), base), classes[label], f"{value:.6f}"]
        for sample, label, value in zip(samples, predicted[chosen], confidence[chosen], strict=True)
    ]
    write_csv(folder / "train.csv", ["filename", "label", "confidence"], rows)
    before, after = (np.bincount(each, minlength=len(classes)) for each in (predicted, predicted[chosen]))
    return _Labels(len(rows), len(images), before, after, thresholds, float(confidence.max(initial=0)))


def _label_masks(
    session: "InferenceSession", dataset: "Dataset", folder: Path, window: SlidingWindow, rule: Thresholds
) -> _Labels:
    """Write images and masks below `train/`, and `palette.json`.

    With a share of each class the images are predicted twice: thresholds are known after the first time.
    """
    metadata = session.loaded.metadata
    indices = images_among([name for name, _ in dataset.samples], metadata, session.progress.print_line)
    files, classes = _files_of(dataset, indices), metadata["classes"]
    masks = _mask_paths(dataset, indices, metadata, folder)
    thresholds = [rule.threshold] * len(classes)
    if rule.per_class_share is not None:
        histogram = ConfidenceHistogram(len(classes))
        for _, mask, confidence in _predictions(session, dataset, indices, window):
            histogram.add(mask, confidence)
        thresholds = histogram.thresholds(rule)
    counts = np.zeros((2, IGNORE_INDEX + 1), dtype=np.int64)
    written, seen, highest = 0, 0, 0.0
    for seen, (number, mask, confidence) in enumerate(_predictions(session, dataset, indices, window), 1):
        highest = max(highest, float(confidence.max()))
        labels = np.where(selected(mask, confidence, thresholds), mask, np.uint8(IGNORE_INDEX))
        counts += [np.bincount(each.ravel(), minlength=IGNORE_INDEX + 1) for each in (mask, labels)]
        if (labels == IGNORE_INDEX).all():
            continue
        written += 1
        save_mask(output_path(folder, masks[number]), labels, None)
        stem = masks[number].removesuffix(f"{_MASK}.png")
        _link(files[number], output_path(folder, f"{stem}{_IMAGE}{PurePath(files[number]).suffix}"))
    atomic_write_text(folder / "palette.json", _palette(metadata))
    before, after = counts[:, : len(classes)]
    return _Labels(written, seen, before, after, thresholds, highest)


def _files_of(dataset: "Dataset", indices: Iterable[int]) -> list[str]:
    """The files of images.

    Raises:
        UsageError: an image lies in none.
    """
    files = [dataset.file(index) for index in indices]
    if other := next((file for file in files if not os.path.isfile(file)), None):
        raise UsageError(f"{other} is no image file", next="a folder of image files")
    return files


def _mask_paths(
    dataset: "Dataset", indices: Sequence[int], metadata: Mapping[str, Any], folder: Path
) -> list[str]:
    """The masks of images, relative to the folder; no two are one."""
    own = {**metadata, "mask_prefix": "", "mask_suffix": _MASK}
    names = [f"train/{name}" for name in mask_names(dataset, indices, own)]
    output_paths(folder, names, [dataset.samples[index][0] for index in indices])
    return names


def _predictions(
    session: "InferenceSession", dataset: "Dataset", indices: Sequence[int], window: SlidingWindow
) -> "Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float16]]]":
    """Number, classes and confidences of the pixels of each image that can be read, at its full size."""
    session.restart()
    for number, found in enumerate(predicted_masks(session, dataset, indices, window, ["confidence"])):
        session.advance(len(indices))
        if found is not None:
            assert found.confidence is not None
            size = dataset.size(indices[number])
            yield number, downsample_mask(found.mask, *size), downsample_mask(found.confidence, *size)


def _link(file: str, path: Path) -> None:
    """A second name of an image, which needs no space; a copy where the file system has no such names."""
    try:
        os.link(os.path.realpath(file), path)
    except OSError:
        shutil.copyfile(file, path)


def _palette(metadata: Mapping[str, Any]) -> str:
    """The run's classes, for masks of indices."""
    pairs = zip(metadata["classes"], metadata["colours"], strict=True)
    palette = {
        "classes": [{"name": name, "rgb": list(colour)} for name, colour in pairs],
        "ignore": [*metadata["exclude"], IGNORE_INDEX],
        "masks": "indices",
    }
    return json.dumps(palette, indent=1, ensure_ascii=False) + "\n"
