"""`ssl-seg figure architecture`: network diagrams, traced from the models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_seg.commands import figure_flags, flags
from ssl_seg.utils import limits
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.architecture_figure import draw_networks

if TYPE_CHECKING:
    from ssl_seg.figures.architecture.network import Network


def architecture(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|BACKBONE+HEAD...", help="Runs, or BACKBONE+HEAD such as resnet50+deeplabv3."
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=limits.SIDE,
            help="Input image size, in pixels.",
            show_default="from the runs, else 512",
        ),
    ] = None,
    classes: Annotated[
        int, typer.Option(min=1, max=limits.COUNT, help="Number of classes of heads given by name.")
    ] = 7,
    backbone: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="Backbone that a run took from a file; repeatable."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="Head that a run took from a file; repeatable."),
    ] = None,
    option: flags.Option = None,
    out: Annotated[
        Path | None, figure_flags.stem("RUN/figures/architecture, or architecture for several")
    ] = None,
) -> None:
    """Draw network architectures stage by stage, on a common scale.

    Shows sizes, channels, dilation, parameters and MACs. Also writes the values to STEM.json.
    """
    described, paths = draw_networks(
        networks,
        image_size=image_size,
        classes=classes,
        backbone=backbone,
        head=head,
        option=option,
        out=out,
    )
    _print_totals(described, paths)


def _print_totals(networks: list["Network"], paths: list[Path]) -> None:
    from ssl_seg.utils.text import brief as short

    for network in networks:
        echo(
            f"{network.title}: {short(network.parameters, 4)} parameters, {short(network.macs, 4)}MACs "
            f"for an image of {network.size[0]} x {network.size[1]}"
        )
    echo(*paths)
