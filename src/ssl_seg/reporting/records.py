"""The data of a report, except figures."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_seg.results.score_text import score_digits
from ssl_seg.results.tables import Table
from ssl_seg.study.config import StageConfig
from ssl_seg.study.report_text import ReportText

_ORDER = ("train", "classify", "segment")


@dataclass(frozen=True)
class ReportRun:
    """One run.

    Attributes:
        folder: of the run.
        stage: its name in the study; without a study, the name of the folder.
        seed: None if unknown.
        command: for example `classify`; empty if unknown.
        settings, record: of `run.toml`: flags, and recorded facts.
        scores: one per epoch. status, result: contents of the JSON files of these names.
        classes: from `confusion.csv`. warnings: from `run.log`. problems: files that could not be read.
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
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.stage if self.seed is None else f"{self.stage}, seed {self.seed}"

    @property
    def state(self) -> str:
        """`finished`, `stopped`, `failed`, `running`, or `not started`."""
        return str(self.status.get("state") or ("unknown" if self.scores else "not started"))

    @property
    def last(self) -> dict[str, Any]:
        """The latest scores."""
        return self.scores[-1] if self.scores else {}

    @property
    def run_toml(self) -> dict[str, Any]:
        """As the file is: facts among the settings."""
        return {**self.settings, "record": self.record}

    @property
    def digits(self) -> int:
        """Decimals of its scores; see `score_digits`."""
        images = self.result.get("images")
        return score_digits(images if isinstance(images, int) else None)

    @property
    def repeat_command(self) -> str:
        """The command that repeats the run."""
        config = shlex.quote(str(self.folder / "run.toml"))
        return f"ssl-seg {self.command} --config {config} --out runs/again-{shlex.quote(self.folder.name)}"


@dataclass(frozen=True)
class ReportStage:
    """A stage and its runs, seed by seed."""

    stage: StageConfig
    runs: list[ReportRun]

    @property
    def label(self) -> str:
        name, title = self.stage.name, self.stage.title
        return title if title.startswith(name) else f"{name}: {title}"

    @property
    def finished(self) -> list[ReportRun]:
        return [run for run in self.runs if run.state == "finished"]


@dataclass(frozen=True)
class ReportData:
    """All data of a report, except figures.

    Attributes:
        name: of the study or the run.
        stages: in the order of the study.
        tables: by name.
        text: of the author, where the report is of one study.
        is_study: whether it is of one study.
    """

    name: str
    stages: list[ReportStage]
    tables: list[tuple[str, Table]]
    text: ReportText = field(default_factory=ReportText)
    is_study: bool = False

    @property
    def runs(self) -> list[ReportRun]:
        """Every run once, even if stages share it."""
        return list({run.folder: run for stage in self.stages for run in stage.runs}.values())

    @property
    def color_indices(self) -> dict[str, int]:
        """Stage or row -> index of its color: by command, the rows of tables first."""
        rows = [row.name for _, table in self.tables for row in table.rows]
        untrained = dict.fromkeys(rows).keys() - {stage.stage.name for stage in self.stages}
        indices: dict[str, int] = {}
        for command in self.commands:
            names = [stage.stage.name for stage in self.of(command)]
            names += sorted(untrained) if command == "train" else []
            order = sorted(names, key=lambda name: rows.index(name) if name in rows else len(rows))
            indices |= {name: index for index, name in enumerate(order)}
        return indices

    def of(self, command: str) -> list[ReportStage]:
        """The stages of a command."""
        return [stage for stage in self.stages if stage.stage.command == command]

    @property
    def commands(self) -> list[str]:
        """The commands that were run, pre-training first."""
        indices = {stage.stage.command for stage in self.stages if stage.stage.command}
        return sorted(indices, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
