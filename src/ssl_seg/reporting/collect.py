"""What runs have left, read once: every number of a report comes from here.

Nothing is computed again; means, deviations, intervals and tests are those of `ssl_seg.results.tables`. What is
missing or damaged is noted, and the rest is read.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssl_seg.errors import DataError, SslSegError
from ssl_seg.reporting.records import Facts, RunFacts, StageFacts
from ssl_seg.results.run_digests import damage
from ssl_seg.results.run_list import SCORES
from ssl_seg.results.runs import Row, read_row
from ssl_seg.results.scores import load_scores
from ssl_seg.results.status import NAME as STATUS
from ssl_seg.results.status import read_status
from ssl_seg.results.tables import Table
from ssl_seg.study.config import StageConfig
from ssl_seg.utils.text import from_csv_cell
from ssl_seg.utils.toml import read_json, read_toml

_WARNINGS = 20  # of one run are shown


def gather(folders: Sequence[Path]) -> Facts:
    """Read studies and runs.

    Raises:
        DataError: a folder is neither, or its `study.json` is damaged.
    """
    stages: list[StageFacts] = []
    tables: list[tuple[str, Table]] = []
    alone: list[StageFacts] = []
    for folder in folders:
        if (folder / "study.json").exists():
            found, made = _study(folder, f"{folder.name}/" if len(folders) > 1 else "")
            stages += found
            tables += made
        elif any((folder / name).exists() for name in ("run.toml", "status.json", "scores.jsonl", "run.log")):
            twice = sum(other.resolve().name == folder.resolve().name for other in folders) > 1
            alone.append(_alone(folder, str(folder) if twice else folder.resolve().name))
        else:
            raise DataError(
                f"{folder} is neither a study nor a run folder",
                where="no study.json and no run.toml in it",
                next="ssl-seg report FOLDER  # the output folder of a study or of runs",
            )
    if alone:
        tables += _usual_tables(alone)
    name = folders[0].resolve().name if len(folders) == 1 else f"{len(folders)} folders"
    return Facts(name, [*stages, *alone], tables)


def _study(out: Path, prefix: str) -> tuple[list[StageFacts], list[tuple[str, Table]]]:
    try:
        about = read_json(out / "study.json")
        stages = {
            name: _stage(out, f"{prefix}{name}", known) for name, known in dict(about["stages"]).items()
        }
        tables = [
            (f"{prefix}{name}", [stages[row] for row in known["rows"]], str(known["score"]))
            for name, known in dict(about.get("tables") or {}).items()
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        where = f"{out / 'study.json'}: {error}"
        raise DataError("study.json is corrupt", where=where, next="ssl-seg study STUDY.toml") from error
    found = list(stages.values())
    if not tables:
        return found, _usual_tables(found)
    return found, [(name, _table(rows, score)) for name, rows, score in tables]


def _stage(out: Path, name: str, known: Mapping[str, Any]) -> StageFacts:
    published = known.get("published")
    seeds = {int(seed): str(folder) for seed, folder in known["runs"].items()}
    stage = StageConfig(name, str(known["title"]), str(known["command"]), list(seeds), {}, published)
    for folder in seeds.values():
        if Path(folder).name != folder or folder == "..":
            raise ValueError(f"invalid folder name {folder!r}")
    return StageFacts(
        stage, [_run(out / folder, name, seed, stage.command) for seed, folder in seeds.items()]
    )


def _alone(folder: Path, name: str) -> StageFacts:
    """A run that belongs to no study: a stage of its own."""
    run = _run(folder, name, None, "")
    seed = run.settings.get("seed")
    return StageFacts(
        StageConfig(name, name, run.command, [seed if isinstance(seed, int) else 0], {}),
        [replace(run, seed=seed if isinstance(seed, int) else None)],
    )


def _run(folder: Path, stage: str, seed: int | None, command: str) -> RunFacts:
    troubles = damage(folder)
    settings: dict[str, Any] = {}
    if (folder / "run.toml").exists():
        try:
            settings = read_toml(folder / "run.toml")
        except SslSegError as error:
            troubles.append(error.what)
    record = settings.pop("record", {})
    record = record if isinstance(record, dict) else {}
    scores = load_scores(folder)
    if scores.damage:
        troubles.append(f"scores.jsonl: {scores.damage}")
    return RunFacts(
        folder,
        stage,
        seed,
        command or str(record.get("command", "")),
        settings,
        record,
        scores.lines,
        _or_note(lambda: read_status(folder), STATUS, troubles),
        read_or_note(folder / "result.json", troubles),
        _classes(folder / "confusion.csv", troubles),
        _warnings(folder / "run.log"),
        troubles,
    )


def read_or_note(path: Path, troubles: list[str]) -> dict[str, Any]:
    """A JSON object; empty if the file is missing, or, with a word in `troubles`, if it is damaged."""
    return _or_note(lambda: read_json(path), path.name, troubles)


def _or_note(read: Callable[[], dict[str, Any]], name: str, troubles: list[str]) -> dict[str, Any]:
    try:
        return read()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        troubles.append(f"{name}: {error}")
        return {}


def _classes(path: Path, troubles: list[str]) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [from_csv_cell(line[0]) for line in csv.reader(file) if line][1:]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        troubles.append(f"{path.name}: {error}")
        return []


def _warnings(path: Path) -> list[str]:
    """Each warning and error of a log once, the newest of them."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = re.findall(r"^\d{4}-\d\d-\d\d [\d:,]+ (?:WARNING|ERROR) (.+)$", text, re.MULTILINE)
    return list(dict.fromkeys(found))[-_WARNINGS:]


def _usual_tables(stages: Sequence[StageFacts]) -> list[tuple[str, Table]]:
    """Where nothing says which stages belong into a table: those of a command that were measured."""
    made = []
    for command, score in SCORES.items():
        rows = [s for s in stages if any(score in line for run in s.runs for line in run.scores)]
        if rows := [stage for stage in rows if stage.stage.command == command]:
            made.append((command, _table(rows, score)))
    return made


def _table(stages: Sequence[StageFacts], score: str) -> Table:
    return Table([_row(stage, score) for stage in stages], score)


def _row(stage: StageFacts, score: str) -> Row:
    folders = {run.seed or 0: run.folder for run in stage.finished}
    try:
        return read_row(stage.stage, folders, score)
    except (ValueError, KeyError, TypeError) as error:  # a damaged file of one run leaves the others alone
        return replace(read_row(stage.stage, {}, score), why=f"a file of a run is corrupt: {error}")
