"""Maps of the saved features of a run at several epochs: t-SNE, and UMAP or PCA where they were drawn."""

import json
import math
from dataclasses import dataclass
from typing import Any

from ssl_seg.figures.embedding_methods import METHODS
from ssl_seg.figures.palette import style_indices
from ssl_seg.reporting.collect import read_or_note
from ssl_seg.reporting.images import EncodedImage, encode_photo
from ssl_seg.reporting.records import ReportRun
from ssl_seg.reporting.summaries import number
from ssl_seg.results.score_text import score_digits

TILE, COLUMNS = 32, 64  # pixels and tiles in a row of `thumbnails.jpg`


@dataclass(frozen=True)
class EmbeddingEpoch:
    """The map of one epoch.

    Attributes:
        xy: (N, 2) in [0, 1], with the original aspect ratio.
        purity: fraction of the `k` nearest neighbors with the same class. silhouette: None if undefined.
    """

    epoch: int
    xy: list[tuple[float, float]]
    purity: float | None
    silhouette: float | None


@dataclass(frozen=True)
class EmbeddingMap:
    """A run's features in two dimensions at several epochs, the same images in each.

    Attributes:
        method: its name, of `METHODS`.
        gray: of many classes, the indices of those that figures show without a color of their own.
        chance: the purity of random positions.
    """

    run: ReportRun
    method: str
    classes: list[str]
    gray: frozenset[int]
    targets: list[int]
    filenames: list[str]
    k: int
    chance: float | None
    epochs: list[EmbeddingEpoch]
    sheet: EncodedImage | None

    @property
    def file(self) -> str:
        """The JSON file, with the folder of the run."""
        return f"{self.run.folder.name}/figures/{self.method.replace('-', '').lower()}.json"

    @property
    def digits(self) -> int:
        """Decimals of its scores."""
        return score_digits(len(self.targets))


def read_embedding_maps(run: ReportRun, problems: list[str]) -> list[EmbeddingMap]:
    """Read `figures/tsne.json` and the maps of other methods; what is damaged is added to `problems`."""
    found = (_read(run, method, problems) for method in METHODS)
    return [each for each in found if each]


def _read(run: ReportRun, method: str, problems: list[str]) -> EmbeddingMap | None:
    path = run.folder / "figures" / f"{method}.json"
    content = read_or_note(path, problems)
    if not content:
        return None
    try:
        classes, names = (
            [str(name) for name in content["classes"]],
            [str(name) for name in content["filenames"]],
        )
        targets = [int(target) for target in content["targets"]]
        epochs = [_epoch(known, len(targets)) for known in content["maps"]]
        if len(names) != len(targets) or not epochs or not targets:
            raise ValueError("its lists differ in length")
        if not all(0 <= target < len(classes) for target in targets):
            raise ValueError("target index out of range")
        k = int(content.get("k", 10))
        colored = {int(index) for index in content.get("colored") or range(len(classes))}
        gray = frozenset(range(len(classes))) - colored
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"{path} is corrupt: {error!r}")
        return None
    sheet = encode_photo(run.folder / "features" / "thumbnails.jpg", problems, side=65_000, quality=72)
    rows = -(-len(targets) // COLUMNS)
    if sheet and (sheet.height < rows * TILE or sheet.width < min(len(targets), COLUMNS) * TILE):
        problems.append(f"{run.folder / 'features' / 'thumbnails.jpg'} has too few tiles")
        sheet = None
    chance = number(content.get("chance"))
    return EmbeddingMap(run, METHODS[method], classes, gray, targets, names, k, chance, epochs, sheet)


def _epoch(known: dict[str, Any], count: int) -> EmbeddingEpoch:
    xy = [(float(x), float(y)) for x, y in known["xy"]]
    if len(xy) != count or not all(math.isfinite(x) and math.isfinite(y) for x, y in xy):
        raise ValueError("missing or non-finite coordinates")
    lows = [min(point[axis] for point in xy) for axis in (0, 1)]
    highs = [max(point[axis] for point in xy) for axis in (0, 1)]
    side = max(high - low for low, high in zip(lows, highs, strict=True)) or 1.0
    moved = [[0.5 + (point[axis] - (lows[axis] + highs[axis]) / 2) / side for axis in (0, 1)] for point in xy]
    positions = [(round(x, 4), round(y, 4)) for x, y in moved]
    return EmbeddingEpoch(
        int(known["epoch"]), positions, number(known.get("purity")), number(known.get("silhouette"))
    )


def map_json(made: EmbeddingMap, sheet: str) -> str:
    """Return the data of a map for the script of the page."""
    maps = [{"epoch": epoch.epoch, "xy": epoch.xy} for epoch in made.epochs]
    content: dict[str, Any] = {"classes": made.classes, "targets": made.targets, "filenames": made.filenames}
    content["styles"] = [style_indices(index) for index in range(len(made.classes))]
    content["gray"] = sorted(made.gray)
    return json.dumps({**content, "maps": maps, "sheet": sheet}, separators=(",", ":"))
