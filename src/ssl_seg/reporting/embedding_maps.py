"""Maps of features: t-SNE of what a run has kept at several epochs."""

import json
import math
from dataclasses import dataclass
from typing import Any

from ssl_seg.reporting.collect import read_or_note
from ssl_seg.reporting.images import Picture, photo
from ssl_seg.reporting.records import RunFacts

TILE, COLUMNS = 32, 64  # pixels and tiles in a row of `thumbnails.jpg`


@dataclass(frozen=True)
class Epoch:
    """A map of one epoch.

    Attributes:
        xy: (N, 2) in [0, 1], the aspect kept.
        purity: share of the `k` nearest neighbours of the same class. silhouette: None if there is none.
    """

    epoch: int
    xy: list[tuple[float, float]]
    purity: float | None
    silhouette: float | None


@dataclass(frozen=True)
class Map:
    """t-SNE of a run's features at several epochs, the same images in each.

    Attributes:
        chance: the purity that a map without sense would have.
    """

    run: RunFacts
    classes: list[str]
    targets: list[int]
    filenames: list[str]
    k: int
    chance: float | None
    epochs: list[Epoch]
    sheet: Picture | None


def read_map(run: RunFacts, troubles: list[str]) -> Map | None:
    """`figures/tsne.json`; None if it is missing, or, with a word in `troubles`, if it is damaged."""
    path = run.folder / "figures" / "tsne.json"
    found = read_or_note(path, troubles)
    if not found:
        return None
    try:
        classes, names = [str(name) for name in found["classes"]], [str(name) for name in found["filenames"]]
        targets = [int(target) for target in found["targets"]]
        epochs = [_epoch(known, len(targets)) for known in found["maps"]]
        if len(names) != len(targets) or not epochs or not targets:
            raise ValueError("its lists differ in length")
        if not all(0 <= target < len(classes) for target in targets):
            raise ValueError("target index out of range")
        k = int(found.get("k", 10))
    except (KeyError, TypeError, ValueError) as error:
        troubles.append(f"{path} is corrupt: {error!r}")
        return None
    sheet = photo(run.folder / "features" / "thumbnails.jpg", troubles, side=65_000, quality=72)
    rows = -(-len(targets) // COLUMNS)
    if sheet and (sheet.height < rows * TILE or sheet.width < min(len(targets), COLUMNS) * TILE):
        troubles.append(f"{run.folder / 'features' / 'thumbnails.jpg'} has too few tiles")
        sheet = None
    return Map(run, classes, targets, names, k, number_of(found.get("chance")), epochs, sheet)


def _epoch(known: dict[str, Any], count: int) -> Epoch:
    xy = [(float(x), float(y)) for x, y in known["xy"]]
    if len(xy) != count or not all(math.isfinite(x) and math.isfinite(y) for x, y in xy):
        raise ValueError("missing or non-finite coordinates")
    lows = [min(point[axis] for point in xy) for axis in (0, 1)]
    highs = [max(point[axis] for point in xy) for axis in (0, 1)]
    side = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    moved = [[0.5 + (point[axis] - (lows[axis] + highs[axis]) / 2) / side for axis in (0, 1)] for point in xy]
    places = [(round(x, 4), round(y, 4)) for x, y in moved]
    return Epoch(
        int(known["epoch"]), places, number_of(known.get("purity")), number_of(known.get("silhouette"))
    )


def number_of(value: Any) -> float | None:
    """A number that is finite, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def map_json(made: Map, sheet: str) -> str:
    """What the page's script draws a map from."""
    maps = [{"epoch": epoch.epoch, "xy": epoch.xy} for epoch in made.epochs]
    about = {"classes": made.classes, "targets": made.targets, "filenames": made.filenames}
    return json.dumps({**about, "maps": maps, "sheet": sheet}, separators=(",", ":"))
