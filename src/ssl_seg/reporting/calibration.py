"""Calibration of the models of a report: how far their confidences can be trusted."""

from typing import Any

from ssl_seg.reporting.records import ReportData, ReportRun
from ssl_seg.reporting.summaries import Cell, Row, number
from ssl_seg.results.score_text import score_digits

HEAD = ("run", "calibration error", "with temperature", "temperature", "images or pixels")
_KEYS = ("ece", "ece_scaled", "temperature")


def calibration_rows(collected: ReportData) -> list[Row]:
    """Return a row of each finished run that has recorded its calibration."""
    runs = [run for run in collected.runs if run.state == "finished"]
    return [
        [run.name, *_cells(run, found)]
        for run in runs
        if isinstance(found := run.result.get("calibration"), dict)
    ]


def _cells(run: ReportRun, found: dict[str, Any]) -> list[Cell]:
    cells = []
    measured_on = number(found.get("measured_on"))
    digits = score_digits(int(measured_on) if measured_on else None)
    for key in (*_KEYS, "measured_on"):
        value = number(found.get(key))
        text = "n/a" if value is None else f"{value:.{digits}f}" if key in _KEYS else f"{value:,.0f}"
        cells.append(Cell(text, value, f"{run.folder.name}/result.json: calibration.{key}"))
    return cells
