"""Runs that die: whole `ssl-seg` commands in forked children, killed, signalled and started again.

The fork server is that of `benchmarks.faults`. It is forked while pytest collects, when no thread
has been started.
"""

import itertools
import json
import os
import shutil
import signal
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.lab import Lab
from benchmarks.faults.server import Server
from benchmarks.faults.snapshot import snapshot
from benchmarks.faults.traps import POINTS
from ssl_seg.results.status import read_status

TINY = Path(__file__).with_name("tiny.py")
STEPS, PER_EPOCH = 8, 4
TRAPS = "benchmarks.faults.traps"

SERVER = Server()


def pytest_unconfigure() -> None:
    SERVER.close()


@dataclass
class Trial:
    """One run's folder, in which the command may be started again and again."""

    folder: Path
    cache: Path
    flags: list[str] = field(default_factory=list)
    data: str = "demo:32"
    probe: str = "demo:16"
    output: str = ""

    def words(self) -> list[str]:
        given = f"train {self.data} --backbone {TINY}:TinyBackbone -o ssl.hidden=16 -o ssl.dimensions=8 --cpu"
        given += f" --image-size 16 --batch-size 8 --epochs {STEPS // PER_EPOCH} --save-every 2 --probe {self.probe}"
        return [*given.split(), *self.flags, "--out", str(self.folder)]

    def resuming(self) -> list[str]:
        """The command that goes on with the run; code must be named again."""
        return ["train", "--backbone", f"{TINY}:TinyBackbone", "--resume", "--out", str(self.folder)]

    def start(
        self,
        *,
        words: list[str] | None = None,
        traps: Any = (),
        strike_at: Any = (),
        file_size: int = 0,
        broken_pipe: bool = False,
    ) -> int:
        """Start the command, or go on if there is something to go on with; returns its process id."""
        if words is None:
            begun = any(self.folder.glob("checkpoints/step-*"))
            words = self.resuming() if begun else self.words()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._log().write_text("")
        setup = [(f"{TRAPS}:count_steps", [str(self.folder.with_suffix(".steps")), STEPS])]
        setup += [(f"{TRAPS}:strike_at", trap) for trap in strike_at]
        return SERVER.start(
            {
                "words": words,
                "output": str(self._log()),
                "environment": {"SSL_SEG_CACHE": str(self.cache)},
                "setup": [*setup, *((f"{TRAPS}:strike", trap) for trap in traps)],
                "file_size": file_size,
                "broken_pipe": broken_pipe,
            }
        )

    def wait(self, pid: int, seconds: float = 60.0) -> int | None:
        code = SERVER.wait(pid, seconds)
        self.output = self._log().read_text()
        return code

    def go(self, **given: Any) -> int | None:
        return self.wait(self.start(**given))

    def hurt(self, after: float, number: int = signal.SIGKILL) -> int | None:
        """Start it, and send it a signal some seconds later."""
        pid = self.start()
        time.sleep(after)
        os.kill(pid, number)  # a child that has ended is kept until it is waited for
        return self.wait(pid)

    def steps(self) -> list[int]:
        """Every step that any process of this run has done, in order."""
        path = self.folder.with_suffix(".steps")
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def errors(self) -> list[str]:
        """The error on stderr, line by line; asserts its form."""
        assert "Traceback" not in self.output
        lines = self.output[self.output.index("error[") :].splitlines()
        assert len(lines) <= 12
        heads = [line.partition(":")[0] for line in lines[1:] if not line.startswith(" ")]
        assert heads == [head for head in ("where", "kept", "next") if head in heads]
        return lines

    def status(self) -> dict[str, Any]:
        return read_status(self.folder)

    def saved(self) -> list[int]:
        return sorted(int(path.name[5:]) for path in self.folder.glob("checkpoints/step-*"))

    def contents(self) -> dict[str, bytes]:
        """All files of the run but its log and its lock."""
        files = [p for p in self.folder.rglob("*") if p.is_file() and p.name not in (".lock", "run.log")]
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def _log(self) -> Path:
        return self.folder.with_suffix(".out")

    def result(self) -> dict[str, Any]:
        """All that a finished run has computed; asserts that it lies there clean."""
        names = sorted(path.name for path in self.folder.iterdir())
        wanted = ["backbone.safetensors", "checkpoints", "digests.json", "figures", "run.log", "run.toml"]
        probe = [name for name in ("probe_predictions.csv", "probe_untrained.csv") if name in names]
        assert names == sorted([".lock", *wanted, *probe, "scores.jsonl", "status.json"])
        assert len(probe) in (0, 2)
        assert sorted(os.listdir(self.folder / "checkpoints")) == [f"step-{s:06d}" for s in self.saved()]
        assert len(self.saved()) <= 2
        last = self.folder / "checkpoints" / f"step-{STEPS:06d}"
        status = {"state": "finished", "step": STEPS, "code": 0, "checkpoint": last.name}
        assert self.status() == status
        state = json.loads((last / "state.json").read_text())
        scores = [json.loads(line) for line in (self.folder / "scores.jsonl").read_text().splitlines()]
        assert state["scores"] == scores
        assert state["settings"] == tomllib.loads((self.folder / "run.toml").read_text())
        kept = ("backbone.safetensors", "checkpoints/newest/", "scores.jsonl", "probe_")
        return {name: what for name, what in snapshot(self.folder).items() if name.startswith(kept)}


class Trials:
    """Makes trials that share a cache, and knows what an undisturbed run gives."""

    points = tuple(POINTS)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        reference = self.new("reference")
        assert reference.go() == 0, reference.output
        started = time.monotonic()
        again = self.new("again")
        assert again.go() == 0
        self.seconds = time.monotonic() - started  # of a run that need not read its images
        self.expected = reference.result()
        assert self.same(again.result(), self.expected), "two undisturbed runs differ"

    @staticmethod
    def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
        """Whether two results are equal, bit for bit."""
        return one == two

    def half(self, name: str, **given: Any) -> Trial:
        """A run that was stopped after five of its steps."""
        trial = self.new(name, **given)
        assert trial.go(traps=[("before the target moves", 5, signal.SIGTERM)]) == 143, trial.output
        assert trial.saved() == [4, 5]
        return trial

    def new(self, name: str, **given: Any) -> Trial:
        return Trial(self.folder / name / "run", given.pop("cache", self.folder / "cache"), **given)


@pytest.fixture(scope="session")
def trials(tmp_path_factory) -> Iterator[Trials]:
    yield Trials(tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="session")
def halfway(trials: Trials) -> Any:
    """A function that gives copies of a run that was stopped after five of its steps."""
    first, count = trials.half("halfway"), itertools.count()

    def copied(name: str) -> Trial:
        trial = trials.new(f"{name} {next(count)}")
        shutil.copytree(first.folder, trial.folder)
        shutil.copy(first.folder.with_suffix(".steps"), trial.folder.with_suffix(".steps"))
        return trial

    return copied


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Small data, finished runs, and commands that run in forks; see `benchmarks.faults`."""
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()
