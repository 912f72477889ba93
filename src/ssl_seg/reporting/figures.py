"""Figures and images saved by runs: t-SNE maps, masks, architectures, SAM segments."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_seg.reporting.collect import read_or_note
from ssl_seg.reporting.embedding_maps import EmbeddingMap
from ssl_seg.reporting.images import EncodedImage, encode_photo, read_svg
from ssl_seg.reporting.mask_examples import MaskExample
from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.reporting.summaries import Cell, Row, number
from ssl_seg.results.score_text import score_digits

_ALL = "all networks of the study, on one scale"


@dataclass(frozen=True)
class SamImage:
    """SAM's result on one image, and the mean IoU of the trained networks on it."""

    name: str
    segments: Cell
    agreement: Cell
    models: dict[str, Cell]
    picture: EncodedImage | None

    def model(self, name: str) -> Cell:
        return self.models.get(name, Cell("n/a"))


@dataclass(frozen=True)
class SamComparison:
    """SAM's segments compared with the masks of a run."""

    run: ReportRun
    model: str
    images: list[SamImage]

    @property
    def models(self) -> list[str]:
        """The trained networks in the comparison."""
        return list(dict.fromkeys(name for image in self.images for name in image.models))

    def grid(self, names: Mapping[str, str]) -> tuple[list[str], list[Row]]:
        """The head and the rows of the table; `names` are those of the runs, by folder."""
        head = ["image", "segments", "achievable mIoU", *(names.get(name, name) for name in self.models)]
        return head, [[i.name, i.segments, i.agreement, *map(i.model, self.models)] for i in self.images]


@dataclass
class Figures:
    """All figures of a report.

    Attributes:
        mask_examples: the watched images. extremes: (stage, its hardest and easiest images, the hardest first).
        legend: (class, color) of the masks.
        confusions: (command, stage, confusion matrix). networks: (stage, architecture). views: (stage, sheet of training views).
        missing: (item, the command that creates it). problems: files that could not be read.
    """

    maps: list[EmbeddingMap] = field(default_factory=list)
    mask_examples: list[MaskExample] = field(default_factory=list)
    extremes: list[tuple[str, list[MaskExample]]] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    confusions: list[tuple[str, str, EncodedImage]] = field(default_factory=list)
    networks: list[tuple[str, EncodedImage]] = field(default_factory=list)
    views: list[tuple[str, EncodedImage]] = field(default_factory=list)
    sams: list[SamComparison] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_sam(run: ReportRun, problems: list[str]) -> SamComparison | None:
    """Read `sam/sam.json` and its images; None if it is missing or damaged."""
    folder = run.folder / "sam"
    found = read_or_note(folder / "sam.json", problems)
    try:
        entries = list(found.get("images", []))
        if entries and found.get("all"):  # over all images, from summed pixels
            entries.append({"name": "all", **found["all"]})
        images = [_segments(folder, known, problems) for known in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"{folder / 'sam.json'} is corrupt: {error!r}")
        return None
    return SamComparison(run, str(found.get("model", "SAM")), images) if images else None


def _segments(folder: Path, known: dict[str, Any], problems: list[str]) -> SamImage:
    name = str(known["name"])
    # a name must not lead out of the folder
    inside = [
        path for path in folder.glob("*.png") if path.name in (name, f"{name}.png", f"{Path(name).stem}.png")
    ]
    picture = encode_photo(inside[0], problems) if inside else None
    source = f"{folder.parent.name}/sam/sam.json"
    models = {str(key): _cell(value, source) for key, value in dict(known.get("models") or {}).items()}
    count = known.get("segments")
    segments = Cell(str(count)) if isinstance(count, int) else Cell("n/a")
    return SamImage(name, segments, _cell(known.get("agreement"), source), models, picture)


def _cell(value: Any, source: str) -> Cell:
    found = number(value)
    return Cell("n/a") if found is None else Cell(f"{found:.{score_digits(None)}f}", found, source)


def picture_files(collected: ReportData, found: Figures) -> None:
    """Add the architecture figures and sheets of views, each once."""
    seen: set[bytes] = set()
    for stage in collected.stages:
        for path, kept in ((shown_network, found.networks), (_shown_views, found.views)):
            for run in stage.runs:
                file = path(run)
                made = (read_svg if file.suffix == ".svg" else encode_photo)(file, found.problems)
                if made and hashlib.sha256(made.data).digest() not in seen:
                    seen.add(hashlib.sha256(made.data).digest())
                    kept.append((_ALL if file.parent.parent != run.folder else stage.label, made))
                if made:
                    break


def read_confusions(collected: ReportData, found: Figures) -> None:
    """Add the confusion matrix of the first run of each stage that has a figure of it."""
    for stage in collected.stages:
        files = (run.folder / "figures" / "confusion.svg" for run in stage.runs)
        made = next(filter(None, (read_svg(file, found.problems) for file in files)), None)
        if made:
            found.confusions.append((stage.stage.command, stage.label, made))


def shown_network(run: ReportRun) -> Path:
    """Return the architecture figure of a run: that of its study if it has one, else its own."""
    study = run.folder.parent
    of_all = study / "figures" / "architecture.svg"
    its_own = run.command != "segment" or not (study / "study.json").exists() or not of_all.exists()
    return run.folder / "figures" / "architecture.svg" if its_own else of_all


def _shown_views(run: ReportRun) -> Path:
    return run.folder / "figures" / "views.png"
