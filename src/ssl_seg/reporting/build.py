"""The content of a report, independent of its output format."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ssl_seg.reporting import settings_diff as conditions
from ssl_seg.reporting import summaries
from ssl_seg.reporting import training_health as health
from ssl_seg.reporting.answers import answers, next_steps
from ssl_seg.reporting.calibration import calibration_rows
from ssl_seg.reporting.collect import collect
from ssl_seg.reporting.curves import Curves, curves
from ssl_seg.reporting.embedding_maps import read_embedding_maps
from ssl_seg.reporting.extremes import Extremes, extremes
from ssl_seg.reporting.figures import Figures, picture_files, read_confusions, read_sam
from ssl_seg.reporting.mask_examples import hardest_first, read_masks
from ssl_seg.reporting.method import Method, methods
from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.reporting.setup_text import setup
from ssl_seg.reporting.svg import interval_chart
from ssl_seg.results.mask_snapshots import EXTREMES
from ssl_seg.results.planned_epochs import epochs_of
from ssl_seg.results.run_list import PRIMARY_METRIC
from ssl_seg.results.score_text import score_name
from ssl_seg.results.tables import Table


@dataclass(frozen=True)
class Result:
    """A table with its description, chart and summary."""

    name: str
    table: Table
    description: str
    chart: str
    summary: str

    @property
    def one_seed(self) -> bool:
        """Whether no row has more than one."""
        return all(len(row.last) <= 1 for row in self.table.rows)


@dataclass(frozen=True)
class RunRow:
    """A row of the table of runs; `summaries` computes its cells."""

    run: ReportRun
    key: str
    epochs: str
    cells: list[summaries.Cell]


@dataclass(frozen=True)
class Report:
    """The content of a report, in its order."""

    title: str
    created_at: str
    collected: ReportData
    figures: Figures
    question: str
    setup: list[str]
    answers: list[str]
    next_steps: list[str]
    results: list[Result]
    methods: list[Method]
    curves: list[Curves]
    classes: dict[str, summaries.ClassTable]
    extremes: list[Extremes]
    calibration: list[summaries.Row]
    health: list[tuple[str, str, str]]
    runs: list[RunRow]
    settings: list[conditions.SettingsDiff]
    data: list[tuple[str, str, str, str, str, str]]
    machines: list[tuple[str, str, str]]
    missing: list[tuple[str, str]]


def build(folders: Sequence[Path], title: str = "") -> Report:
    """Read runs and studies, and build the content of their report.

    Raises:
        DataError: a folder is neither a study nor a run.
    """
    collected = collect(folders)
    figures = _figures(collected)
    tables = {
        command: summaries.format_class_table(collected, command) for command in summaries.PER_CLASS_SCORES
    }
    return Report(
        title=title or collected.text.title or f"Report: {collected.name}",
        created_at=f"{datetime.now():%Y-%m-%d %H:%M}",
        collected=collected,
        figures=figures,
        question=collected.text.question or _question(collected),
        setup=setup(collected),
        answers=answers(collected),
        next_steps=next_steps(collected),
        results=[_result(name, table, collected.color_indices) for name, table in collected.tables],
        methods=methods(collected, figures.views),
        curves=[each for command in collected.commands if (each := curves(collected, command)).charts],
        classes={command: table for command, table in tables.items() if table},
        extremes=extremes(collected),
        calibration=calibration_rows(collected),
        health=health.health_notes(collected) + [("figures", "error", text) for text in figures.problems],
        runs=[_run_row(run) for run in collected.runs],
        settings=[conditions.settings_diff(collected, command) for command in collected.commands],
        data=conditions.data_rows(collected),
        machines=conditions.machine_rows(collected),
        missing=health.missing_outputs(collected, figures),
    )


def _figures(collected: ReportData) -> Figures:
    """Collect the figures of the first run per stage that has any."""
    found = Figures()
    seen: set[Path] = set()
    examples = []
    for stage in collected.stages:
        runs = [run for run in stage.runs if run.folder not in seen]
        seen |= {run.folder for run in stage.runs}
        maps = (read_embedding_maps(run, found.problems) for run in runs)
        found.maps += next(filter(None, maps), [])
        sams = (read_sam(run, found.problems) for run in runs)
        found.sams += [each for each in [next(filter(None, sams), None)] if each]
        with_masks = (run for run in runs if any(run.folder.glob("masks/epoch-*/**/*.png")))
        examples += [(stage.label, run) for run in [next(with_masks, None)] if run]
        with_extremes = (run for run in runs if (run.folder / EXTREMES).is_dir())
        for run in [next(with_extremes, None)]:
            if run:
                made, legend = read_masks([(stage.label, run)], found.problems, extremes=True)
                found.extremes += [(stage.label, hardest_first(made))] if made else []
                found.legend += [pair for pair in legend if pair not in found.legend]
    found.mask_examples, legend = read_masks(examples, found.problems)
    found.legend += [pair for pair in legend if pair not in found.legend]
    picture_files(collected, found)
    read_confusions(collected, found)
    return found


def _question(collected: ReportData) -> str:
    commands = set(collected.commands)
    aims = [
        aim for name, aim in (("classify", "classification"), ("segment", "segmentation")) if name in commands
    ]
    if "train" in commands and aims:
        return f"Does self-supervised pre-training improve {' and '.join(aims)}?"
    if aims:
        return f"Performance of the trained networks on {' and '.join(aims)}, with 95% confidence intervals"
    return "Results of self-supervised pre-training"


def _result(name: str, table: Table, color_indices: dict[str, int]) -> Result:
    description = summaries.SCORE_DESCRIPTIONS.get(table.score, "")
    return Result(
        name, table, description, interval_chart(table.rows, color_indices), summaries.summarize(table)
    )


def run_names(report: Report) -> dict[str, str]:
    """Folder -> name of each run."""
    return {run.folder.name: run.name for run in report.collected.runs}


def run_grid(report: Report) -> tuple[list[str], list[summaries.Row]]:
    """The head and the rows of the table of runs; with energy if any run has recorded it."""
    energy = any(row.cells[-1].value is not None for row in report.runs)
    head = ["run", "status", "epochs", "score", "last", "best", "training time", "images/s"]
    rows: list[summaries.Row] = [
        [row.run.name, row.run.state, row.epochs, row.key, *row.cells[: None if energy else -1]]
        for row in report.runs
    ]
    folders = [row.run.folder.name for row in report.runs]
    grid = [[*cells, folder] for cells, folder in zip(rows, folders, strict=True)]
    return [*head, *(["energy"] if energy else []), "folder"], grid


def _run_row(run: ReportRun) -> RunRow:
    key = PRIMARY_METRIC.get(run.command, "")
    key = key if any(key in line for line in run.scores) else "loss"
    score = [
        summaries.score_cell(run, key, 4 if key == "loss" else None),
        summaries.best_cell(run, key) if key != "loss" else summaries.Cell("n/a"),
    ]
    speed = [
        summaries.describe_duration(run),
        summaries.score_cell(run, "images_per_second", 1),
        summaries.energy(run),
    ]
    epochs = f"{run.last.get('epoch', 0)} of {epochs_of(run.run_toml) or 'n/a'}"
    return RunRow(run, score_name(key), epochs, [*score, *speed])
