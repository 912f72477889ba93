"""Reads the files of runs once; every number of a report comes from here.

Means, deviations, intervals and tests are computed by `ssl_seg.results.tables`. Missing or damaged files are noted
and the others are read.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssl_seg.errors import DataError, SslSegError
from ssl_seg.reporting.records import ReportData, ReportRun, ReportStage
from ssl_seg.results.pretraining import read_rows
from ssl_seg.results.run_digests import damage
from ssl_seg.results.run_list import PRIMARY_METRIC
from ssl_seg.results.runs import StageScores, read_row
from ssl_seg.results.scores import load_scores
from ssl_seg.results.status import NAME as STATUS
from ssl_seg.results.status import read_status
from ssl_seg.results.tables import Table
from ssl_seg.study.config import LABELING, StageConfig
from ssl_seg.study.report_text import ReportText
from ssl_seg.study.run_paths import NAME as STUDY
from ssl_seg.study.run_paths import run_folder
from ssl_seg.utils.text import from_csv_cell
from ssl_seg.utils.toml import read_json, read_toml

_MAX_WARNINGS = 20  # shown per run


def collect(folders: Sequence[Path]) -> ReportData:
    """Read studies and runs.

    Raises:
        DataError: a folder is neither, or its `study.json` is damaged.
    """
    stages: list[ReportStage] = []
    tables: list[tuple[str, Table]] = []
    alone: list[ReportStage] = []
    text = ReportText()
    for folder in folders:
        if (folder / STUDY).exists():
            found, made, own = _study(folder, f"{folder.name}/" if len(folders) > 1 else "")
            text = own if len(folders) == 1 else text
            stages += found
            tables += made
        elif any((folder / name).exists() for name in ("run.toml", "status.json", "scores.jsonl", "run.log")):
            twice = sum(other.resolve().name == folder.resolve().name for other in folders) > 1
            alone.append(_standalone_run(folder, str(folder) if twice else folder.resolve().name))
        else:
            raise DataError(
                f"{folder} is neither a study nor a run folder",
                where="no study.json and no run.toml in it",
                next="ssl-seg report FOLDER  # the output folder of a study or of runs",
            )
    if alone:
        tables += _usual_tables(alone)
    name = folders[0].resolve().name if len(folders) == 1 else f"{len(folders)} folders"
    is_study = len(folders) == 1 and not alone
    return ReportData(name, [*stages, *alone], tables, text, is_study)


def _study(out: Path, prefix: str) -> tuple[list[ReportStage], list[tuple[str, Table]], ReportText]:
    try:
        study = read_json(out / STUDY)
        stages = {
            name: _stage(out, f"{prefix}{name}", known)
            for name, known in dict(study["stages"]).items()
            if known["command"] not in LABELING
        }
        tables = [
            (
                f"{prefix}{name}",
                [stages[row] for row in known["rows"]],
                str(known["score"]),
                stages[known["baseline"]].stage.name if known.get("baseline") else "",
            )
            for name, known in dict(study.get("tables") or {}).items()
        ]
        text = ReportText.read(study.get("report") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        where = f"{out / STUDY}: {error}"
        raise DataError("study.json is corrupt", where=where, next="ssl-seg study STUDY.toml") from error
    found = list(stages.values())
    if not tables:
        return found, _usual_tables(found), text
    return found, [(name, _table(rows, score, baseline)) for name, rows, score, baseline in tables], text


def _stage(out: Path, name: str, known: Mapping[str, Any]) -> ReportStage:
    published = known.get("published")
    folders = {int(seed): run_folder(out, folder) for seed, folder in known["runs"].items()}
    stage = StageConfig(name, str(known["title"]), str(known["command"]), list(folders), {}, published)
    return ReportStage(stage, [_run(folder, name, seed, stage.command) for seed, folder in folders.items()])


def _standalone_run(folder: Path, name: str) -> ReportStage:
    """Return a run without a study as a stage of its own."""
    run = _run(folder, name, None, "")
    seed = run.settings.get("seed")
    return ReportStage(
        StageConfig(name, name, run.command, [seed if isinstance(seed, int) else 0], {}),
        [replace(run, seed=seed if isinstance(seed, int) else None)],
    )


def _run(folder: Path, stage: str, seed: int | None, command: str) -> ReportRun:
    problems = damage(folder)
    settings: dict[str, Any] = {}
    if (folder / "run.toml").exists():
        try:
            settings = read_toml(folder / "run.toml")
        except SslSegError as error:
            problems.append(error.what)
    record = settings.pop("record", {})
    record = record if isinstance(record, dict) else {}
    scores = load_scores(folder)
    if scores.damage:
        problems.append(f"scores.jsonl: {scores.damage}")
    return ReportRun(
        folder,
        stage,
        seed,
        command or str(record.get("command", "")),
        settings,
        record,
        scores.lines,
        _or_note(lambda: read_status(folder), STATUS, problems),
        read_or_note(folder / "result.json", problems),
        _classes(folder / "confusion.csv", problems),
        _warnings(folder / "run.log"),
        problems,
    )


def read_or_note(path: Path, problems: list[str]) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing, or damaged, which is added to `problems`."""
    return _or_note(lambda: read_json(path), path.name, problems)


def _or_note(read: Callable[[], dict[str, Any]], name: str, problems: list[str]) -> dict[str, Any]:
    try:
        return read()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{name}: {error}")
        return {}


def _classes(path: Path, problems: list[str]) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [from_csv_cell(line[0]) for line in csv.reader(file) if line][1:]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        problems.append(f"{path.name}: {error}")
        return []


def _warnings(path: Path) -> list[str]:
    """Return the latest distinct warnings and errors of a log."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.findall(r"^\d{4}-\d\d-\d\d [\d:,]+ (?:WARNING|ERROR) (.+)$", text, re.MULTILINE)
    return list(dict.fromkeys(found))[-_MAX_WARNINGS:]


def _usual_tables(stages: Sequence[ReportStage]) -> list[tuple[str, Table]]:
    """Return one table per command: the default where no study defines tables."""
    tables = []
    for command, score in PRIMARY_METRIC.items():
        rows = [s for s in stages if any(score in line for run in s.runs for line in run.scores)]
        if rows := [stage for stage in rows if stage.stage.command == command]:
            tables.append((command, _table(rows, score)))
    return tables


def _table(stages: Sequence[ReportStage], score: str, baseline: str = "") -> Table:
    folders = ({run.seed or 0: run.folder for run in stage.finished} for stage in stages)
    found = zip((stage.stage for stage in stages), folders, strict=True)
    return Table(read_rows(list(found), score, _row), score, baseline)


def _row(stage: StageConfig, folders: Mapping[int, Path], score: str) -> StageScores:
    try:
        return read_row(stage, folders, score)
    except (ValueError, KeyError, TypeError) as error:  # a damaged file of one run does not affect the others
        return replace(read_row(stage, {}, score), reason=f"a file of a run is corrupt: {error}")
