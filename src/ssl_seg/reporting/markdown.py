"""The report as Markdown, with its images as separate files."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl_seg.reporting.build import Report, run_grid, run_names
from ssl_seg.reporting.calibration import HEAD
from ssl_seg.reporting.embedding_charts import map_charts
from ssl_seg.reporting.html import COMMAND_TITLES
from ssl_seg.reporting.images import EncodedImage
from ssl_seg.reporting.mask_examples import MaskExample
from ssl_seg.reporting.prose import code_spans_markdown, prose_markdown
from ssl_seg.reporting.settings_diff import DATA_HEAD, MACHINE_HEAD
from ssl_seg.reporting.summaries import ClassTable, texts
from ssl_seg.reporting.svg import standalone_svg
from ssl_seg.reporting.training_health import LEVELS
from ssl_seg.results.score_text import score_name
from ssl_seg.results.tables import as_markdown, markdown_table
from ssl_seg.utils.files import atomic_write_bytes, atomic_write_text
from ssl_seg.utils.outputs import output_path
from ssl_seg.utils.text import strip_unprintable


def write_markdown(report: Report, path: Path) -> None:
    """Write `report.md` and its images in the folder `report_files`.

    Raises:
        ResourceError: they cannot be written.
    """
    atomic_write_text(path, _Writer(path).text(report))


class _Writer:
    """Collects the lines and writes the images."""

    def __init__(self, path: Path) -> None:
        self._path, self._files = path, f"{path.stem}_files"
        self._lines: list[str] = []
        self._own: dict[str, str] = {}

    def text(self, report: Report) -> str:
        text = report.collected.text
        self._own = text.sections
        self._say(f"# {_md(report.title)}", *([_md(", ".join(text.authors))] if text.authors else []))
        self._section("Introduction", "introduction")
        self._say(f"*{_md(report.question)}*")
        self._say(*([_md(" ".join(report.setup))] if report.setup else []), *map(_md, report.answers))
        if report.next_steps:
            self._say(
                "## Next steps", "\n".join(f"- {code_spans_markdown(text)}" for text in report.next_steps)
            )
        self._results(report)
        self._method(report)
        self._curves(report)
        self._maps(report)
        if report.figures.networks:
            self._section("Architectures", "architectures", always=True)
        for index, (label, picture) in enumerate(report.figures.networks):
            self._say(self._image(f"network-{index}", picture, label))
        for index, (command, table) in enumerate(report.classes.items()):
            title = f"Per-class results: {COMMAND_TITLES[command].lower()}"
            self._section(title, "classes" if index == 0 else "", always=True)
            self._say(*_class_lines(table))
            for each in (each for each in report.extremes if each.command == command):
                self._say(_md(each.title), markdown_table([each.head, *map(texts, each.rows)]))
            matrices = [each for each in report.figures.confusions if each[0] == command]
            for number, (_, label, picture) in enumerate(matrices):
                self._say(self._image(f"confusion-{index}-{number}", picture, label), _md(label))
        self._masks(report.figures.mask_examples, report.figures.legend)
        for index, (label, examples) in enumerate(report.figures.extremes):
            self._say(f"### Hardest and easiest images of {_md(label)}")
            for number, example in enumerate(examples):
                self._say(_md(example.name))
                self._tiles(f"extreme-{index}-{number}", example.true() + example.rows[0].captioned())
        self._sam(report)
        if report.calibration:
            self._say("## Calibration", markdown_table([list(HEAD), *map(texts, report.calibration)]))
        self._section("Discussion", "discussion")
        self._runs(report)
        return "\n\n".join(self._lines) + "\n"

    def _say(self, *paragraphs: str) -> None:
        self._lines += paragraphs

    def _section(self, title: str, name: str, *, always: bool = False) -> None:
        """Start a section with what the author wrote for it; without that, only if it has other content."""
        own = [prose_markdown(self._own[name])] if name in self._own else []
        if own or always:
            self._say(f"## {title}", *own)

    def _image(self, name: str, picture: EncodedImage | str, label: str) -> str:
        """Write an image and return the Markdown that shows it; the filename is independent of the label."""
        made = (
            EncodedImage(standalone_svg(picture).encode(), "svg+xml") if isinstance(picture, str) else picture
        )
        file = f"{name}{made.suffix}"
        atomic_write_bytes(output_path(self._path.parent, f"{self._files}/{file}"), made.data)
        index = re.sub(
            r"[^\w./-]", lambda found: "".join(f"%{b:02X}" for b in os.fsencode(found[0])), self._files
        )
        return f"![{_md(label)}]({index}/{file})"

    def _results(self, report: Report) -> None:
        for index, result in enumerate(report.results):
            self._say(f"## {_md(result.name)}: {_md(score_name(result.table.score))}", _md(result.summary))
            if result.chart:
                self._say(
                    self._image(f"scores-{index}", result.chart, "scores with 95% confidence intervals")
                )
            self._say(strip_unprintable(result.table.markdown()).strip())

    def _method(self, report: Report) -> None:
        if report.methods:
            self._section("Pre-training method", "method", always=True)
        for index, method in enumerate(report.methods):
            self._say(f"### {_md(method.label)}", markdown_table([["setting", ""], *method.settings]))
            if method.drawing:
                self._say(self._image(f"method-{index}", method.drawing, f"modules of {method.label}"))
            if method.views:
                self._say(markdown_table([method.head, *method.views]))
            if method.picture:
                self._say(self._image(f"views-{index}", method.picture, f"views of {method.label}"))

    def _curves(self, report: Report) -> None:
        if report.curves:
            self._section("Training", "training", always=True)
        for part in report.curves:
            self._say(f"### {COMMAND_TITLES.get(part.command, _md(part.command))}")
            for index, (key, chart) in enumerate(part.charts):
                name = f"curves-{re.sub(r'[^a-z]', '', part.command)}-{index}"
                self._say(self._image(name, chart, f"{key} over epochs"), f"{_md(key)} over epochs")

    def _maps(self, report: Report) -> None:
        if report.figures.maps:
            self._section("Feature embeddings", "embeddings", always=True)
        for index, made in enumerate(report.figures.maps):
            self._say(f"### {_md(made.run.name)}: {made.method}")
            for epoch, drawing in zip(made.epochs, map_charts(made), strict=True):
                numbers = [
                    f"{what} {'n/a' if value is None else f'{value:.{made.digits}f}'}"
                    for what, value in (
                        (f"{made.k}-NN purity", epoch.purity),
                        ("silhouette", epoch.silhouette),
                    )
                ]
                chance = "" if made.chance is None else f" (chance level {made.chance:.{made.digits}f})"
                label = f"epoch {epoch.epoch}: {numbers[0]}{chance}, {numbers[1]}"
                self._say(self._image(f"map-{index}-{epoch.epoch}", drawing, label), _md(label))

    def _masks(self, examples: Sequence[MaskExample], legend: Sequence[tuple[str, str]]) -> None:
        if legend:
            colours = ", ".join(f"{name} {colour}" for name, colour in legend)
            self._section("Predicted masks", "masks", always=True)
            self._say(*([f"Colors: {_md(colours)}."] if colours else []))
        for index, each in enumerate(examples):
            self._say(f"### {_md(each.name)}")
            self._tiles(f"mask-{index}", each.true())
            for row_index, row in enumerate(each.rows):
                self._say(_md(row.label))
                self._tiles(f"mask-{index}-{row_index}", row.captioned())

    def _tiles(self, name: str, tiles: Sequence[tuple[str, EncodedImage]]) -> None:
        """Add a row of images."""
        if tiles:
            shown = [
                self._image(f"{name}-{label.partition(',')[0].replace(' ', '-')}", picture, label)
                for label, picture in tiles
            ]
            self._say(markdown_table([[label for label, _ in tiles]], [shown]))

    def _sam(self, report: Report) -> None:
        if report.figures.sams:
            self._section("Comparison with SAM", "sam", always=True)
        for index, sam in enumerate(report.figures.sams):
            self._say(f"### {_md(sam.model)}")
            head, rows = sam.grid(run_names(report))
            self._say(markdown_table([head, *map(texts, rows)]))
            for image_index, image in enumerate(sam.images):
                if image.picture:
                    self._say(self._image(f"sam-{index}-{image_index}", image.picture, image.name))

    def _runs(self, report: Report) -> None:
        self._say("## Training health")
        notes = [f"- **{LEVELS[level]}** {_md(run)}: {_md(text)}" for run, level, text in report.health]
        self._say("\n".join(notes) or "All runs finished without warnings.")
        head, rows = run_grid(report)
        self._say("## Runs", markdown_table([head, *map(texts, rows)]), "Reproduction commands:")
        self._say(_code(row.run.repeat_command for row in report.runs if row.run.settings))
        for part in report.settings:
            self._say(f"## Configuration: {COMMAND_TITLES.get(part.command, _md(part.command)).lower()}")
            if part.differing:
                setting, lines = part.grid()
                self._say(markdown_table([setting, *lines]))
            self._say(markdown_table([["common to all stages", ""], *map(list, part.shared)]))
        self._say("## Data", markdown_table([DATA_HEAD, *map(list, report.data)]))
        self._say("## Environment", markdown_table([MACHINE_HEAD, *map(list, report.machines)]))
        if report.missing:
            self._say("## Missing items", _code(f"{command}  # {what}" for what, command in report.missing))


def _class_lines(table: ClassTable) -> list[str]:
    return [
        f"{_md(table.what)} at the last epoch, mean ± standard deviation over seeds.",
        markdown_table(table.rows()),
    ]


def _code(lines: Iterable[str]) -> str:
    """Return an indented code block, one line each: no content can end it."""
    return "\n".join("    " + " ".join(strip_unprintable(line).split()) for line in lines)


def _md(text: str) -> str:
    return as_markdown(strip_unprintable(text))
