"""Runs the jobs of a study, one process at a time."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

from ssl_seg.errors import OutputInUseError, ResourceError, Stopped
from ssl_seg.study.fork_server import ForkedRun, ForkServer, ServerLost
from ssl_seg.study.planner import Job
from ssl_seg.utils.interrupt import SIGNALS, stopped_on_interrupt
from ssl_seg.utils.lock import OpenFolder, take_lock, try_lock
from ssl_seg.utils.timeout import StallDetector, timeout_seconds

# -P: files in the current folder must not shadow modules
PYTHON_COMMAND = (sys.executable, "-P", "-m", "ssl_seg")
SERVER_COMMAND = (sys.executable, "-P", "-c", "from ssl_seg.__main__ import serve_runs; serve_runs()")

_POLL_SECONDS = 0.1


@contextmanager
def study_lock(folder: Path, resume_command: str) -> Iterator[OpenFolder]:
    """Lock the folder of a study; an unhandled signal ends the study as `Stopped`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder)
        held = OpenFolder(folder)
    except OutputInUseError as error:
        error.next = "wait for it to finish"
        raise
    except OSError as error:
        raise ResourceError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        try:
            with stopped_on_interrupt():
                yield held
        except Stopped as error:
            error.kept, error.next = "finished runs", resume_command
            raise
        finally:
            held.close()


def run_locked(held: OpenFolder, runner: "JobRunner", job: Job) -> int:
    """Run a job while the folder of the study is locked by this process; return its exit code."""
    held.check()
    code = runner.start(job)
    held.check()
    return code


class JobRunner:
    """Runs jobs one at a time and forwards signals to them.

    Args:
        folder: of the study.
        resume_command: the command that resumes the study.
        log: called with one line per event.
        isolate: start a program for each job, in place of a fork of one that has imported everything.
    """

    def __init__(
        self, folder: Path, resume_command: str, log: Callable[[str], None], *, isolate: bool = False
    ) -> None:
        self._resume_command, self._log = resume_command, log
        self._server = None if isolate or sys.platform != "linux" else ForkServer(SERVER_COMMAND)
        self._lock_file = (folder / ".stage").open("a+")  # locked by this process and by its job
        self._signal = 0
        self._pending: list[int] = []
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                self._previous_handlers[number] = signal.signal(number, self._on_signal)
        try:
            self._wait_for_previous_job()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self._lock_file.close()
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._signal = self._signal or number
        self._pending.append(number)

    def _raise_if_stopped(self) -> None:
        if self._signal:
            raise Stopped(self._signal, kept="finished runs", next=self._resume_command)

    def start(self, job: Job) -> int:
        """Run a job and return its exit code, 128 + n if signal n ended it.

        Raises:
            Stopped: a signal arrived; the job received it and has exited.
        """
        self._raise_if_stopped()
        with self._process(job.words) as child:
            self._lock_file.truncate(0)
            self._lock_file.write(f"pid {child.pid}")
            self._lock_file.flush()
            code = self._wait_for(child)
        self._raise_if_stopped()
        return code if code >= 0 else 128 - code

    def _process(self, words: list[str]) -> "subprocess.Popen[bytes] | ForkedRun":
        if self._server:
            try:
                return self._server.start(words, self._lock_file, self._raise_if_stopped)
            except ServerLost as error:
                self._log(f"runs cannot be forked ({error}): each is a program of its own, as with --isolate")
                self._server.close()
                self._server = None
        return subprocess.Popen(
            [*PYTHON_COMMAND, *words],
            pass_fds=[self._lock_file.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the job once, through this process
        )

    def _wait_for(self, child: "subprocess.Popen[bytes] | ForkedRun") -> int:
        """Wait for a run without a limit; kill it if it does not exit within the timeout after a signal."""
        idle = StallDetector(_POLL_SECONDS)
        while True:
            try:
                return child.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                while self._pending:
                    child.send_signal(self._pending.pop(0))
            if self._signal and idle.is_stalled("asked"):
                self._log(
                    f"pid {child.pid} did not exit within {timeout_seconds():.0f} s after the signal: killing it"
                )
                child.kill()
                return child.wait(timeout_seconds())

    def _wait_for_previous_job(self) -> None:
        """Wait for a job of an earlier, killed study: it still holds the lock file.

        Raises:
            OutputInUseError: the job stays suspended for `timeout_seconds()` seconds.
        """
        reported, idle = False, StallDetector(_POLL_SECONDS)
        while not try_lock(self._lock_file, seconds=_POLL_SECONDS):
            self._lock_file.seek(0)
            last = self._lock_file.read()
            if not reported:
                self._log(f"waiting for a run of an earlier study ({last})")
                reported = True
            pid = last.removeprefix("pid ")
            if idle.is_stalled("suspended" if _is_suspended(pid) else object()):
                way = f"kill -CONT {pid}  # or kill -KILL {pid}: its latest checkpoint is kept"
                raise OutputInUseError(f"a run of an earlier study is suspended: {last}", next=way)
            self._raise_if_stopped()


def _is_suspended(pid: str) -> bool:
    """Whether a process is suspended, for example by Ctrl-Z; False where the system cannot tell."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    return False
