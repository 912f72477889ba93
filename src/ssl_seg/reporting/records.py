"""What a report tells, but for pictures."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_seg.results.tables import Table
from ssl_seg.study.config import StageConfig

_ORDER = ("train", "classify", "segment")


@dataclass(frozen=True)
class RunFacts:
    """One run.

    Attributes:
        folder: the run's.
        stage: its name in the study; without a study, the folder's.
        seed: None if nothing says it.
        command: as `classify`; empty if nothing says it.
        settings, record: of `run.toml`: the flags, and what the run found out.
        scores: one per epoch. status, result: of the JSON files of these names.
        classes: as `confusion.csv` names them. warnings: what `run.log` warns of. troubles: what could not be read.
    """

    folder: Path
    stage: str
    seed: int | None
    command: str
    settings: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.stage if self.seed is None else f"{self.stage}, seed {self.seed}"

    @property
    def state(self) -> str:
        """`finished`, `stopped`, `failed`, `running`, or `not started`."""
        return str(self.status.get("state") or ("unknown" if self.scores else "not started"))

    @property
    def last(self) -> dict[str, Any]:
        """The newest line of the scores."""
        return self.scores[-1] if self.scores else {}

    @property
    def again(self) -> str:
        """The command that repeats it."""
        config = shlex.quote(str(self.folder / "run.toml"))
        return f"ssl-seg {self.command} --config {config} --out runs/again-{shlex.quote(self.folder.name)}"


@dataclass(frozen=True)
class StageFacts:
    """A stage and its runs, seed by seed."""

    stage: StageConfig
    runs: list[RunFacts]

    @property
    def label(self) -> str:
        name, title = self.stage.name, self.stage.title
        return title if title.startswith(name) else f"{name}: {title}"

    @property
    def finished(self) -> list[RunFacts]:
        return [run for run in self.runs if run.state == "finished"]


@dataclass(frozen=True)
class Facts:
    """All that a report tells, but for pictures.

    Attributes:
        name: of the study or the run.
        stages: in the order of the study.
        tables: by name.
    """

    name: str
    stages: list[StageFacts]
    tables: list[tuple[str, Table]]

    @property
    def runs(self) -> list[RunFacts]:
        """Every run once, although equal stages share it."""
        return list({run.folder: run for stage in self.stages for run in stage.runs}.values())

    @property
    def places(self) -> dict[str, int]:
        """Stage -> place of its colour: by command, the rows of tables first."""
        rows = [row.name for _, table in self.tables for row in table.rows]
        found: dict[str, int] = {}
        for command in self.commands:
            names = [stage.stage.name for stage in self.of(command)]
            order = sorted(names, key=lambda name: rows.index(name) if name in rows else len(rows))
            found |= {name: place for place, name in enumerate(order)}
        return found

    def of(self, command: str) -> list[StageFacts]:
        """The stages of a command."""
        return [stage for stage in self.stages if stage.stage.command == command]

    @property
    def commands(self) -> list[str]:
        """The commands that were run, pre-training first."""
        found = {stage.stage.command for stage in self.stages if stage.stage.command}
        return sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
