"""Runs that die: whole `ssl-seg` commands in forked children, killed, signalled and started again.

A server is forked while pytest collects, when torch is loaded but has started no thread. Every
child is forked from it, leads a process group of its own, and calls what the command line calls.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from safetensors.torch import load_file

TINY = Path(__file__).with_name("tiny.py")
STEPS, PER_EPOCH = 8, 4
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

# name -> what is called there, a part of its path, and whether the fault comes before or after it
POINTS = {
    "while images are read": ("ssl_seg.data.cache_builder._fill", "", "before"),
    "before a file is opened": ("ssl_seg.weights.checkpoint._write", "model", "before"),
    "before a file is synced": ("os.fsync", "optimizer.safetensors", "before"),
    "after a file is synced": ("os.fsync", "optimizer.safetensors", "after"),
    "before the rename": ("os.replace", "/step-", "before"),
    "after the rename": ("os.replace", "/step-", "after"),
    "before the oldest goes": ("os.rename", "/.trash-", "before"),
    "while the oldest goes": ("os.rename", "/.trash-", "after"),
    "before the target moves": ("ssl_seg.methods.byol.BYOL.after_step", "", "before"),
    "after the target has moved": ("ssl_seg.methods.byol.BYOL.after_step", "", "after"),
    "in the probe": ("ssl_seg.commands.probe.embed", "", "before"),
    "before the scores": ("ssl_seg.engine.run_dir.Run.add_scores", "", "before"),
    "after the scores": ("ssl_seg.engine.run_dir.Run.add_scores", "", "after"),
    "in the status": ("os.replace", "status.json", "before"),
    "in run.toml": ("os.replace", "run.toml", "before"),
    "before the first step": ("ssl_seg.commands.train.Pretraining.draw_views", "", "before"),
    "in the backbone file": ("os.replace", "backbone.safetensors", "before"),
}


def _set_trap(point: str, hit: int, number: int) -> None:
    """Send this process a signal at the `hit`-th time that it comes to a point."""
    path, part, moment = POINTS[point]
    module, _, name = path.rpartition(".")
    try:
        owner: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        module, _, class_ = module.rpartition(".")
        owner = getattr(importlib.import_module(module), class_)
    real, count = getattr(owner, name), [0]

    def trapped(*args: Any, **named: Any) -> Any:
        is_handle = bool(args) and isinstance(args[0], int)
        texts = [os.readlink(f"/proc/self/fd/{args[0]}")] if is_handle else [str(args[-1:]), str(args[:1])]
        count[0] += part in (texts[0] if name in ("rename", "replace") else " ".join(texts))
        strikes = count[0] == hit
        if strikes:
            count[0] += 1
        if strikes and moment == "before":
            os.kill(os.getpid(), number)
        result = real(*args, **named)
        if strikes and moment == "after":
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, trapped)


def _count_steps(path: str) -> None:
    from ssl_seg.methods.byol import BYOL

    real = BYOL.after_step

    def counted(self: Any, progress: float) -> None:
        real(self, progress)
        with open(path, "a") as file:
            file.write(f"{round(progress * STEPS)}\n")

    BYOL.after_step = counted


def _child(request: dict[str, Any]) -> NoReturn:
    code: Any = 1
    try:
        os.setsid()
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if request["broken_pipe"]:
            nobody, output = os.pipe()
            os.close(nobody)
        for handle in (1, 2):
            os.dup2(output, handle)
        sys.stdout, sys.stderr = (os.fdopen(handle, "w", 1, closefd=False) for handle in (1, 2))
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.environ.update(request["environment"])
        sys.argv = ["ssl-seg", *request["words"]]
        _count_steps(request["steps"])
        for trap in request["traps"]:
            _set_trap(*trap)
        if request["file_size"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
        from ssl_seg.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


@cache
def _preload() -> None:
    """Import what a command imports, so that a child need not; nothing is computed."""
    for name in (
        "commands.settings",
        "commands.probe",
        "data.loader",
        "weights.backbone_file",
        "figures.views",
    ):
        importlib.import_module(f"ssl_seg.{name}")
    import torch._dynamo  # noqa: F401  torch's optimizers want it
    from pydantic import TypeAdapter

    from ssl_seg import cli
    from ssl_seg.plugins import load_plugins

    load_plugins()
    TypeAdapter(int).validate_python("1")
    sys.argv = ["ssl-seg", "train", "--seed", "1"]
    with redirect_stderr(StringIO()), suppress(SystemExit):
        cli.main()  # reads its flags, and finds that there is no DATA


def _serve(requests: int, replies: int) -> None:
    torch.set_num_threads(1)
    children: set[int] = set()
    try:
        with os.fdopen(requests) as lines:
            for line in lines:
                request = json.loads(line)
                if "words" in request:
                    _preload()
                    if (reply := os.fork()) == 0:
                        _child(request)
                    children.add(reply)
                else:
                    reply = _wait(request["pid"], request["seconds"])
                    children.discard(request["pid"])
                os.write(replies, f"{reply}\n".encode())
    finally:
        for pid in children:
            os.killpg(pid, signal.SIGKILL)


def _wait(pid: int, seconds: float) -> int | None:
    """The exit code, or minus the signal; None if it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


