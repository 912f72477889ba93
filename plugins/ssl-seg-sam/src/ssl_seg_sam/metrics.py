"""The numbers of a session: the segments' agreement, and beside it the mean IoU of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_seg.data.mask_counts import MaskStatistics, check_measurable
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.text import shown
from ssl_seg_sam import agreement
from ssl_seg_sam.agreement import ComparedRun, Counts
from ssl_seg_sam.image_source import ImageSource


class AgreementMetrics:
    """Measures image by image, and all of them together.

    Args:
        image_source: the images.
        own: the run they belong to, if they do.
        compare: runs whose numbers stand beside.

    Attributes:
        labels: how the runs are called.
        notes: lines on what has no number, and why.

    Raises:
        UsageError: no run in one of `compare`.
    """

    def __init__(self, image_source: ImageSource, own: Path | None, compare: Sequence[Path]) -> None:
        self._images, self._count = (
            image_source,
            MaskStatistics.of(image_source.classes, image_source.exclude),
        )
        self._counts: dict[str, list[Counts | None]] = {"": []}
        self._others: list[ComparedRun] = []
        self.labels: list[str] = []
        self.notes: list[str] = []
        for folder, label in labels_of([*([own] if own else []), *compare]).items():
            if not (folder / "run.toml").is_file():
                raise UsageError(
                    f"--compare {folder}: not a run folder", next="ssl-seg segment ... --out RUN"
                )
            self.labels.append(label)
            self._counts[label] = []
            try:
                self._others.append(ComparedRun(folder, label))
            except ValueError as error:
                self.notes.append(f"{shown(label)}: no comparison: {error}")

    def of(self, file: str, index: NDArray[np.int32], label: NDArray[np.uint8] | None) -> dict[str, Any]:
        """`agreement` of one image, None without a label map, and `models`: mean IoU by run, or None."""
        image_source, counts = self._images, None
        if label is not None:
            self._count.add(np.bincount(label.ravel(), minlength=256))
            predicted = agreement.assign_majority_class(index, label, image_source.scored_classes)
            counts = agreement.confusion(predicted, label, len(image_source.classes))
        self._counts[""].append(counts)
        models: dict[str, float | None] = dict.fromkeys(self.labels)
        for other in self._others:
            theirs = other.of(file, image_source.suffix)
            self._counts[other.label].append(theirs)
            models[other.label] = agreement.score(theirs, other.scored_classes)
        return {"agreement": agreement.score(counts, image_source.scored_classes), "models": models}

    def all(self) -> dict[str, Any]:
        """The same over all images, from summed pixels; None where one of them has no number."""
        models: dict[str, float | None] = dict.fromkeys(self.labels)
        models |= {other.label: self._over(other.label, other.scored_classes) for other in self._others}
        return {"agreement": self._over("", self._images.scored_classes), "models": models}

    def _over(self, label: str, scored_classes: NDArray[np.bool_]) -> float | None:
        counts = [one for one in self._counts[label] if one is not None]
        if not counts or len(counts) < len(self._counts[label]):
            return None
        return agreement.score(np.sum(counts, axis=0), scored_classes)

    def warnings(self) -> list[str]:
        """What the label maps lack."""
        if not self._count.masks:
            return []
        try:
            return check_measurable(self._count, "these images")
        except DataError as error:
            return [error.what]

    def table(self, entries: Sequence[Mapping[str, Any]]) -> list[str]:
        """The numbers of `sam.json` for people; `n/a` where there is none."""
        table = [["image", "segments", "achievable mIoU", *map(shown, self.labels)]]
        for row in [*entries, {"name": "all", "segments": "", **self.all()}]:
            scores = [row["agreement"], *(row["models"][label] for label in self.labels)]
            texts = ["n/a" if number is None else f"{number:.4f}" for number in scores]
            table.append([shown(row["name"]), str(row["segments"]), *texts])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return ["  ".join(map(str.rjust, line, widths)) for line in table]


def labels_of(folders: Sequence[Path]) -> dict[Path, str]:
    """How runs are called: by the last part of their path, or by all of it where that is not one's own."""
    folders = {folder.expanduser().resolve(): folder.expanduser() for folder in reversed(folders)}
    ends = [path.name for path in folders]
    labels = {
        folder: path.name if ends.count(path.name) == 1 else str(folder) for path, folder in folders.items()
    }
    return dict(reversed(labels.items()))
