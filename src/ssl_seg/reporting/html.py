"""What the pages share: templates, style, and scripts that are allowed by their digest."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ssl_seg.figures.palette import style_indices
from ssl_seg.reporting.svg import theme_css
from ssl_seg.utils.text import strip_unprintable

COMMAND_TITLES = {"train": "Pre-training", "classify": "Classification", "segment": "Segmentation"}
_HERE = Path(__file__).parent


def environment() -> Environment:
    """Return templates in which foreign text is escaped everywhere; `svg(text)` is for charts of ours."""
    made = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: strip_unprintable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(style_indices=style_indices, svg=Markup)
    return made


def style(*names: str) -> Markup:
    """Return the style of all pages, and further files beside this one."""
    return Markup(theme_css() + "".join(map(_read, ("style.css", *names))))


def script(*names: str) -> tuple[Markup, str]:
    """Return the script of all pages with further files, and its SHA-256 for the content security policy."""
    text = "".join(map(_read, ("theme.js", *names)))
    return Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
