"""The TOML file of a study: stages, their seeds, and the rows of the tables.

Everything is validated here, with the line of each error, except the names of commands and flags.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.study.key_lines import keys_per_line, num_shared, plain_key
from ssl_seg.study.report_text import ReportText
from ssl_seg.utils.toml import read_toml

T = TypeVar("T")
LABELING = ("pseudo-label",)  # commands of stages that label images: without a seed, scores and checkpoints
_KEYS = ("seeds", "out", "defaults", "stages", "table", "tables", "report", "sam", "launcher")
_SCORES = {"train": "probe_knn", "segment": "val_miou"}  # of a table of that command alone


def is_reference(value: object) -> bool:
    """Whether the value of a flag is the run of another stage: `@ssl`."""
    return isinstance(value, str) and value.startswith("@")


@dataclass(frozen=True)
class StageConfig:
    """A command and its flags, run once per seed.

    Attributes:
        published: a published score to compare with.
    """

    name: str
    title: str
    command: str
    seeds: list[int]
    flags: dict[str, Any]
    published: float | None = None

    @property
    def references(self) -> dict[str, str]:
        """Flag -> the stage whose run it refers to."""
        return {flag: value[1:] for flag, value in self.flags.items() if is_reference(value)}


@dataclass(frozen=True)
class TableConfig:
    """The stages that a table compares, and the score.

    Attributes:
        baseline: the row that all others are compared with; empty: every two rows are compared.
    """

    name: str
    rows: list[str]
    score: str
    baseline: str = ""

    def settings(self) -> dict[str, Any]:
        """Everything but the name, for `study.json`."""
        named = {"baseline": self.baseline} if self.baseline else {}
        return {"rows": self.rows, "score": self.score, **named}


class StudyConfig:
    """A study's file.

    Attributes:
        out: the folder of all its runs.
        stages: by name; each after those it refers to.
        tables: `[table]`, or one for each `[tables.NAME]`. The default rows are the stages that no other
            stage refers to.
        report: whether figures and a report are written at the end; `report = false` says no.
        report_text: `[report]`, the author's words in it.
        sam: flags of `ssl-seg sam`, which runs before the report if that command is installed.

    Raises:
        UsageError: an unknown key or stage, a value of the wrong type, a circular dependency.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._values = path, read_toml(path)
        self._lines = [tuple(keys) for keys in keys_per_line(path.read_text(encoding="utf-8-sig"))]
        self._check_keys((), _KEYS)
        self.out = Path(os.path.expanduser(self._get(str, f"runs/{path.stem}", "out")))
        self._stages = {name: self._stage(name) for name in self._get(dict, {}, "stages")}
        if not self._stages:
            raise UsageError("a study requires stages", where=str(path), next="[stages.ssl]")
        self.stages: dict[str, StageConfig] = {}
        for name in self._stages:
            self._topological_sort(name, ())
        used = {name for stage in self.stages.values() for name in stage.references.values()}
        ends = [
            name for name, stage in self._stages.items() if name not in used and stage.command not in LABELING
        ]
        self.report = self._values.get("report") is not False
        self.report_text = self._report_text()
        self.sam = self.flags("sam")
        named = [("tables", name) for name in self._get(dict, {}, "tables")]
        single = [("table",)] if "table" in self._values or not named else []
        self.tables = [self._table(path, ends) for path in [*single, *named]]

    def location(self, *keys: str) -> str:
        """Return the file and the best-matching line of a key."""
        requested = tuple(plain_key(key) for key in keys)
        shared = [num_shared(requested, line) for line in self._lines]
        best = max(shared, default=0)
        return f"{self.path}, line {shared.index(best) + 1}" if best else str(self.path)

    def flag_location(self, stage: StageConfig, flag: str) -> str:
        """Return where a stage, or the defaults of its command, sets a flag."""
        own = flag in self.flags("stages", stage.name) or flag not in self.flags("defaults", stage.command)
        return self.location(*(("stages", stage.name) if own else ("defaults", stage.command)), flag)

    def defaults(self) -> list[str]:
        """Return the commands that have defaults."""
        return list(self._get(dict, {}, "defaults"))

    def flags(self, *path: str) -> dict[str, Any]:
        """Return the flags in a table, by their Python names."""
        table = self._get(dict, {}, *path)
        own = ("command", "title", "seeds", "published") if path[0] == "stages" else ()
        return {plain_key(key): value for key, value in table.items() if key not in own}

    def _stage(self, name: str) -> StageConfig:
        path = ("stages", name)
        command = self._get(str, "", *path, "command")
        if not command:
            raise UsageError(
                f"stage {name!r} has no command", where=self.location(*path), next='command = "train"'
            )
        title = " ".join(self._get(str, name, *path, "title").split())
        flags = _merge(self.flags("defaults", command), self.flags(*path))
        if "seed" in flags:
            where = self.location(*path, "seed")
            raise UsageError(f"stage {name!r} sets a seed", where=where, next=f"seeds = [{flags['seed']}]")
        own = (*path, "seeds") if "seeds" in self._get(dict, {}, *path) else ("seeds",)
        return StageConfig(name, title, command, self._seeds(own), flags, self._published(path))

    def _table(self, path: tuple[str, ...], ends: list[str]) -> TableConfig:
        self._check_keys(path, ("rows", "score", "baseline"))
        rows: list[str] = self._get(list, ends, *path, "rows")
        for row in rows:
            self._check_stage(row, self.location(*path, "rows"))
            if self._stages[row].command in LABELING:
                where = self.location(*path, "rows")
                raise UsageError(f"stage {row!r} labels images: it has no score for a table", where=where)
        commands = {self.stages[row].command for row in rows}
        usual = _SCORES[commands.pop()] if len(commands) == 1 and commands <= _SCORES.keys() else "val_top1"
        baseline = self._get(str, "", *path, "baseline")
        if baseline and baseline not in rows:
            raise UsageError(
                f"the baseline must be a row of the table{did_you_mean(baseline, rows)}, got {baseline!r}",
                where=self.location(*path, "baseline"),
            )
        return TableConfig(path[-1], rows, self._get(str, usual, *path, "score"), baseline)

    def _report_text(self) -> ReportText:
        if isinstance(self._values.get("report"), bool):
            return ReportText()
        try:
            return ReportText.read(self._get(dict, {}, "report"))
        except ValueError as error:
            message, key = error.args
            raise UsageError(message, where=self.location("report", key)) from error

    def _published(self, path: tuple[str, ...]) -> float | None:
        if "published" not in self._get(dict, {}, *path):
            return None
        return float(self._get(float, 0.0, *path, "published"))

    def _seeds(self, path: tuple[str, ...]) -> list[int]:
        seeds: list[Any] = self._get(list, [0], *path)
        whole = all(type(seed) is int and seed >= 0 for seed in seeds)
        if not seeds or not whole or len(set(seeds)) < len(seeds):
            raise UsageError(
                f"seeds must be distinct non-negative integers, got {seeds}",
                where=self.location(*path),
                next="seeds = [0, 1, 2]",
            )
        return seeds

    def _topological_sort(self, name: str, above: tuple[str, ...]) -> None:
        """Add a stage to `stages`, after those it refers to."""
        if name in self.stages:
            return
        if name in above:
            circle = " -> ".join([*above[above.index(name) :], name])
            raise UsageError(
                f"circular dependency between stages: {circle}", where=self.location("stages", name)
            )
        stage = self._stages[name]
        for flag, other in stage.references.items():
            where = self.flag_location(stage, flag)
            self._check_stage(other, where)
            seeds = self._stages[other].seeds
            if len(seeds) > 1 and (missing := set(stage.seeds) - set(seeds)):
                raise UsageError(
                    f"stage {name!r} needs seed {min(missing)} of stage {other!r}, which does not run it",
                    where=where,
                )
            self._topological_sort(other, (*above, name))
        self.stages[name] = stage

    def _check_stage(self, name: Any, where: str) -> None:
        if name not in list(self._stages):
            raise UsageError(f"no stage {name!r}{did_you_mean(str(name), self._stages)}", where=where)

    def _check_keys(self, path: tuple[str, ...], allowed: Iterable[str]) -> None:
        for key in self._get(dict, {}, *path):
            if key not in allowed:
                raise UsageError(
                    f"unknown key {key!r}{did_you_mean(key, allowed)}", where=self.location(*path, key)
                )

    def _get(self, kind: type[T], default: T, *path: str) -> T:
        """Return the value of a key.

        Raises:
            UsageError: the value has another type, or its parent is no table.
        """
        value: Any = self._values
        for depth, key in enumerate(path):
            if not isinstance(value, dict):
                raise UsageError(f"{path[depth - 1]!r} must be a table", where=self.location(*path[:depth]))
            if key not in value:
                return default
            value = value[key]
        if not isinstance(value, kind):
            words = {str: "a text", list: "a list", float: "a number such as 0.5", bool: "true or false"}
            requested = words.get(kind, "a table")
            raise UsageError(f"{path[-1]!r} must be {requested}, got {value!r}", where=self.location(*path))
        return value


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two tables key by key; `over` takes precedence."""
    both = {
        key: _merge(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | both
