"""Maps of the features that a classification run has saved: t-SNE, UMAP or PCA."""

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import UsageError
from ssl_seg.figures.embedding_methods import METHODS, check_method
from ssl_seg.figures.tsne_data import drawable, select_features
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.workflows.inference import run_files

if TYPE_CHECKING:
    from ssl_seg.figures.tsne import TSNEMap

_K = 10  # neighbors


@dataclass(frozen=True)
class TSNEFigure:
    """The maps that were drawn.

    Attributes:
        maps: one per epoch.
        chance_purity: k-NN purity of random positions.
        paths: of the figures, and of the JSON file with coordinates and scores.
    """

    maps: "list[TSNEMap]"
    chance_purity: float
    paths: list[Path]


def draw_tsne(
    run: Path,
    *,
    epochs: str | None = None,
    method: str = "tsne",
    perplexity: float | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> TSNEFigure:
    """Draw maps of the saved features of a run, each initialized from the previous one.

    Args:
        run: folder of a classification run.
        epochs: comma-separated; first and last by default.
        method: `tsne`, `umap` or `pca`.
        perplexity: of t-SNE; 30, or less for few images.
        seed: of t-SNE and UMAP.
        out: path of the figures without extension; RUN/figures/METHOD by default.

    Raises:
        DataError: the run has no saved features.
        UsageError: none of an epoch, a method that is unknown or not installed, or a perplexity for another than t-SNE.
    """
    from ssl_seg.figures.tsne import chance_purity, compute_tsne_maps, usable_perplexity
    from ssl_seg.figures.tsne_picture import color_groups, draw_maps

    _check(method, perplexity)
    run = find_run(run)
    stem = out or run / "figures" / method
    content_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([content_file], run_files(run))
    with ProgressDisplay() as console:
        snapshots, notes = select_features(run, epochs)
        snapshots, more = drawable(snapshots)
        for note in [*notes, *more]:
            console.print_line(note)
        usable = usable_perplexity(len(snapshots.targets), perplexity)
        options: dict[str, Any] = {"perplexity": usable, "method": method, "seed": seed, "k": _K}
        options["on_progress"] = console.mapping
        maps = compute_tsne_maps(snapshots.features, snapshots.targets, **options)
    note = "\n".join([_describe(method, len(snapshots.targets), usable, seed), *more])
    paths = draw_maps(stem, maps, snapshots.targets, snapshots.classes, k=_K, note=note)
    targets = snapshots.targets
    content = {
        "classes": snapshots.classes,
        "targets": targets.tolist(),
        "filenames": snapshots.filenames,
        "method": method,
        "colored": [*chain(*color_groups(maps[-1].xy, targets, _K).values())],
        "k": min(_K, len(targets) - 1),
        "perplexity": usable if method == "tsne" else None,
        "seed": seed,
        "chance": chance_purity(targets),
        "notes": [*notes, *more],
        "maps": [vars(each) | {"xy": each.xy.tolist()} for each in maps],
    }
    paths.append(content_file)
    atomic_write_text(content_file, json.dumps(content) + "\n")
    return TSNEFigure(maps, content["chance"], paths)


def _describe(method: str, count: int, perplexity: float, seed: int) -> str:
    options = {"tsne": f", perplexity {perplexity:g}, seed {seed}", "umap": f", seed {seed}"}
    return f"{METHODS[method]} of {count} training images{options.get(method, '')}"


def _check(method: str, perplexity: float | None) -> None:
    check_method(method)
    if method != "tsne" and perplexity is not None:
        raise UsageError("only t-SNE has a perplexity", next="omit --perplexity")
