"""`ssl-seg figure architecture`: network diagrams, traced from the models."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_seg.commands import figure_flags, flags
from ssl_seg.utils import limits
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.flag_values import read_options
from ssl_seg.workflows.inference import run_files
from ssl_seg.workflows.model_from_names import ENDINGS, SIZE, describe_network, open_network

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
    from ssl_seg.figures.architecture.draw import draw_architecture
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.files import replace_text
    from ssl_seg.utils.outputs import refuse_inputs

    registry, options = load_plugins().registry, read_options(option or [])
    trusted = [TypedName(name) for name in [*(backbone or ()), *(head or ())]]
    opened = [
        open_network(TypedName(n), registry, options, classes, trusted) for n in dict.fromkeys(networks)
    ]
    size = image_size or max((at for *_, at in opened if at), default=SIZE)
    described = [describe_network(model, size, title) for title, model, _ in opened]
    only = Path(networks[0]).expanduser()
    stem = out or (only / "figures" if len(networks) == 1 and only.is_dir() else Path()) / "architecture"
    stem = stem.with_suffix("") if stem.suffix in ENDINGS else stem
    number_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([number_file], (file for name in networks for file in run_files(Path(name).expanduser())))
    paths = draw_architecture(stem, described)
    numbers = {"image_size": size, "networks": [network.numbers() for network in described]}
    paths.append(number_file)
    replace_text(number_file, json.dumps(numbers, indent=1) + "\n")
    _print_totals(described, paths)


def _print_totals(networks: list["Network"], paths: list[Path]) -> None:
    from ssl_seg.figures.architecture.network import brief as short

    for network in networks:
        echo(
            f"{network.title}: {short(network.parameters, 4)} parameters, {short(network.macs, 4)}MACs "
            f"for an image of {network.size[0]} x {network.size[1]}"
        )
    echo(*paths)
