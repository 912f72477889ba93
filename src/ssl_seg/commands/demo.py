"""`ssl-seg demo`: the whole thing once, small, with nothing to download."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands.train import train


def demo(
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 5,
) -> None:
    """Pre-train a small network on painted scenes: about two minutes on two cores."""
    train(
        data="demo:800",
        probe="demo:1000",
        backbone="resnet10t",
        image_size=64,
        batch_size=32,
        epochs=epochs,
        out=out,
    )
    typer.echo(
        f"\nThe network has never seen a label. probe_knn above tells how often a picture's nearest\n"
        f"neighbours, by what it has learnt, show the same kind of thing (by chance 0.125; pictures are\n"
        f"painted at random, so an untrained network gets some of it by colour alone).\n\n"
        f"  {out / 'figures' / 'views.png'}   what it looked at\n"
        f"  {out / 'scores.jsonl'}        how it went, epoch by epoch\n\n"
        f"Next:\n"
        f"  ssl-seg train FOLDER_OF_IMAGES --backbone resnet50\n"
        f"  ssl-seg train FOLDER_OF_IMAGES --ssl simclr --probe LABELLED_IMAGES\n"
        f"  ssl-seg classify demo:800 --val demo:400 --init {out} --freeze --epochs 20\n"
        f"  ssl-seg list\n"
        f"  ssl-seg train --help"
    )