class Server:
    """The end of the server that the tests hold."""

    def __init__(self) -> None:
        theirs, self._requests = os.pipe()
        replies, mine = os.pipe()
        self._replies = os.fdopen(replies)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._requests)
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for handle in range(3):  # who reads what pytest says must not wait for the server
                os.dup2(nowhere, handle)
            try:
                _serve(theirs, mine)
            finally:
                os._exit(0)
        os.close(theirs)
        os.close(mine)

    def ask(self, **request: Any) -> Any:
        os.write(self._requests, (json.dumps(request) + "\n").encode())
        return json.loads(self._replies.readline().replace("None", "null"))

    def close(self) -> None:
        os.close(self._requests)
        self._replies.close()
        os.waitpid(self.pid, 0)


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

    def start(
        self,
        *,
        words: list[str] | None = None,
        traps: Any = (),
        file_size: int = 0,
        broken_pipe: bool = False,
    ) -> int:
        """Start the command, or go on if there is something to go on with; returns its process id."""
        if words is None:
            begun = any(self.folder.glob("checkpoints/step-*"))
            words = ["train", "--resume", "--out", str(self.folder)] if begun else self.words()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._log().write_text("")
        return SERVER.ask(
            words=words,
            output=str(self._log()),
            steps=str(self.folder.with_suffix(".steps")),
            environment={"SSL_SEG_CACHE": str(self.cache)},
            traps=list(traps),
            file_size=file_size,
            broken_pipe=broken_pipe,
        )

    def wait(self, pid: int, seconds: float = 60.0) -> int | None:
        code = SERVER.ask(pid=pid, seconds=seconds)
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
        return json.loads((self.folder / "status.json").read_text())

    def saved(self) -> list[int]:
        return sorted(int(path.name[5:]) for path in self.folder.glob("checkpoints/step-*"))

    def _log(self) -> Path:
        return self.folder.with_suffix(".out")

    def result(self) -> dict[str, Any]:
        """All that a finished run has computed; asserts that it lies there clean."""
        names = sorted(path.name for path in self.folder.iterdir())
        wanted = ["backbone.safetensors", "checkpoints", "figures", "run.log", "run.toml", "scores.jsonl"]
        assert names == [".lock", *wanted, "status.json"]
        assert sorted(os.listdir(self.folder / "checkpoints")) == [f"step-{s:06d}" for s in self.saved()]
        assert len(self.saved()) <= 2
        last = self.folder / "checkpoints" / f"step-{STEPS:06d}"
        status = {"state": "finished", "step": STEPS, "code": 0, "checkpoint": last.name}
        assert self.status() == status
        state = json.loads((last / "state.json").read_text())
        del state["meter"]  # of times, and of an epoch that the scores tell about
        scores = [json.loads(line) for line in (self.folder / "scores.jsonl").read_text().splitlines()]
        for row in scores:
            assert row.pop("seconds") > 0 and row.pop("images_per_second") > 0
            row.pop("energy_wh", None)  # where the machine tells
        files = {"backbone": self.folder / "backbone.safetensors"}
        files |= {name: last / f"{name}.safetensors" for name in ("model", "optimizer")}
        tensors = {(name, key): t for name, path in files.items() for key, t in load_file(path).items()}
        return {"state": state, "scores": scores, "tensors": tensors}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether two results are equal, bit for bit."""
    here, there = one["tensors"], two["tensors"]
    return (
        one["state"] == two["state"]
        and one["scores"] == two["scores"]
        and here.keys() == there.keys()
        and all(torch.equal(here[key], there[key]) for key in here)
    )


class Trials:
    """Makes trials that share a cache, and knows what an undisturbed run gives."""

    same = staticmethod(same)
    points = tuple(POINTS)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        started = time.monotonic()
        reference = self.new("reference")
        assert reference.go() == 0, reference.output
        started = time.monotonic()
        again = self.new("again")
        assert again.go() == 0
        self.seconds = time.monotonic() - started  # of a run that need not read its images
        self.expected = reference.result()
        assert same(again.result(), self.expected), "two undisturbed runs differ"

    def new(self, name: str, **given: Any) -> Trial:
        return Trial(self.folder / name / "run", given.pop("cache", self.folder / "cache"), **given)


@pytest.fixture(scope="session")
def trials(tmp_path_factory) -> Iterator[Trials]:
    yield Trials(tmp_path_factory.mktemp("trials"))
