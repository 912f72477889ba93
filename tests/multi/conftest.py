"""Several processes on one CPU: whole commands, or a file of Python, started as a launcher starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TINY = f"{HERE / 'tiny.py'}:TinyBackbone"


class World:
    """Processes that were started together.

    Attributes:
        pids, codes, outputs: of each of them; a code is minus the signal that ended it.
        seconds: from the start, or from `kill`, to the end of each.
    """

    def __init__(self, server: Any, pids: list[int], outputs: list[Path]) -> None:
        self._ask, self.pids, self._outputs = server, pids, outputs
        self._since = time.monotonic()
        self.codes: list[int | None] = []
        self.seconds: list[float] = []
        self.outputs: list[str] = []

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.pids[rank], number)
        self._since = time.monotonic()

    def wait(self, *order: int, seconds: float = 300.0) -> "World":
        """Until all have ended, in an order that matters to `seconds` only."""
        found = {}
        for rank in order or range(len(self.pids)):
            found[rank] = self._ask(pid=self.pids[rank], seconds=seconds)["code"]
            self.seconds.append(time.monotonic() - self._since)
        self.codes = [found[rank] for rank in sorted(found)]
        # torch 2.10 tells on which ranks its backend has joined
        texts = [path.read_text().splitlines(keepends=True) for path in self._outputs]
        self.outputs = ["".join(line for line in lines if not line.startswith("[Gloo]")) for lines in texts]
        return self

    def until(self, text: str, rank: int = 0) -> None:
        """Wait until a process has said something."""
        deadline = time.monotonic() + 300
        while text not in self._outputs[rank].read_text():
            assert time.monotonic() < deadline, self._outputs[rank].read_text()
            time.sleep(0.02)


class Worlds:
    """Starts processes from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        return json.loads(self._server.stdout.readline())

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._read()

    def start(
        self, words: list[Any], ranks: int = 2, *, file: str = "", slurm: bool = False, **environment: str
    ) -> World:
        """Start `ranks` processes; alone, without a word about others in the environment."""
        self._count += 1
        outputs = [self.folder / f"{self._count}-{rank}.out" for rank in range(ranks)]
        port = 20000 + (os.getpid() * 131 + self._count) % 40000
        pids = []
        for rank, output in enumerate(outputs):
            output.touch()
            common = {"SSL_SEG_CACHE": str(self.folder / "cache")} | environment
            told = (_slurm if slurm else _torchrun)(rank, ranks, port) if ranks > 1 else {}
            request = {"file": file, "words": [str(word) for word in words], "output": str(output)}
            pids.append(self._ask(**request, environment=common | told)["pid"])
        return World(self._ask, pids, outputs)

    def go(self, words: list[Any], ranks: int = 2, **given: Any) -> World:
        """Start them, and wait for a good end."""
        world = self.start(words, ranks, **given).wait()
        assert world.codes == [0] * ranks, "\n".join(world.outputs)
        return world

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    return {name: str(value) for name, value in told.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _slurm(rank: int, ranks: int, port: int) -> dict[str, str]:
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(ranks),
        "SLURM_STEP_TASKS_PER_NODE": str(ranks),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_ID": "0",
    }


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    made = Worlds(tmp_path_factory.mktemp("worlds"))
    yield made
    made.close()


def training(out: Path, *flags: Any, steps: int = 8) -> list[Any]:
    """A tiny run of `train`: four steps an epoch."""
    given = f"train demo:32 --cpu --backbone {TINY} -o ssl.hidden=16 -o ssl.dimensions=8 --image-size 16"
    given += (
        f" --batch-size 8 --epochs {steps // 4} --save-every 2 --precision fp32 --optimizer sgd --lr 0.05"
    )
    return [*given.split(), "--out", out, *flags]


@pytest.fixture(scope="session", name="training")
def _training() -> Any:
    return training


@pytest.fixture(scope="session", name="tiny")
def _tiny() -> str:
    return TINY
