"""The features that a run has kept, for t-SNE."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_seg.errors import DataError, UsageError
from ssl_seg.results.planned_epochs import planned_epochs
from ssl_seg.results.run_digests import warn_of_damage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureSnapshots:
    """What a run has kept of N images: their features at some epochs, and what they are."""

    features: Mapping[int, "NDArray[np.float32]"]
    targets: "NDArray[np.int64]"
    filenames: list[str]
    classes: list[str]


def select_features(run: Path, epochs: str | None) -> tuple[FeatureSnapshots, list[str]]:
    """The features of the epochs that are asked for, or of the first and the last; and what is missing."""
    if not run.is_dir():
        raise UsageError(f"folder not found: {run}")
    warn_of_damage(run)
    names = {path: re.fullmatch(r"epoch-(\d+)\.npz", path.name) for path in run.glob("features/*.npz")}
    paths = dict(sorted((int(name[1]), path) for path, name in names.items() if name))
    if not paths:
        raise DataError(
            f"{run} has no saved features",
            where=str(run / "features"),
            next="ssl-seg classify ... --keep-features 2000",
        )
    notes = []
    if epochs is None:
        requested = sorted({min(paths), max(paths)})
        if (planned := planned_epochs(run)) and planned not in paths:
            notes.append(
                f"epoch {planned} is missing: the run has not reached it; "
                f"`ssl-seg classify --resume --out {run}` resumes it"
            )
    else:
        requested = _numbers(epochs, paths)
    parts = {epoch: _read(paths[epoch]) for epoch in requested}
    first = parts[requested[0]]
    for epoch, part in parts.items():
        if part.filenames != first.filenames or (part.targets != first.targets).any():
            raise DataError(
                f"features of epochs {requested[0]} and {epoch} are of different images",
                where=str(run / "features"),
            )
    return replace(first, features={epoch: part.features[0] for epoch, part in parts.items()}), notes


def _numbers(epochs: str, paths: Mapping[int, Path]) -> list[int]:
    requested = [int(text) if text.strip().isdecimal() else -1 for text in epochs.split(",")]
    if missing := [
        text for text, epoch in zip(epochs.split(","), requested, strict=True) if epoch not in paths
    ]:
        raise UsageError(
            f"--epochs {epochs}: no saved features for epoch {', '.join(missing)}",
            next=f"--epochs {','.join(map(str, paths))}  # available",
        )
    return list(dict.fromkeys(requested))


def _read(path: Path) -> FeatureSnapshots:
    """One file; its features stand at epoch 0."""
    import numpy as np

    from ssl_seg.utils.arrays import read_arrays

    try:
        features, *others = read_arrays(path, ["features", "targets", "filenames", "classes"])
        targets, (filenames, classes) = others[0].astype(np.int64), [each.tolist() for each in others[1:]]
        if (
            features.ndim != 2
            or features.dtype.kind != "f"
            or not len(features) == len(targets) == len(filenames)
        ):
            raise ValueError("its arrays do not match")
        if len(targets) and not 0 <= targets.min() <= targets.max() < len(classes):
            raise ValueError("target index out of range")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read features: {error}", where=str(path)) from error
    return FeatureSnapshots({0: features}, targets, filenames, classes)


def drawable(snapshots: FeatureSnapshots) -> tuple[FeatureSnapshots, list[str]]:
    """Without epochs and images that cannot, or need not, be drawn; and what was left out."""
    import numpy as np

    from ssl_seg.figures.tsne import evenly_spaced, max_points

    notes: list[str] = []
    features: dict[int, NDArray[np.float32]] = {}
    for epoch, values in snapshots.features.items():
        if not np.isfinite(values).all():
            notes.append(f"skipped epoch {epoch}: its features contain NaN or infinity")
            continue
        duplicate = next((e for e, other in features.items() if _same(other, values)), None)
        if duplicate is not None:
            notes.append(f"epochs {duplicate} and {epoch} have the same features (frozen backbone): one map")
        else:
            features[epoch] = values
            if len(values) and np.ptp(values, axis=0).max(initial=0) == 0:
                notes.append(f"epoch {epoch}: all images have equal features, so the map is random")
    if not features:
        raise DataError("no epoch has finite features", next="check the losses in scores.jsonl of the run")
    rows = evenly_spaced(len(snapshots.targets), max_points())
    if len(rows) < len(snapshots.targets):
        notes.append(
            f"{len(rows)} of {len(snapshots.targets)} images are drawn; install openTSNE to draw all"
        )
    names = [snapshots.filenames[row] for row in rows]
    return FeatureSnapshots(
        {e: v[rows] for e, v in features.items()}, snapshots.targets[rows], names, snapshots.classes
    ), notes


def _same(one: "NDArray[np.float32]", two: "NDArray[np.float32]") -> bool:
    """But for rounding: a GPU adds up in another order at another time."""
    import numpy as np

    return one.shape == two.shape and bool(
        np.allclose(one, two, rtol=1e-4, atol=1e-5 * float(np.abs(one).max(initial=0)))
    )
