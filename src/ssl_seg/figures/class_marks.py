"""The color and the marker of each class of a run, the same in all its figures and on the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_seg.errors import SslSegError
from ssl_seg.figures.style import series_style
from ssl_seg.utils.toml import read_json

_MASK_MARKER = "s"


def class_marks(run: Path, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Color and marker of matplotlib of each class: of masks the color they are drawn in, else by its place.

    Args:
        run: folder of a run.
        classes: in the order of the run.
    """
    colors = mask_colors(run)
    return [
        (colors[name], _MASK_MARKER) if name in colors else series_style(index)
        for index, name in enumerate(classes)
    ]


def mask_colors(run: Path) -> dict[str, str]:
    """Class -> color as `#rrggbb` in the masks of a run; empty without masks, or if no file of the run says it."""
    try:
        return _colors(_metadata(run))
    except (OSError, SslSegError, KeyError, TypeError, ValueError):
        return {}  # whoever reads the file for its content reports its damage


def _metadata(run: Path) -> dict[str, Any]:
    from ssl_seg.weights.model_file import read_model_metadata

    path = run / "masks.json"  # of runs with watched images; it is there before the model is
    return read_json(path) if path.exists() else read_model_metadata(run / "model.safetensors")


def _colors(metadata: dict[str, Any]) -> dict[str, str]:
    pairs = zip(metadata["classes"], metadata["colours"], strict=True)
    return {str(name): _hex(*map(int, color)) for name, color in pairs}


def _hex(red: int, green: int, blue: int) -> str:
    return "#" + bytes([red, green, blue]).hex()
