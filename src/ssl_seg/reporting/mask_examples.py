"""The masks of watched validation images: what was predicted, how good it is, and where it is wrong."""

import hashlib
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.errors import SslSegError
from ssl_seg.reporting.collect import read_or_note
from ssl_seg.reporting.images import EncodedImage, encode_array, encode_mask, encode_photo
from ssl_seg.reporting.records import ReportRun
from ssl_seg.results.mask_snapshots import EXTREMES, MaskSnapshots, read_mask_snapshots

_WRONG = np.array([213, 30, 0])  # red, over the image in pale gray


@dataclass(frozen=True)
class PredictionRow:
    """The predictions of one run for one image, by epoch.

    Attributes:
        ious: epoch -> mean IoU of this image. errors: the image, with the wrong pixels of the last epoch in red.
        wrong: their share of the labeled pixels.
    """

    run: ReportRun
    label: str
    tiles: list[tuple[int, EncodedImage]]
    ious: dict[int, float] = field(default_factory=dict)
    errors: EncodedImage | None = None
    wrong: float = 0.0

    def captioned(self) -> list[tuple[str, EncodedImage]]:
        """Every picture with what stands under it."""
        tiles = [
            (f"epoch {epoch}{f', IoU {self.ious[epoch]:.2f}' if epoch in self.ious else ''}", picture)
            for epoch, picture in self.tiles
        ]
        return tiles + ([(f"errors, {self.wrong:.0%} of pixels", self.errors)] if self.errors else [])


@dataclass(frozen=True)
class MaskExample:
    """An image, its target mask, and the predictions of each run."""

    name: str
    image: EncodedImage | None
    target: EncodedImage | None
    rows: list[PredictionRow] = field(default_factory=list)

    def true(self) -> list[tuple[str, EncodedImage]]:
        """Image and target, as far as they are there."""
        return [(what, shown) for what, shown in (("image", self.image), ("target", self.target)) if shown]


def read_masks(
    runs: Sequence[tuple[str, ReportRun]], problems: list[str], *, extremes: bool = False
) -> tuple[list[MaskExample], list[tuple[str, str]]]:
    """Read the saved masks of runs; images of the same name and target mask are grouped.

    Args:
        runs: (label of the stage, run).
        problems: files that cannot be read are added to it.
        extremes: those of the hardest and easiest images, in place of the watched ones.

    Returns:
        The examples, and (class, color) of the legend.
    """
    by_key: dict[tuple[str, str], MaskExample] = {}
    legend: list[tuple[str, str]] = []
    for label, run in runs:
        base = run.folder / EXTREMES if extremes else run.folder
        folder = base / "masks"
        epochs = sorted(path for path in folder.glob("epoch-*") if re.fullmatch(r"epoch-\d+", path.name))
        epochs = epochs[-1:] if extremes else epochs
        names = {path.relative_to(epoch) for epoch in epochs for path in epoch.rglob("*.png")}
        snapshots = None
        with suppress(SslSegError):
            snapshots = read_mask_snapshots(run.folder, extremes=extremes)
        for name in sorted(path.as_posix() for path in names):
            true = folder / "labels" / name
            content = true.read_bytes() if true.exists() else b""
            key = (name, hashlib.sha256(content).hexdigest())
            if key not in by_key:
                title = snapshots.title(name) if snapshots else name
                shown = (encode_photo(folder / "images" / name, problems), encode_mask(true, problems))
                by_key[key] = MaskExample(title, *shown)
            tiles = [(int(each.name[6:]), encode_mask(each / name, problems)) for each in epochs]
            known = [(epoch, tile) for epoch, tile in tiles if tile]
            by_key[key].rows.append(_measured(PredictionRow(run, label, known), snapshots, name))
        legend += [pair for pair in _legend(base, problems) if pair not in legend]
    return list(by_key.values()), legend


def hardest_first(examples: Sequence[MaskExample]) -> list[MaskExample]:
    """Examples of one run and epoch by their IoU, the lowest first."""
    return sorted(examples, key=lambda each: min((*each.rows[0].ious.values(), math.inf)))


def _measured(row: PredictionRow, snapshots: MaskSnapshots | None, name: str) -> PredictionRow:
    """The row with IoU and errors, as far as its files can be read."""
    ious: dict[int, float] = {}
    if snapshots is None or not row.tiles:
        return row
    with suppress(ValueError, SslSegError):
        target = snapshots.target(name)
        predictions = {epoch: snapshots.prediction(epoch, name) for epoch, _ in row.tiles}
        measured = {epoch: snapshots.iou(mask, target) for epoch, mask in predictions.items()}
        ious |= {epoch: iou for epoch, iou in measured.items() if not math.isnan(iou)}
        palette = snapshots.palette
        excluded = [i for i, each in enumerate(palette.names) if each in palette.exclude]
        is_counted = (target != IGNORE_INDEX) & ~(snapshots.ignore_excluded & np.isin(target, excluded))
        is_wrong = is_counted & (predictions[max(predictions)] != target)
        pale = 120 + 0.5 * snapshots.image(name).mean(axis=2, keepdims=True)
        errors = encode_array(np.where(is_wrong[..., None], _WRONG, pale).astype(np.uint8))
        return replace(row, ious=ious, errors=errors, wrong=float(is_wrong.sum() / max(1, is_counted.sum())))
    return replace(row, ious=ious)


def _legend(folder: Path, problems: list[str]) -> list[tuple[str, str]]:
    metadata = read_or_note(folder / "masks.json", problems)
    try:
        pairs = zip(metadata.get("classes", []), metadata.get("colours", []), strict=False)
        made = [(str(name), "#{:02x}{:02x}{:02x}".format(*map(int, colour))) for name, colour in pairs]
    except (TypeError, ValueError, IndexError) as error:
        problems.append(f"{folder / 'masks.json'} is corrupt: {error}")
        return []
    return [pair for pair in made if len(pair[1]) == 7]
