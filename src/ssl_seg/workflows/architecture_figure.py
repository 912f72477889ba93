"""Diagrams of network architectures, and their sizes as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.outputs import refuse_inputs
from ssl_seg.workflows.flag_values import read_options
from ssl_seg.workflows.inference import run_files
from ssl_seg.workflows.model_from_names import ENDINGS, SIZE, describe_network, from_names, from_run, is_run

if TYPE_CHECKING:
    from ssl_seg.figures.architecture.network import Network


def draw_networks(
    networks: Sequence[str],
    *,
    image_size: int | None = None,
    classes: int = 7,
    backbone: Sequence[str] | None = None,
    head: Sequence[str] | None = None,
    option: list[str] | None = None,
    out: Path | None = None,
) -> "tuple[list[Network], list[Path]]":
    """Draw networks on a common scale, and write their values to a JSON file.

    Args:
        networks: run folders, or names such as `resnet50+deeplabv3`; typed by a person.
        image_size: in pixels; that of the runs by default, else 512.
        classes: of heads given by name.
        backbone, head: `FILE.py:NAME` of runs whose parts are from files.
        option: as `-o` has them.
        out: path of the figures without extension.

    Returns:
        The networks, and the paths of the figures and the JSON file.
    """
    from ssl_seg.figures.architecture.draw import architecture
    from ssl_seg.figures.style import figure_style, save
    from ssl_seg.plugins import load_plugins

    registry, options = load_plugins().registry, read_options(option or [], ("backbone", "head"))
    trusted = [TypedName(name) for name in [*(backbone or ()), *(head or ())]]
    names = list(map(TypedName, dict.fromkeys(networks)))
    runs = {name: from_run(name, registry, classes, trusted) for name in names if is_run(name)}
    size = image_size or max((at for *_, at in runs.values() if at), default=SIZE)
    described = []
    for name in names:
        title, model = runs[name][:2] if name in runs else from_names(name, registry, options, classes, size)
        described.append(describe_network(model, size, title))
    only = find_run(networks[0])
    stem = out or (only / "figures" if len(networks) == 1 and only.is_dir() else Path()) / "architecture"
    stem = stem.with_suffix("") if stem.suffix in ENDINGS else stem
    number_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([number_file], (file for name in networks for file in run_files(find_run(name))))
    with figure_style():
        paths = save(architecture(described), stem, dpi=300)
    numbers = {"image_size": size, "networks": [network.numbers() for network in described]}
    paths.append(number_file)
    atomic_write_text(number_file, json.dumps(numbers, indent=1) + "\n")
    return described, paths
