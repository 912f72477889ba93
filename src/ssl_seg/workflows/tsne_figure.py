"""t-SNE maps of the features that a classification run has saved."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    perplexity: float | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> TSNEFigure:
    """Draw maps of the saved features of a run, each initialized from the previous one.

    Args:
        run: folder of a classification run.
        epochs: comma-separated; first and last by default.
        perplexity: 30, or less for few images.
        seed: of t-SNE.
        out: path of the figures without extension; RUN/figures/tsne by default.

    Raises:
        DataError: the run has no saved features. UsageError: none of an epoch.
    """
    from ssl_seg.figures.tsne import chance_purity, compute_tsne_maps, usable_perplexity
    from ssl_seg.figures.tsne_picture import draw_maps

    run = find_run(run)
    stem = out or run / "figures" / "tsne"
    content_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([content_file], run_files(run))
    with ProgressDisplay() as console:
        snapshots, notes = select_features(run, epochs)
        snapshots, more = drawable(snapshots)
        for note in [*notes, *more]:
            console.print_line(note)
        usable = usable_perplexity(len(snapshots.targets), perplexity)
        maps = compute_tsne_maps(
            snapshots.features,
            snapshots.targets,
            perplexity=usable,
            seed=seed,
            k=_K,
            on_progress=console.mapping,
        )
    note = f"t-SNE of {len(snapshots.targets)} training images, perplexity {usable:g}, seed {seed}"
    note = "\n".join([note, *more])
    paths = draw_maps(stem, maps, snapshots.targets, snapshots.classes, k=_K, note=note)
    content = {
        "classes": snapshots.classes,
        "targets": snapshots.targets.tolist(),
        "filenames": snapshots.filenames,
        "k": min(_K, len(snapshots.targets) - 1),
        "perplexity": usable,
        "seed": seed,
        "chance": chance_purity(snapshots.targets),
        "notes": [*notes, *more],
        "maps": [vars(each) | {"xy": each.xy.tolist()} for each in maps],
    }
    paths.append(content_file)
    atomic_write_text(content_file, json.dumps(content) + "\n")
    return TSNEFigure(maps, content["chance"], paths)
