"""The laboratory: small data, a tiny network as an installed plugin, and commands that run in children."""

import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.faults import material
from benchmarks.faults.campaign import Once
from benchmarks.faults.child import NO_TRIAL
from benchmarks.faults.server import Server
from benchmarks.faults.snapshot import snapshot

TRAINING = ("train", "classify", "frozen", "segment")
_SHORT = "--batch-size 8 --epochs 2 --save-every 2 --cpu"
_TINY = f"--backbone tiny {_SHORT}"
WORDS = {
    "train": f"train {{lab}}/photos {_TINY} --image-size 16 -o ssl.hidden=16 -o ssl.dimensions=8 "
    "--probe {lab}/labelled",
    "classify": f"classify {{lab}}/labelled --val {{lab}}/labelled-val {_TINY} --image-size 16",
    "frozen": f"classify {{lab}}/labelled --val {{lab}}/labelled-val {_TINY} --image-size 16 --freeze "
    "--passes 2",
    "segment": f"segment {{lab}}/pairs --val {{lab}}/pairs-val {_TINY} --image-size 32 --watch 001 "
    "--head deeplabv3 -o head.width=8 --batch-size 4",
}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, minus a signal, or None if it hung; and what it printed."""

    code: int | None
    output: str

    def bug(self) -> str:
        """What no command may ever do, whatever it is given; empty if it did not."""
        last = (self.output.strip().splitlines() or ["nothing was printed"])[-1]
        if self.code is None:
            return f"hangs: {last}"
        if self.code < 0:
            return f"ended by signal {-self.code}: {last}"
        if self.code == 1:
            told = [line for line in self.output.splitlines() if line.startswith("error[1]")]
            return f"exit 1: {told[0] if told else last}"
        if "Traceback (most recent call last)" in self.output:
            return f"exit {self.code} with a traceback: {last}"
        return ""

    def told(self) -> str:
        """The error on one line."""
        lines = [line for line in self.output.splitlines() if line.startswith(("error[", "where:"))]
        return f"exit {self.code}: {' '.join(lines) or self.output.strip()[-200:]}"


class Lab:
    """Where trials are made. Use one for all campaigns: what is finished is made once.

    Args:
        folder: for everything; must be empty.
        jobs: how many commands may run at a time.
    """

    def __init__(self, folder: Path, jobs: int = 1) -> None:
        self.folder = folder
        self._servers: SimpleQueue[Server] = SimpleQueue()
        self._all = [Server() for _ in range(jobs)]
        for server in self._all:
            self._servers.put(server)
        self._made, self._number, self._lock = Once(), 0, threading.Lock()
        self.site = material.site(folder / "site")
        material.data(folder)

    def close(self) -> None:
        """End the servers."""
        for server in self._all:
            server.close()

    def place(self, name: str) -> Path:
        """A new folder."""
        with self._lock:
            self._number += 1
            made = self.folder / "trials" / f"{self._number:05d}-{name}"
        made.mkdir(parents=True)
        return made

    def words(self, command: str, out: Path) -> list[str]:
        """What is typed to train."""
        return [*WORDS[command].format(lab=self.folder).split(), "--out", str(out)]

    def run(
        self, words: Sequence[Any], *, after: float | None = None, number: int = 9, **given: Any
    ) -> Ended:
        """Run a command to its end, or send it a signal some seconds after it was started.

        Args:
            words: of the command line.
            after: seconds until the signal `number`.
            given: `cache`, of images; `seconds` until it counts as hanging; `log`, the file of what it
                prints; `path`, more to import from; and what `run_child` takes.
        """
        log = given.pop("log", None) or self.place("log") / "output"
        environment = {
            "SSL_SEG_CACHE": str(given.pop("cache", self.folder / "cache")),
            "HOME": str(self.folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
        }
        request = {
            "words": [str(word) for word in words],
            "output": str(log),
            "environment": environment | given.pop("environment", {}),
            "path": [*map(str, given.pop("path", [])), str(self.site)],
        }
        seconds = given.pop("seconds", 60.0)
        request["folder"] = str(given.pop("folder", log.parent))
        server = self._servers.get()
        try:
            pid = server.start(request | given)
            if after is not None:
                _signal(pid, number, after)
            code = server.wait(pid, seconds)
        finally:
            self._servers.put(server)
        output = log.read_text(errors="replace") if log.exists() else ""
        if code == NO_TRIAL:
            raise RuntimeError(f"the trial could not be set up: {output}")
        return Ended(code, output)

    def finished(self, command: str) -> Path:
        """A finished run of a training command, for reading alone; made once."""
        return self._made.get(("run", command), lambda: self._finish(command))

    def _finish(self, command: str) -> Path:
        out = self.folder / "finished" / command
        out.parent.mkdir(exist_ok=True)
        ended = self.run(self.words(command, out))
        if ended.code:
            raise RuntimeError(f"`{command}` cannot even be run undisturbed: {ended.output}")
        return out

    def expected(self, command: str) -> dict[str, Any]:
        """What an undisturbed run leaves."""
        return self._made.get(("snapshot", command), lambda: snapshot(self.finished(command)))

    def once(self, key: Any, make: Any) -> Any:
        """A value that is made once for this laboratory."""
        return self._made.get(key, make)

    def clear(self, *folders: Path) -> None:
        """Remove what a trial that passed has left."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _signal(pid: int, number: int, after: float) -> None:
    time.sleep(after)
    os.kill(pid, number)  # a child that has ended is kept until it is waited for
