"""Single validation images: the surest mistakes of a classifier, the hardest and easiest images of a segmenter."""

import csv
from dataclasses import dataclass

from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.reporting.summaries import Cell, Row
from ssl_seg.results.iou import CONFUSIONS, by_difficulty, read_confusions
from ssl_seg.results.predictions import VALIDATION
from ssl_seg.utils.text import from_csv_cell

_SHOWN = 10


@dataclass(frozen=True)
class Extremes:
    """A table of single images of the first finished run of a stage."""

    command: str
    title: str
    head: list[str]
    rows: list[Row]


def extremes(collected: ReportData) -> list[Extremes]:
    """The tables of all stages whose runs have recorded single images."""
    found = []
    for stage in collected.stages:
        read = {"classify": _mistakes, "segment": _hardest_and_easiest}.get(stage.stage.command)
        for run in stage.finished[:1]:
            if read and (made := read(run, stage.label)):
                found.append(made)
    return found


def _mistakes(run: ReportRun, label: str) -> Extremes | None:
    """The wrong predictions of highest confidence."""
    try:
        with (run.folder / VALIDATION).open(newline="", encoding="utf-8") as file:
            lines = [
                {key: from_csv_cell(cell or "") for key, cell in line.items() if key}
                for line in csv.DictReader(file)
            ]
        wrong = [line for line in lines if line["label"] != line["predicted"]]
        wrong.sort(key=lambda line: -float(line["confidence"]))
        rows: list[Row] = [
            [line["filename"], line["label"], line["predicted"], Cell(f"{float(line['confidence']):.2f}")]
            for line in wrong[:_SHOWN]
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):  # `collect` reports a damaged file
        return None
    title = f"Most confident mistakes of {label}: {len(rows)} of {len(wrong)}"
    return Extremes("classify", title, ["image", "class", "predicted", "confidence"], rows) if rows else None


def _hardest_and_easiest(run: ReportRun, label: str) -> Extremes | None:
    """The images of lowest and highest IoU, of those that have any class that counts."""
    try:
        names, confusions, scored_classes = read_confusions(run.folder / CONFUSIONS)
    except ValueError:
        return None
    order, ious = by_difficulty(confusions, scored_classes)
    half = min(_SHOWN // 2, len(order) // 2)
    shown = [*order[:half], *order[len(order) - half :]]
    source = f"{run.folder.name}/{CONFUSIONS}"
    rows: list[Row] = [[names[i], Cell(f"{ious[i]:.2f}", float(ious[i]), source)] for i in shown]
    title = f"Hardest and easiest images of {label}: {len(rows)} of {len(names)}"
    return Extremes("segment", title, ["image", "mean IoU of the image"], rows) if rows else None
