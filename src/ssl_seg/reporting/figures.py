"""The pictures that runs have left: maps of features, masks, drawings of networks, segments of SAM."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_seg.reporting.collect import read_or_note
from ssl_seg.reporting.embedding_maps import Map, number_of
from ssl_seg.reporting.images import Picture, drawing, mask, photo
from ssl_seg.reporting.records import Facts, RunFacts
from ssl_seg.reporting.summaries import Cell

_ALL = "all networks of the study, drawn to one scale"


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
        found_below = {path.relative_to(epoch) for epoch in epochs for path in epoch.rglob("*.png")}
        for name in sorted(path.as_posix() for path in found_below):
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
    about = read_or_note(run.folder / "masks.json", found.troubles)
    try:
        pairs = zip(about.get("classes", []), about.get("colours", []), strict=False)
        made = [(str(name), "#{:02x}{:02x}{:02x}".format(*map(int, colour))) for name, colour in pairs]
    except (TypeError, ValueError, IndexError) as error:
        found.troubles.append(f"{run.folder / 'masks.json'} is corrupt: {error}")
        return
    found.legend += [pair for pair in made if pair not in found.legend and len(pair[1]) == 7]


def read_sam(run: RunFacts, troubles: list[str]) -> Sam | None:
    """`sam/sam.json` and its pictures; None if it is missing or damaged."""
    folder = run.folder / "sam"
    found = read_or_note(folder / "sam.json", troubles)
    try:
        entries = list(found.get("images", []))
        if entries and found.get("all"):  # over all images, from summed pixels
            entries.append({"name": "all", **found["all"]})
        images = [_segments(folder, known, troubles) for known in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        troubles.append(f"{folder / 'sam.json'} is corrupt: {error!r}")
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
    found = number_of(value)
    return Cell("n/a") if found is None else Cell(f"{found:.4f}", found, source)


def picture_files(facts: Facts, found: Figures) -> None:
    """Drawings of the networks and what they looked at, each once."""
    seen: set[bytes] = set()
    for stage in facts.stages:
        for path, kept in ((shown_network, found.networks), (_shown_views, found.views)):
            for run in stage.runs:
                file = path(run)
                made = (drawing if file.suffix == ".svg" else photo)(file, found.troubles)
                if made and hashlib.sha256(made.data).digest() not in seen:
                    seen.add(hashlib.sha256(made.data).digest())
                    kept.append((_ALL if file.parent.parent != run.folder else stage.label, made))
                if made:
                    break


def shown_network(run: RunFacts) -> Path:
    """The drawing of a run's network: that of all networks of its study, or its own."""
    study = run.folder.parent
    of_all = study / "figures" / "architecture.svg"
    its_own = run.command != "segment" or not (study / "study.json").exists() or not of_all.exists()
    return run.folder / "figures" / "architecture.svg" if its_own else of_all


def _shown_views(run: RunFacts) -> Path:
    return run.folder / "figures" / "views.png"
