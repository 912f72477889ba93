"""The report as one self-contained HTML file."""

import base64
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ssl_seg.figures.palette import PAGE_MARKERS, SERIES
from ssl_seg.reporting.build import COMMAND_TITLES, Report, pair_of
from ssl_seg.reporting.embedding_maps import Map, map_json
from ssl_seg.reporting.svg import theme
from ssl_seg.reporting.training_health import LEVELS
from ssl_seg.utils.files import replace_text
from ssl_seg.utils.text import plain

_HERE = Path(__file__).parent


def write_page(report: Report, path: Path) -> None:
    """Write the page.

    Raises:
        ResourceError: it cannot be written.
    """
    replace_text(path, page(report))


def page(report: Report) -> str:
    """Return the page; foreign text is escaped everywhere, and only the built-in script may run."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sheets, maps = _maps(report.figures.maps)
    return environment.get_template("page.html.j2").render(
        report=report,
        names=COMMAND_TITLES,
        levels=LEVELS,
        colors=len(SERIES),
        markers=PAGE_MARKERS,
        style=Markup(theme() + (_HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=digest,
        svg=Markup,
        sheets=in_script(json.dumps(sheets)),
        maps=maps,
        run_names={run.folder.name: run.name for run in report.facts.runs},
    )


def _maps(maps: list[Map]) -> tuple[dict[str, str], list[tuple[Map, list[Markup], Markup]]]:
    """Sheets of thumbnails, each once, and for every map its drawings and its data."""
    sheets: dict[str, str] = {}
    found = []
    for made in maps:
        key = ""
        if made.sheet:
            key = f"sheet-{hashlib.sha256(made.sheet.data).hexdigest()[:12]}"
            sheets[key] = made.sheet.uri
        found.append((made, list(map(Markup, pair_of(made))), in_script(map_json(made, key))))
    return sheets, found


def in_script(json_text: str) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element or a line."""
    for letter in "<>&\u2028\u2029":
        json_text = json_text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(json_text)
