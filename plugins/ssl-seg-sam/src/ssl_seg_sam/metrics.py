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
from ssl_seg_sam.agreement import Compared, Counts
from ssl_seg_sam.image_source import Album


class Numbers:
    """Measures image by image, and all of them together.

    Args:
        album: the images.
        own: the run they belong to, if they do.
        compare: runs whose numbers stand beside.

    Attributes:
        labels: how the runs are called.
        notes: lines on what has no number, and why.

    Raises:
        UsageError: no run in one of `compare`.
    """

    def __init__(self, album: Album, own: Path | None, compare: Sequence[Path]) -> None:
        self._album, self._count = album, MaskStatistics.of(album.classes, album.exclude)
        self._counts: dict[str, list[Counts | None]] = {"": []}
        self._others: list[Compared] = []
        self.labels: list[str] = []
        self.notes: list[str] = []
        for folder, label in labels_of([*([own] if own else []), *compare]).items():
            if not (folder / "run.toml").is_file():
                raise UsageError(f"--compare {folder}: there is no run", next="ssl-seg segment ... --out RUN")
            self.labels.append(label)
            self._counts[label] = []
            try:
                self._others.append(Compared(folder, label))
            except ValueError as error:
                self.notes.append(f"{shown(label)}: no numbers beside: {error}")

    def of(self, file: str, index: NDArray[np.int32], label: NDArray[np.uint8] | None) -> dict[str, Any]:
        """`agreement` of one image, None without a label map, and `models`: mean IoU by run, or None."""
        album, counts = self._album, None
        if label is not None:
            self._count.add(np.bincount(label.ravel(), minlength=256))
            said = agreement.named(index, label, album.kept)
            counts = agreement.confusion(said, label, len(album.classes))
        self._counts[""].append(counts)
        models: dict[str, float | None] = dict.fromkeys(self.labels)
        for other in self._others:
            theirs = other.of(file, album.suffix)
            self._counts[other.label].append(theirs)
            models[other.label] = agreement.score(theirs, other.kept)
        return {"agreement": agreement.score(counts, album.kept), "models": models}

    def all(self) -> dict[str, Any]:
        """The same over all images, from summed pixels; None where one of them has no number."""
        models: dict[str, float | None] = dict.fromkeys(self.labels)
        models |= {other.label: self._over(other.label, other.kept) for other in self._others}
        return {"agreement": self._over("", self._album.kept), "models": models}

    def _over(self, label: str, kept: NDArray[np.bool_]) -> float | None:
        counts = [one for one in self._counts[label] if one is not None]
        if not counts or len(counts) < len(self._counts[label]):
            return None
        return agreement.score(np.sum(counts, axis=0), kept)

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
        table = [["image", "segments", "agreement", *map(shown, self.labels)]]
        for row in [*entries, {"name": "all", "segments": "", **self.all()}]:
            numbers = [row["agreement"], *(row["models"][label] for label in self.labels)]
            texts = ["n/a" if number is None else f"{number:.4f}" for number in numbers]
            table.append([shown(row["name"]), str(row["segments"]), *texts])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return ["  ".join(map(str.rjust, line, widths)) for line in table]


def labels_of(folders: Sequence[Path]) -> dict[Path, str]:
    """How runs are called: by the last part of their path, or by all of it where that is not one's own."""
    kept = {folder.expanduser().resolve(): folder.expanduser() for folder in reversed(folders)}
    ends = [path.name for path in kept]
    found = {
        folder: path.name if ends.count(path.name) == 1 else str(folder) for path, folder in kept.items()
    }
    return dict(reversed(found.items()))
