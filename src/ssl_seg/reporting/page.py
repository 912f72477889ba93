"""The report as one self-contained HTML file."""

import hashlib
import json
from pathlib import Path

from markupsafe import Markup

from ssl_seg.figures.class_marks import mask_colors
from ssl_seg.figures.palette import SHAPES
from ssl_seg.reporting.build import Report, run_grid, run_names
from ssl_seg.reporting.calibration import HEAD
from ssl_seg.reporting.embedding_charts import map_charts
from ssl_seg.reporting.embedding_maps import EmbeddingMap, map_json
from ssl_seg.reporting.html import COMMAND_TITLES, environment, script, style
from ssl_seg.reporting.prose import code_spans, prose
from ssl_seg.reporting.settings_diff import DATA_HEAD, MACHINE_HEAD
from ssl_seg.reporting.training_health import LEVELS
from ssl_seg.results.score_text import score_name
from ssl_seg.utils.files import atomic_write_text

_MANY = 12  # rows of a table; of more, the means are shown and the rest is folded


def write_page(report: Report, path: Path) -> None:
    """Write the page.

    Raises:
        ResourceError: it cannot be written.
    """
    atomic_write_text(path, page(report))


def page(report: Report) -> str:
    """Return the page; foreign text is escaped everywhere, and only the built-in script may run."""
    text, digest = script("page.js")
    sheets, maps = _maps(report.figures.maps)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            prose={name: prose(text) for name, text in report.collected.text.sections.items()},
            names=COMMAND_TITLES,
            score_name=score_name,
            calibration_head=HEAD,
            levels=LEVELS,
            swatches=_swatches(report),
            code_spans=code_spans,
            shapes=in_script(json.dumps(SHAPES)),
            many=_MANY,
            style=style(),
            script=text,
            digest=digest,
            sheets=in_script(json.dumps(sheets)),
            maps=maps,
            run_names=run_names(report),
            run_grid=run_grid(report),
            commands=[(row.run.name, row.run.repeat_command) for row in report.runs if row.run.settings],
            marks=dict.fromkeys(("yes", "finished"), "good")
            | dict.fromkeys(("failed", "stopped", "running"), "bad"),
            data_head=DATA_HEAD,
            machine_head=MACHINE_HEAD,
        )
    )


def _swatches(report: Report) -> dict[str, list[tuple[int, str]]]:
    """Command -> (index, color in masks) of each class in the table of classes."""
    found = {}
    for command, table in report.classes.items():
        runs = (run.folder for stage in report.collected.of(command) for run in stage.finished)
        colors: dict[str, str] = next(filter(None, map(mask_colors, runs)), {})
        found[command] = [(index, colors.get(name, "")) for index, (name, _, _) in enumerate(table.lines)]
    return found


def _maps(maps: list[EmbeddingMap]) -> tuple[dict[str, str], list[tuple[EmbeddingMap, list[Markup], Markup]]]:
    """Return distinct thumbnail sheets, and for every map its charts and its data."""
    sheets: dict[str, str] = {}
    found = []
    for made in maps:
        key = ""
        if made.sheet:
            key = f"sheet-{hashlib.sha256(made.sheet.data).hexdigest()[:12]}"
            sheets[key] = made.sheet.uri
        found.append((made, list(map(Markup, map_charts(made))), in_script(map_json(made, key))))
    return sheets, found


def in_script(json_text: str) -> Markup:
    """Escape JSON for a script element: nothing in it can end the element or a line."""
    for letter in "<>&\u2028\u2029":
        json_text = json_text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(json_text)
