"""What the TOML file of a study says: stages, their seeds, and the rows of the table.

Names of commands and of their flags are not judged here; everything else is, with the line it is in.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.toml import read_toml

T = TypeVar("T")


def is_reference(value: object) -> bool:
    """Whether a flag's value is the run of another stage: `@ssl`."""
    return isinstance(value, str) and value.startswith("@")


@dataclass(frozen=True)
class Stage:
    """A command and its flags, to be run once for each seed.

    Attributes:
        published: the score that somebody else has reported.
    """

    name: str
    title: str
    command: str
    seeds: list[int]
    flags: dict[str, Any]
    published: float | None = None

    @property
    def references(self) -> dict[str, str]:
        """Flag -> the stage whose run it takes."""
        return {flag: value[1:] for flag, value in self.flags.items() if is_reference(value)}


@dataclass(frozen=True)
class TableOf:
    """Stages side by side, and the score that is compared."""

    name: str
    rows: list[str]
    score: str


class StudyFile:
    """A study's file.

    Attributes:
        out: the folder of all its runs.
        stages: by name; each after those it refers to.
        tables: `[table]`, or one for each `[tables.NAME]`. By default a table has the stages that no
            other refers to.
        report: whether pictures and a page are made at the end.
        sam: flags of `ssl-seg sam`, which is run before the page where there is such a command.

    Raises:
        UsageError: an unknown key or stage, a value of the wrong kind, stages that wait for each other.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._values = path, read_toml(path)
        self._lines = [tuple(keys) for keys in _keys_of_lines(path.read_text(encoding="utf-8-sig"))]
        self._only((), ("seeds", "out", "defaults", "stages", "table", "tables", "report", "sam"))
        self.out = Path(os.path.expanduser(self._take(str, f"runs/{path.stem}", "out")))
        self._stages = {name: self._stage(name) for name in self._take(dict, {}, "stages")}
        if not self._stages:
            raise UsageError("a study requires stages", where=str(path), next="[stages.ssl]")
        self.stages: dict[str, Stage] = {}
        for name in self._stages:
            self._sort(name, ())
        used = {name for stage in self.stages.values() for name in stage.references.values()}
        ends = [name for name in self._stages if name not in used]
        self.report = self._take(bool, True, "report")
        self.sam = self.flags("sam")
        named = [("tables", name) for name in self._take(dict, {}, "tables")]
        single = [("table",)] if "table" in self._values or not named else []
        self.tables = [self._table(path, ends) for path in [*single, *named]]

    def where(self, *keys: str) -> str:
        """The file and, as near as it can be told, the line of a key."""
        wanted = tuple(_plain(key) for key in keys)
        shared = [_shared(wanted, line) for line in self._lines]
        best = max(shared, default=0)
        return f"{self.path}, line {shared.index(best) + 1}" if best else str(self.path)

    def where_flag(self, stage: Stage, flag: str) -> str:
        """Where a stage, or the defaults of its command, gives a flag."""
        own = flag in self.flags("stages", stage.name) or flag not in self.flags("defaults", stage.command)
        return self.where(*(("stages", stage.name) if own else ("defaults", stage.command)), flag)

    def defaults(self) -> list[str]:
        """The commands that have defaults."""
        return list(self._take(dict, {}, "defaults"))

    def flags(self, *path: str) -> dict[str, Any]:
        """The flags in a table, by the names that Python gives them."""
        table = self._take(dict, {}, *path)
        own = ("command", "title", "seeds", "published") if path[0] == "stages" else ()
        return {_plain(key): value for key, value in table.items() if key not in own}

    def _stage(self, name: str) -> Stage:
        path = ("stages", name)
        command = self._take(str, "", *path, "command")
        if not command:
            raise UsageError(
                f"stage {name!r} has no command", where=self.where(*path), next='command = "train"'
            )
        title = " ".join(self._take(str, name, *path, "title").split())
        flags = _merged(self.flags("defaults", command), self.flags(*path))
        if "seed" in flags:
            where = self.where(*path, "seed")
            raise UsageError(f"stage {name!r} sets a seed", where=where, next=f"seeds = [{flags['seed']}]")
        own = (*path, "seeds") if "seeds" in self._take(dict, {}, *path) else ("seeds",)
        return Stage(name, title, command, self._seeds(own), flags, self._published(path))

    def _table(self, path: tuple[str, ...], ends: list[str]) -> TableOf:
        self._only(path, ("rows", "score"))
        rows: list[str] = self._take(list, ends, *path, "rows")
        for row in rows:
            self._known(row, self.where(*path, "rows"))
        usual = "val_miou" if all(self.stages[row].command == "segment" for row in rows) else "val_top1"
        return TableOf(path[-1], rows, self._take(str, usual, *path, "score"))

    def _published(self, path: tuple[str, ...]) -> float | None:
        if "published" not in self._take(dict, {}, *path):
            return None
        return float(self._take(float, 0.0, *path, "published"))

    def _seeds(self, path: tuple[str, ...]) -> list[int]:
        seeds: list[Any] = self._take(list, [0], *path)
        whole = all(type(seed) is int and seed >= 0 for seed in seeds)
        if not seeds or not whole or len(set(seeds)) < len(seeds):
            raise UsageError(
                f"seeds must be distinct non-negative integers, got {seeds}",
                where=self.where(*path),
                next="seeds = [0, 1, 2]",
            )
        return seeds

    def _sort(self, name: str, above: tuple[str, ...]) -> None:
        """Take in a stage after those it refers to."""
        if name in self.stages:
            return
        if name in above:
            circle = " -> ".join([*above[above.index(name) :], name])
            raise UsageError(
                f"circular dependency between stages: {circle}", where=self.where("stages", name)
            )
        stage = self._stages[name]
        for flag, other in stage.references.items():
            where = self.where_flag(stage, flag)
            self._known(other, where)
            seeds = self._stages[other].seeds
            if len(seeds) > 1 and (lacking := set(stage.seeds) - set(seeds)):
                raise UsageError(
                    f"stage {name!r} needs seed {min(lacking)} of stage {other!r}, which does not run it",
                    where=where,
                )
            self._sort(other, (*above, name))
        self.stages[name] = stage

    def _known(self, name: Any, where: str) -> None:
        if name not in list(self._stages):
            raise UsageError(f"no stage {name!r}{did_you_mean(str(name), self._stages)}", where=where)

    def _only(self, path: tuple[str, ...], known: Iterable[str]) -> None:
        for key in self._take(dict, {}, *path):
            if key not in known:
                raise UsageError(
                    f"unknown key {key!r}{did_you_mean(key, known)}", where=self.where(*path, key)
                )

    def _take(self, kind: type[T], default: T, *path: str) -> T:
        """The value of a key.

        Raises:
            UsageError: it is not of the kind, or what it is in is no table.
        """
        value: Any = self._values
        for depth, key in enumerate(path):
            if not isinstance(value, dict):
                raise UsageError(f"{path[depth - 1]!r} must be a table", where=self.where(*path[:depth]))
            if key not in value:
                return default
            value = value[key]
        if not isinstance(value, kind):
            words = {str: "a text", list: "a list", float: "a number such as 0.5", bool: "true or false"}
            wanted = words.get(kind, "a table")
            raise UsageError(f"{path[-1]!r} must be {wanted}, got {value!r}", where=self.where(*path))
        return value


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` wins; tables are merged key by key."""
    both = {
        key: _merged(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return under | over | both


def _plain(key: str) -> str:
    return key.replace("-", "_")


def _keys_of_lines(text: str) -> Iterator[tuple[str, ...]]:
    """For each line the keys, from the outermost, that it gives a value to or opens a table of."""
    table: tuple[str, ...] = ()
    for line in text.splitlines():
        head = line.strip()
        words = re.findall(
            r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", head.strip("[]") if head[:1] == "[" else head.split("=")[0]
        )
        keys = tuple(_plain(next(filter(None, word), "")) for word in words)
        if head.startswith("["):
            table = keys
            yield keys
        else:
            yield (*table, *keys) if "=" in head and not head.startswith("#") else ()


def _shared(wanted: tuple[str, ...], line: tuple[str, ...]) -> int:
    """How many keys, from the outermost, a line has in common with what is looked for."""
    same = [one == other for one, other in zip(wanted, line, strict=False)]
    return same.index(False) if False in same else len(same)
