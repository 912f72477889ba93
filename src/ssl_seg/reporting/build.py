"""The content of a report, independent of its output format."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ssl_seg.reporting import settings_diff as conditions
from ssl_seg.reporting import summaries
from ssl_seg.reporting import training_health as health
from ssl_seg.reporting.collect import gather
from ssl_seg.reporting.embedding_maps import Map, read_map
from ssl_seg.reporting.figures import Figures, picture_files, read_masks, read_sam
from ssl_seg.reporting.records import Facts, RunFacts
from ssl_seg.reporting.svg import Line, curves, intervals, points
from ssl_seg.results.run_list import SCORES
from ssl_seg.results.tables import Table

COMMAND_TITLES = {"train": "Pre-training", "classify": "Classification", "segment": "Segmentation"}


@dataclass(frozen=True)
class Result:
    """A table: the numbers, what they are, a drawing of them, and what they say."""

    name: str
    table: Table
    about: str
    drawing: str
    answer: str


@dataclass(frozen=True)
class Curves:
    """The scores of a command's runs over epochs.

    Attributes:
        legend: (stage, place of its colour).
        charts: (score, SVG).
    """

    command: str
    legend: list[tuple[str, int]]
    charts: list[tuple[str, str]]


@dataclass(frozen=True)
class RunRow:
    """A line of the table of runs; see `summaries` for where its numbers come from."""

    run: RunFacts
    key: str
    epochs: str
    cells: list[summaries.Cell]


@dataclass(frozen=True)
class Report:
    """Everything that is told, in the order in which it is told."""

    title: str
    made: str
    facts: Facts
    figures: Figures
    question: str
    results: list[Result]
    curves: list[Curves]
    classes: dict[str, summaries.ClassTable]
    health: list[tuple[str, str, str]]
    runs: list[RunRow]
    settings: list[conditions.Settings]
    data: list[tuple[str, str, str, str, str, str]]
    machines: list[tuple[str, str, str]]
    missing: list[tuple[str, str]]


def build(folders: Sequence[Path], title: str = "") -> Report:
    """Read what there is to tell.

    Raises:
        DataError: a folder is neither a study nor a run.
    """
    facts = gather(folders)
    figures = _figures(facts)
    tables = {command: summaries.class_table(facts, command) for command in summaries.PARTS}
    return Report(
        title=title or f"Report: {facts.name}",
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
        facts=facts,
        figures=figures,
        question=_question(facts),
        results=[_result(name, table, facts.places) for name, table in facts.tables],
        curves=[each for command in facts.commands if (each := _curves(facts, command)).charts],
        classes={command: table for command, table in tables.items() if table},
        health=health.notes(facts) + [("figures", "error", text) for text in figures.troubles],
        runs=[_run_row(run) for run in facts.runs],
        settings=[conditions.settings_of(facts, command) for command in facts.commands],
        data=conditions.data_rows(facts),
        machines=conditions.machine_rows(facts),
        missing=health.missing(facts, figures),
    )


def _figures(facts: Facts) -> Figures:
    """Of every stage the first run that has a picture."""
    found = Figures()
    seen: set[Path] = set()
    watched = []
    for stage in facts.stages:
        runs = [run for run in stage.runs if run.folder not in seen]
        seen |= {run.folder for run in stage.runs}
        maps = (read_map(run, found.troubles) for run in runs)
        found.maps += [each for each in [next(filter(None, maps), None)] if each]
        sams = (read_sam(run, found.troubles) for run in runs)
        found.sams += [each for each in [next(filter(None, sams), None)] if each]
        with_masks = (run for run in runs if any(run.folder.glob("masks/epoch-*/**/*.png")))
        watched += [(stage.label, run) for run in [next(with_masks, None)] if run]
    read_masks(watched, found)
    picture_files(facts, found)
    return found


def _question(facts: Facts) -> str:
    commands = set(facts.commands)
    aims = [
        aim for name, aim in (("classify", "classification"), ("segment", "segmentation")) if name in commands
    ]
    if "train" in commands and aims:
        return f"Does self-supervised pre-training improve {' and '.join(aims)}?"
    if aims:
        return f"Performance of the trained networks on {' and '.join(aims)}, with 95% confidence intervals"
    return "Results of self-supervised pre-training"


def _result(name: str, table: Table, places: dict[str, int]) -> Result:
    about = summaries.MEANING.get(table.score, "")
    return Result(name, table, about, intervals(table.rows, places), summaries.answer(table))


def _curves(facts: Facts, command: str) -> Curves:
    charts, places = [], facts.places
    stages = sorted(facts.of(command), key=lambda stage: places[stage.stage.name])
    runs = [(places[stage.stage.name], run) for stage in stages for run in stage.runs]
    for key in summaries.keys_of(run for _, run in runs):
        lines = []
        for place, run in runs:
            known = [
                line for line in run.scores if isinstance(line.get(key), int | float) and "epoch" in line
            ]
            if known:
                lines.append(Line(run.name, place, [(line["epoch"], line[key]) for line in known]))
        if chart := curves(lines, key):
            charts.append((key, chart))
    return Curves(command, [(stage.label, places[stage.stage.name]) for stage in stages], charts)


def _run_row(run: RunFacts) -> RunRow:
    key = SCORES.get(run.command, "")
    key = key if any(key in line for line in run.scores) else "loss"
    score = [summaries.number(run, key), summaries.best(run, key) if key != "loss" else summaries.Cell("n/a")]
    speed = [summaries.duration(run), summaries.number(run, "images_per_second", 1), summaries.energy(run)]
    epochs = f"{run.last.get('epoch', 0)} of {run.settings.get('epochs', 'n/a')}"
    return RunRow(run, key, epochs, [*score, *speed])


def pair_of(made: Map) -> list[str]:
    """A map's epochs as drawings, which need no script."""
    drawings = []
    for epoch in made.epochs:
        groups = [
            [xy for xy, target in zip(epoch.xy, made.targets, strict=True) if target == place]
            for place in range(len(made.classes))
        ]
        drawings.append(
            points(groups, f"t-SNE, epoch {epoch.epoch}", radius=4 if len(epoch.xy) < 800 else 2.6)
        )
    return drawings
