"""`ssl-seg figure tsne`: t-SNE maps of the saved features of a classification run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.figures.tsne_data import chosen_features, mappable
from ssl_seg.utils import limits
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.utils.progress import Console, echo
from ssl_seg.workflows.inference import run_files

_K = 10  # neighbours


def tsne(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a classification run.")],
    epochs: Annotated[
        str | None, typer.Option(metavar="1,100", help="Epochs to map.", show_default="first and last")
    ] = None,
    perplexity: Annotated[
        float | None,
        typer.Option(help="t-SNE perplexity.", show_default="30; less for few images"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=limits.NUMPY_SEED, help="t-SNE random seed.")] = 0,
    out: Annotated[Path | None, figure_flags.stem("RUN/figures/tsne")] = None,
) -> None:
    """Draw t-SNE maps of the saved training features of a run.

    Also writes coordinates and scores to STEM.json. Each map is initialized from the previous one.
    """
    from ssl_seg.figures.tsne import chance, make_maps, usable_perplexity
    from ssl_seg.figures.tsne_picture import draw_maps

    stem = out or run / "figures" / "tsne"
    content_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([content_file], run_files(run))
    with Console() as console:
        kept, notes = chosen_features(run, epochs)
        kept, more = mappable(kept)
        for note in [*notes, *more]:
            console.say(note)
        usable = usable_perplexity(len(kept.targets), perplexity)
        maps = make_maps(
            kept.features, kept.targets, perplexity=usable, seed=seed, k=_K, tick=console.mapping
        )
    about = f"t-SNE of {len(kept.targets)} training images, perplexity {usable:g}, seed {seed}"
    about = "\n".join([about, *more])
    paths = draw_maps(stem, maps, kept.targets, kept.classes, k=_K, note=about)
    content = {
        "classes": kept.classes,
        "targets": kept.targets.tolist(),
        "filenames": kept.filenames,
        "k": min(_K, len(kept.targets) - 1),
        "perplexity": usable,
        "seed": seed,
        "chance": chance(kept.targets),
        "notes": [*notes, *more],
        "maps": [vars(each) | {"xy": each.xy.tolist()} for each in maps],
    }
    paths.append(content_file)
    replace_text(content_file, json.dumps(content) + "\n")
    for each in maps:
        apart = "n/a" if each.silhouette is None else f"{each.silhouette:.3f}"
        echo(f"epoch {each.epoch}: purity {each.purity:.3f}, silhouette {apart}")
    echo(f"chance: purity {content['chance']:.3f}")
    echo(*paths)
