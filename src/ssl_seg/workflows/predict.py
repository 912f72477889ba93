"""Predicted labels of images, in files; and what predictions of both tasks share."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from ssl_seg.errors import SslSegError, UsageError
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import refuse_taken
from ssl_seg.utils.progress import typed
from ssl_seg.utils.toml import read_json
from ssl_seg.workflows.run_result import Predictions

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.workflows.inference import InferenceSession


@dataclass(frozen=True)
class PredictionFiles:
    """What `predict` writes besides labels and masks.

    Attributes:
        top: classes per image in the CSV file.
        probabilities: of all classes, as NPZ.
        uncertainty: the normalized entropy: a column of the CSV file, or a map of each image.
        overlay: masks over their images. indices: masks of class indices.
        polygons: outlines of masks, in this format.
        overwrite: existing files.
    """

    top: int = 1
    probabilities: bool = False
    uncertainty: bool = False
    overlay: bool = False
    indices: bool = False
    polygons: Literal["geojson", "coco"] | None = None
    overwrite: bool = False

    @property
    def maps(self) -> list[str]:
        """What is needed of each image besides its mask; see `MaskPrediction`."""
        needed = {
            "probabilities": self.probabilities,
            "uncertainty": self.uncertainty,
            "confidence": self.polygons,
        }
        return [name for name, is_needed in needed.items() if is_needed]

    def refuse(self, task: str, *flags: str) -> None:
        """Refuse flags of the other task.

        Raises:
            UsageError: one of them is set.
        """
        for flag in flags:
            if getattr(self, flag) != getattr(PredictionFiles, flag):
                raise UsageError(f"--{flag}: only for {task}", next=f"ssl-seg predict without --{flag}")


def predict_labels(
    session: "InferenceSession", data_spec: Sequence[str], out: Path, files: PredictionFiles
) -> Predictions:
    """Write the labels of every image, and how sure the model is of them.

    Raises:
        UsageError: a flag of segmentation, or `out` is no CSV file or an input.
        OutputInUseError: an output is already there, and not `files.overwrite`.
    """
    from ssl_seg.engine.calibration import normalized_entropy
    from ssl_seg.workflows.validator import write_csv

    files.refuse("segmentation models", "overlay", "indices", "polygons")
    check_out(out, ".csv")
    paths = [out, *([out.with_suffix(".npz")] if files.probabilities else [])]
    dataset, record = session.dataset(data_spec), out.with_suffix(".result.json")
    refuse_taken([*paths, *taken_record(record)], session.inputs(dataset), overwrite=files.overwrite)
    start = perf_counter()
    images = session.image_cache(dataset)
    logits = session.logits(images)
    probabilities = logits.softmax(dim=1)
    classes = session.loaded.metadata["classes"]
    header, rows = _table(dataset, images, logits, classes, files.top)
    if files.uncertainty:
        header.append("uncertainty")
        entropy = normalized_entropy(probabilities, session.num_predicted).tolist()
        rows = [[*row, f"{value:.6f}"] for row, value in zip(rows, entropy, strict=True)]
    try:
        write_csv(out, header, rows)
        if files.probabilities:
            names = [row[1] for row in rows]
            save_npz(paths[-1], probabilities=probabilities.cpu().numpy(), filenames=names, classes=classes)
        return write_result(session, record, out, len(rows), perf_counter() - start, paths)
    except SslSegError as error:
        if there := [str(path) for path in paths if path.exists()]:
            say_kept(error, ", ".join(there))
        raise


def say_kept(error: SslSegError, kept: str) -> None:
    """Say in an error what was written before it, and that it may be replaced."""
    error.kept = kept
    error.next = f"{error.next} --overwrite" if error.next else typed("--overwrite")


def _table(
    dataset: "Dataset", images: "ImageCache", logits: "Tensor", classes: Sequence[str], top: int
) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the CSV file: the labels of each image from the most probable one on, each with its confidence."""
    indices = logits.argsort(dim=1, descending=True, stable=True)[:, :top]
    values = logits.softmax(dim=1).gather(1, indices)
    header = ["id", "filename", "label", "confidence"]
    header += [
        name for rank in range(2, values.shape[1] + 1) for name in (f"label_{rank}", f"confidence_{rank}")
    ]
    ids, rows = ids_of(dataset), []
    for sample, confidences, labels in zip(
        images.sample_indices.tolist(), values.tolist(), indices.tolist(), strict=True
    ):
        cells = [
            cell
            for value, label in zip(confidences, labels, strict=True)
            for cell in (classes[label], f"{value:.6f}")
        ]
        rows.append([ids[sample] if ids else str(sample), dataset.samples[sample][0], *cells])
    return header, rows


def taken_record(path: Path) -> list[Path]:
    """The path of a record, if it would replace a file that is no record of earlier predictions."""
    if not os.path.lexists(path):
        return []
    try:
        ours = "seconds_per_image" in read_json(path)
    except (OSError, ValueError):
        ours = False
    return [] if ours and not path.is_symlink() else [path]


def write_result(
    session: "InferenceSession", path: Path, out: Path, count: int, seconds: float, files: Sequence[Path]
) -> Predictions:
    """Write how long it took and how the probabilities were made."""
    write_record(session, path, count, seconds)
    return Predictions(out, count, seconds, session.temperature, [*files, path])


def write_record(session: "InferenceSession", path: Path, count: int, seconds: float, **more: Any) -> None:
    """Write `result.json`: how long `count` images took, how the probabilities were made, and `more`."""
    per_image = seconds / count if count else None
    record = {
        "images": count,
        "seconds": round(seconds, 6),
        "seconds_per_image": None if per_image is None else round(per_image, 6),
        "device": session.device.describe(),
        "tta": session.tta,
        "temperature": session.temperature,
        **more,
    }
    atomic_write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def check_out(out: Path, ending: str) -> None:
    if out.suffix.lower() != ending:
        raise UsageError(f"--out {out} must end in {ending}")
    if not out.parent.is_dir():
        raise UsageError(f"no such folder: {out.parent}", next=f"mkdir -p {out.parent}")


def ids_of(dataset: "Dataset") -> list[str]:
    """The id of each image, if they were named in a CSV file with the column `id`; its number where that is empty."""
    from ssl_seg.data.tables import read_table

    path = getattr(dataset, "path", None)
    if path is None:
        return []
    return [row.get("id") or str(number) for number, (_, row) in enumerate(read_table(Path(path)))]


def save_npz(path: Path, **arrays: Any) -> None:
    import numpy as np

    from ssl_seg.utils.files import atomic_file

    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)
