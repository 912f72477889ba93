"""`ssl-seg figure tsne`: maps of the saved features of a classification run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import figure_flags
from ssl_seg.utils import limits
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.tsne_figure import draw_tsne


def tsne(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a classification run.")],
    epochs: Annotated[
        str | None, typer.Option(metavar="1,100", help="Epochs to map.", show_default="first and last")
    ] = None,
    method: Annotated[
        Literal["tsne", "umap", "pca"], typer.Option(help="umap requires the package umap-learn.")
    ] = "tsne",
    perplexity: Annotated[
        float | None,
        typer.Option(help="t-SNE perplexity.", show_default="30; less for few images"),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=limits.NUMPY_SEED, help="Random seed of t-SNE and UMAP.")
    ] = 0,
    out: Annotated[Path | None, figure_flags.stem("RUN/figures/METHOD")] = None,
) -> None:
    """Draw t-SNE, UMAP or PCA of the saved features of a run.

    Also writes coordinates and scores to STEM.json. Each map is initialized from the previous one.
    """
    figure = draw_tsne(run, epochs=epochs, method=method, perplexity=perplexity, seed=seed, out=out)
    for each in figure.maps:
        apart = "n/a" if each.silhouette is None else f"{each.silhouette:.3f}"
        echo(f"epoch {each.epoch}: purity {each.purity:.3f}, silhouette {apart}")
    echo(f"chance: purity {figure.chance_purity:.3f}")
    echo(*figure.paths)
