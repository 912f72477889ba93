"""Runs of a study as forks of one process that has imported everything once.

The server imports and waits; it computes nothing. So none of what a fork would break exists in it: no Python thread, no
thread pool of PyTorch, no CUDA context. Each fork is then as a program that has just imported its modules, and all that
it has used is returned when it ends. It needs Linux: elsewhere system libraries do not survive a fork.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any, Self

from ssl_seg.utils.timeout import StallDetector, timeout_seconds
from ssl_seg.utils.toml import parse_json

_MAX_BYTES = 2**16  # of a request: the command line of a run
_POLL_SECONDS = 0.1


class ServerLost(Exception):
    """There is no server, or it has ended: runs can still be programs of their own."""


def serve(load: Callable[[], object], main: Callable[[], object]) -> None:
    """Fork a run for every request, until the study has ended; the main function of the server.

    Args:
        load: imports what runs need.
        main: the program, which reads `sys.argv`; called in each fork, which ends with it.
    """
    with socket.socket(fileno=int(sys.argv[1])) as study:
        try:
            load()
        except Exception:  # a run in a process of its own reports what cannot be imported
            return
        if threading.active_count() > 1:
            return
        study.send(b"ready")
        while request := _next_request(study):
            words, handle = request
            if (pid := os.fork()) == 0:
                break
            os.close(handle)
            with suppress(OSError):  # the study has ended, the run has not
                study.send(json.dumps(pid).encode())
            end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert end
            code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
            with suppress(OSError):
                study.send(json.dumps(code).encode())
                study.recv(1)  # no signal is sent any more: the system may use the number again
            os.waitpid(pid, 0)
            with suppress(OSError):
                study.send(b"reaped")
        else:
            return
    os.setsid()  # Ctrl-C reaches it once, through the study
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Python's generator does so by itself
    sys.argv[1:] = words
    main()


def _next_request(study: socket.socket) -> tuple[list[str], int] | None:
    with suppress(OSError):
        message, handles, _, _ = socket.recv_fds(study, _MAX_BYTES, 1)
        if message and handles:
            return parse_json(message), handles[0]
    return None


class ForkServer:
    """The study's side; the server is started with the first run.

    Args:
        command: the program that calls `serve`; the number of its socket is appended.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self, words: Sequence[str], lock: IO[Any], check: Callable[[], object]) -> "ForkedRun":
        """Start a run.

        Args:
            words: its command line, without the program.
            lock: a file that is open, and so locked, until the run has ended.
            check: called every moment while the server imports; may raise.

        Raises:
            ServerLost: no run was started.
        """
        try:
            if self._socket is None:
                self._socket = self._launched()
                self._wait_until_ready(check)
            socket.send_fds(self._socket, [json.dumps(list(words)).encode()], [lock.fileno()])
            return ForkedRun(self._socket, int(_received(self._socket, timeout_seconds())))
        except OSError as error:
            raise ServerLost(str(error)) from error

    def close(self) -> None:
        """End the server; a run goes on."""
        if self._socket:
            self._socket.close()
        if self._process:
            self._process.kill()
            self._process.wait(timeout_seconds())

    def _launched(self) -> socket.socket:
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [*self._command, str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return own

    def _wait_until_ready(self, check: Callable[[], object]) -> None:
        assert self._socket
        idle = StallDetector(_POLL_SECONDS)
        while not idle.is_stalled("imports"):
            with suppress(TimeoutError):
                _received(self._socket, _POLL_SECONDS)
                return
            check()
        raise TimeoutError("it does not answer")


class ForkedRun:
    """A run, as far as a study uses a `subprocess.Popen`.

    Attributes:
        pid: number of its process.
    """

    def __init__(self, server: socket.socket, pid: int) -> None:
        self.pid = pid
        self._server, self._code = server, 0
        self._running = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code, or -n if signal n ended it.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        if not self._running:
            return self._code
        try:
            self._code = int(_received(self._server, timeout))
            self._server.send(b"-")
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(["run"], timeout or 0.0) from error
        except OSError:  # the server was killed: nobody will know how the run ends
            self.kill()
            self._code = -signal.SIGKILL
        self._running = False
        with suppress(OSError):  # after this the server may be ended, and leaves no zombie
            _received(self._server, timeout_seconds())
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _received(connection: socket.socket, timeout: float | None) -> bytes:
    """The next message.

    Raises:
        TimeoutError: there is none yet. ConnectionError: there will be none.
    """
    if not select.select([connection], [], [], timeout)[0]:
        raise TimeoutError("no answer")
    message = connection.recv(_MAX_BYTES)
    if not message:
        raise ConnectionError("it has ended")
    return message
