"""The pictures that runs have left: maps of features, masks, drawings of networks, segments of SAM."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_seg.report.facts import Facts, RunFacts
from ssl_seg.report.gather import read_json
from ssl_seg.report.pictures import Picture, drawing, mask, photo
from ssl_seg.report.summaries import Cell

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


@dataclass(frozen=True)
class Strip:
    """What one run has said of a watched image, epoch by epoch."""

    run: RunFacts
    label: str
    tiles: list[tuple[int, Picture]]


@dataclass(frozen=True)
class Watched:
    """An image, its true mask, and what each run has said."""

    name: str
    image: Picture | None
    label: Picture | None
    strips: list[Strip] = field(default_factory=list)


@dataclass(frozen=True)
class Segments:
    """What SAM has found in an image; of the trained networks the mean IoU on it."""

    name: str
    segments: Cell
    agreement: Cell
    models: dict[str, Cell]
    picture: Picture | None

    def model(self, name: str) -> Cell:
        return self.models.get(name, Cell("n/a"))


@dataclass(frozen=True)
class Sam:
    """SAM's segments beside a run's masks."""

    run: RunFacts
    model: str
    images: list[Segments]

    @property
    def models(self) -> list[str]:
        """The trained networks that were measured beside it."""
        return list(dict.fromkeys(name for image in self.images for name in image.models))


@dataclass
class Figures:
    """All pictures of a report.

    Attributes:
        legend: (class, colour) of the masks.
        networks: (stage, drawing). views: (stage, what its network looked at).
        missing: (what, the command that makes it). troubles: what could not be read.
    """

    maps: list[Map] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    networks: list[tuple[str, Picture]] = field(default_factory=list)
    views: list[tuple[str, Picture]] = field(default_factory=list)
    sams: list[Sam] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def read_map(run: RunFacts, troubles: list[str]) -> Map | None:
    """`figures/tsne.json`; None if it is missing, or, with a word in `troubles`, if it is damaged."""
    path = run.folder / "figures" / "tsne.json"
    found = read_json(path, troubles)
    if not found:
        return None
    try:
        classes, names = [str(name) for name in found["classes"]], [str(name) for name in found["filenames"]]
        targets = [int(target) for target in found["targets"]]
        epochs = [_epoch(known, len(targets)) for known in found["maps"]]
        if len(names) != len(targets) or not epochs or not targets:
            raise ValueError("its parts are not of one length")
        if not all(0 <= target < len(classes) for target in targets):
            raise ValueError("a target without a class")
        k = int(found.get("k", 10))
    except (KeyError, TypeError, ValueError) as error:
        troubles.append(f"{path} is damaged: {error!r}")
        return None
    sheet = photo(run.folder / "features" / "thumbnails.jpg", troubles, side=65_000, quality=72)
    rows = -(-len(targets) // COLUMNS)
    if sheet and (sheet.height < rows * TILE or sheet.width < min(len(targets), COLUMNS) * TILE):
        troubles.append(f"{run.folder / 'features' / 'thumbnails.jpg'} has too few tiles")
        sheet = None
    return Map(run, classes, targets, names, k, _number(found.get("chance")), epochs, sheet)


def _epoch(known: dict[str, Any], count: int) -> Epoch:
    xy = [(float(x), float(y)) for x, y in known["xy"]]
    if len(xy) != count or not all(math.isfinite(x) and math.isfinite(y) for x, y in xy):
        raise ValueError("a point is missing")
    lows = [min(point[axis] for point in xy) for axis in (0, 1)]
    highs = [max(point[axis] for point in xy) for axis in (0, 1)]
    side = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    moved = [[0.5 + (point[axis] - (lows[axis] + highs[axis]) / 2) / side for axis in (0, 1)] for point in xy]
    places = [(round(x, 4), round(y, 4)) for x, y in moved]
    return Epoch(int(known["epoch"]), places, _number(known.get("purity")), _number(known.get("silhouette")))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def read_masks(runs: Sequence[tuple[str, RunFacts]], found: Figures) -> None:
    """The watched images of runs, those with the same name and true mask side by side.

    Args:
        runs: (the stage's label, run).
        found: gets them, and the legend.
    """
    by_key: dict[tuple[str, str], Watched] = {}
    for label, run in runs:
        folder = run.folder / "masks"
        epochs = sorted(path for path in folder.glob("epoch-*") if re.fullmatch(r"epoch-\d+", path.name))
        for name in sorted({path.name for epoch in epochs for path in epoch.glob("*.png")}):
            true = folder / "labels" / name
            content = true.read_bytes() if true.exists() else b""
            key = (name, hashlib.sha256(content).hexdigest())
            if key not in by_key:
                shown = photo(folder / "images" / name, found.troubles), mask(true, found.troubles)
                by_key[key] = Watched(name, *shown)
            tiles = [(int(e.name[6:]), mask(e / name, found.troubles)) for e in epochs]
            kept = [(epoch, tile) for epoch, tile in tiles if tile]
            by_key[key].strips.append(Strip(run, label, kept))
        _read_legend(run, found)
    found.watched += by_key.values()


def _read_legend(run: RunFacts, found: Figures) -> None:
    about = read_json(run.folder / "masks.json", found.troubles)
    try:
        pairs = zip(about.get("classes", []), about.get("colours", []), strict=False)
        made = [(str(name), "#{:02x}{:02x}{:02x}".format(*map(int, colour))) for name, colour in pairs]
    except (TypeError, ValueError, IndexError) as error:
        found.troubles.append(f"{run.folder / 'masks.json'} is damaged: {error}")
        return
    found.legend += [pair for pair in made if pair not in found.legend and len(pair[1]) == 7]


def read_sam(run: RunFacts, troubles: list[str]) -> Sam | None:
    """`sam/sam.json` and its pictures; None if it is missing or damaged."""
    folder = run.folder / "sam"
    found = read_json(folder / "sam.json", troubles)
    try:
        images = [_segments(folder, known, troubles) for known in found.get("images", [])]
    except (KeyError, TypeError, AttributeError) as error:
        troubles.append(f"{folder / 'sam.json'} is damaged: {error!r}")
        return None
    return Sam(run, str(found.get("model", "SAM")), images) if images else None


def _segments(folder: Path, known: dict[str, Any], troubles: list[str]) -> Segments:
    name = str(known["name"])
    # a name must not lead out of the folder
    inside = [
        path for path in folder.glob("*.png") if path.name in (name, f"{name}.png", f"{Path(name).stem}.png")
    ]
    picture = photo(inside[0], troubles) if inside else None
    source = f"{folder.parent.name}/sam/sam.json"
    models = {str(key): _cell(value, source) for key, value in dict(known.get("models") or {}).items()}
    count = known.get("segments")
    segments = Cell(str(count)) if isinstance(count, int) else Cell("n/a")
    return Segments(name, segments, _cell(known.get("agreement"), source), models, picture)


def _cell(value: Any, source: str) -> Cell:
    found = _number(value)
    return Cell("n/a") if found is None else Cell(f"{found:.4f}", found, source)


def picture_files(facts: Facts, found: Figures) -> None:
    """Drawings of the networks and what they looked at, each once."""
    seen: set[bytes] = set()
    for stage in facts.stages:
        for kind, kept in (("architecture.svg", found.networks), ("views.png", found.views)):
            for run in stage.runs:
                path = run.folder / "figures" / kind
                made = (drawing if kind.endswith("svg") else photo)(path, found.troubles)
                if made and hashlib.sha256(made.data).digest() not in seen:
                    seen.add(hashlib.sha256(made.data).digest())
                    kept.append((stage.label, made))
                if made:
                    break


def map_json(made: Map, sheet: str) -> str:
    """What the page's script draws a map from."""
    maps = [{"epoch": epoch.epoch, "xy": epoch.xy} for epoch in made.epochs]
    about = {"classes": made.classes, "targets": made.targets, "filenames": made.filenames}
    return json.dumps({**about, "maps": maps, "sheet": sheet}, separators=(",", ":"))
