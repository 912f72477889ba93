"""A fork server: torch is imported once, and a command costs what it does, not what it imports.

The server is forked while no thread has been started. Every child is forked from it, leads a process
group of its own, and calls what the command line calls.
"""

import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from io import StringIO
from typing import Any

from benchmarks.faults.child import run_child

_LATE = (  # what commands import when they come to it
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "matplotlib.pyplot",
    "sklearn.manifold",
    "torch._dynamo",
)


@cache
def preload() -> None:
    """Import what any command imports, so that a child need not; nothing is computed."""
    import torch
    from PIL import Image

    import ssl_seg

    for name in _LATE:
        importlib.import_module(name)
    Image.init()

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(ssl_seg.__path__, "ssl_seg."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from pydantic import TypeAdapter

    from ssl_seg import cli
    from ssl_seg.plugins import load_plugins

    load_plugins()
    TypeAdapter(int).validate_python("1")
    words, sys.argv = sys.argv, ["ssl-seg", "train", "--seed", "1"]
    with redirect_stderr(StringIO()), redirect_stdout(StringIO()), suppress(SystemExit):
        cli.main()  # reads its flags, and finds that there is no DATA
    sys.argv = words
    gc.collect()
    gc.freeze()  # what a child never touches, it need not copy


class Server:
    """The end of a server that its user holds."""

    def __init__(self) -> None:
        theirs, self._requests = os.pipe()
        replies, mine = os.pipe()
        self._replies = os.fdopen(replies)
        self.pid = os.fork()
        if self.pid == 0:
            own = sorted((theirs, mine))  # or this one would keep the pipes of the others open
            for low, high in zip((2, *own), (*own, 1024), strict=True):
                os.closerange(low + 1, high)
            os.setsid()
            nowhere = os.open(os.devnull, os.O_RDWR)
            for handle in range(3):  # who reads what the user says must not wait for the server
                os.dup2(nowhere, handle)
            try:
                _serve(theirs, mine)
            finally:
                os._exit(0)
        os.close(theirs)
        os.close(mine)

    def start(self, request: dict[str, Any]) -> int:
        """Start a command; see `run_child` for what a request holds. Returns its process id."""
        pid: int = self._ask(request)
        return pid

    def wait(self, pid: int, seconds: float) -> int | None:
        """The exit code of a child, or minus its signal; None if it had to be killed, after `seconds`."""
        code: int | None = self._ask({"pid": pid, "seconds": seconds})
        return code

    def _ask(self, request: dict[str, Any]) -> Any:
        os.write(self._requests, (json.dumps(request) + "\n").encode())
        return json.loads(self._replies.readline())

    def close(self) -> None:
        """End the server and all its children."""
        os.close(self._requests)
        self._replies.close()
        os.waitpid(self.pid, 0)


def _serve(requests: int, replies: int) -> None:
    children: set[int] = set()
    try:
        with os.fdopen(requests) as lines:
            for line in lines:
                request = json.loads(line)
                if "pid" in request:
                    reply = _wait(request["pid"], request["seconds"])
                    children.discard(request["pid"])
                else:
                    preload()
                    if (reply := os.fork()) == 0:
                        run_child(request)
                    children.add(reply)
                os.write(replies, f"{json.dumps(reply)}\n".encode())
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def _wait(pid: int, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    ended = None
    while ended is None and time.monotonic() < deadline:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        time.sleep(0 if ended else 0.002)
    _end_group(pid)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def _end_group(pid: int) -> None:
    """What a command has started must not outlive it; before it is reaped, so that its number is still its own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
