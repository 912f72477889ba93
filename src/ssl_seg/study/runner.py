"""Running the jobs of a study, one process at a time."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

from ssl_seg.errors import OccupiedError, ResourceError, Stopped
from ssl_seg.study.planner import Job
from ssl_seg.utils.interrupt import SIGNALS, told_as_stopped
from ssl_seg.utils.lock import OpenFolder, take_lock, try_lock
from ssl_seg.utils.timeout import StallDetector, timeout_seconds

# -P: what lies in the current folder must not stand in for a module
PROGRAM = (sys.executable, "-P", "-m", "ssl_seg")


_LOOK = 0.1  # seconds between two looks at a run


@contextmanager
def held_folder(folder: Path, again: str) -> Iterator[OpenFolder]:
    """The study's folder is this process's alone; a signal that nobody listens to ends the study."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder)
        held = OpenFolder(folder)
    except OccupiedError as error:
        error.next = "wait for it to finish"
        raise
    except OSError as error:
        raise ResourceError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        try:
            with told_as_stopped():
                yield held
        except Stopped as error:
            error.kept, error.next = "finished runs", again
            raise
        finally:
            held.close()


def while_there(held: OpenFolder, relay: "Relay", job: Job) -> int:
    """Run a job, as long as the study has its folder."""
    held.check()
    code = relay.start(job)
    held.check()
    return code


class Relay:
    """Starts jobs one at a time, and passes on to them the signals that come.

    Args:
        folder: of the study.
        again: the command that goes on with the study.
        say: told what goes on.
    """

    def __init__(self, folder: Path, again: str, say: Callable[[str], None]) -> None:
        self._again, self._say = again, say
        self._stage = (folder / ".stage").open("a+")  # locked by this process and by the job it has started
        self._signal = 0
        self._pending: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                self._before[number] = signal.signal(number, self._note)
        try:
            self._wait_for_the_last()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.close()
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = self._signal or number
        self._pending.append(number)

    def _stop_if_asked(self) -> None:
        if self._signal:
            raise Stopped(self._signal, kept="finished runs", next=self._again)

    def start(self, job: Job) -> int:
        """Run a job to its end; returns its exit code, 128 + n if signal n ended it.

        Raises:
            Stopped: a signal came; the job has had it and has ended.
        """
        self._stop_if_asked()
        resume = ["--resume"] if job.state == "begun" else []
        words = [*PROGRAM, job.command, *resume, "--out", str(job.folder), "--config", str(job.config)]
        # in a session of its own, Ctrl-C reaches it once: through this process
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
        with subprocess.Popen(words, pass_fds=[self._stage.fileno()], **how) as child:
            self._stage.truncate(0)
            self._stage.write(f"pid {child.pid}")
            self._stage.flush()
            code = self._wait_for(child)
        self._stop_if_asked()
        return code if code >= 0 else 128 - code

    def _wait_for(self, child: "subprocess.Popen[bytes]") -> int:
        """Until a run ends, however long it is at work; one that does not end when it was asked to is killed."""
        idle = StallDetector(_LOOK)
        while True:
            try:
                return child.wait(_LOOK)
            except subprocess.TimeoutExpired:
                while self._pending:
                    child.send_signal(self._pending.pop(0))
            if self._signal and idle.is_stalled("asked"):
                self._say(
                    f"pid {child.pid} did not exit within {timeout_seconds():.0f} s after the signal: killing it"
                )
                child.kill()
                return child.wait(timeout_seconds())

    def _wait_for_the_last(self) -> None:
        """If a study was killed here, what it had started may still be at work: it has the file too.

        Raises:
            OccupiedError: it is suspended, and stays so for `timeout_seconds()` seconds.
        """
        reported, idle = False, StallDetector(_LOOK)
        while not try_lock(self._stage, seconds=_LOOK):
            self._stage.seek(0)
            last = self._stage.read()
            if not reported:
                self._say(f"waiting for a run of an earlier study ({last})")
                reported = True
            pid = last.removeprefix("pid ")
            if idle.is_stalled("suspended" if _is_suspended(pid) else object()):
                way = f"kill -CONT {pid}  # or kill -KILL {pid}: its latest checkpoint is kept"
                raise OccupiedError(f"a run of an earlier study is suspended: {last}", next=way)
            self._stop_if_asked()


def _is_suspended(pid: str) -> bool:
    """Whether a process was stopped, as by Ctrl-Z; where the system does not say, it was not."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    return False
