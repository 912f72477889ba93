"""The process around a command: signals, streams that nobody reads, and errors as an exit code."""

import errno
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from ssl_seg.errors import ResourceError, SslSegError, Stopped
from ssl_seg.utils.interrupt import Interrupted, interruptible
from ssl_seg.utils.progress import echo, show_error, typed
from ssl_seg.utils.timeout import timeout_seconds
from ssl_seg.workflows.bad_files import BadFiles


def run_and_exit(work: Callable[[], object]) -> NoReturn:
    """See `run`; the whole of a process."""
    sys.exit(run(work))


def run(work: Callable[[], object]) -> int:
    """Do the work of a command, and say on stderr why it failed if it does; the exit code.

    A reader that goes away, as in `ssl-seg list | head -1`, stops no work: what was to be said is dropped,
    and the code is that of SIGPIPE where the rest went well.
    """
    with _streams() as (out, _):
        try:
            with interruptible():
                code = _code_of(work)
        except Interrupted as error:
            code = _told(Stopped(error.signal))
        out.flush()
        if code or out.lost is None:
            return code
        if out.lost.errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        return _told(ResourceError(f"cannot write to stdout: {out.lost.strerror}"))


def _code_of(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except SslSegError as error:
        return _told(error)
    except Exception as error:
        return _told(_named(error))
    return 0


def _named(error: Exception) -> SslSegError:
    """What no part has named: the machine ran out of something, or a bug."""
    from ssl_seg.workflows.run_status import as_resource_error

    if found := as_resource_error(error):
        return found
    place = traceback.extract_tb(error.__traceback__)[-1]
    bug = SslSegError(
        f"internal error: {type(error).__name__}: {error}",
        where=f"{place.filename}:{place.lineno}",
        next="rerun with `ssl-seg --debug ...` and report the output",
    )
    bug.reported = getattr(error, "reported", False)
    return bug


def _told(error: SslSegError) -> int:
    if isinstance(error, Stopped):
        error.kept = error.kept or "what is finished; no file is left by halves"
        error.next = error.next or typed()
    if "--debug" in sys.argv and sys.exc_info()[0]:
        lines = traceback.format_exc().rstrip().split("\n")
        echo(*(f"    {line}" for line in lines), err=True)  # none of them looks like one of ours
    if not error.reported:
        BadFiles().tell(error)
        show_error(error)
    return error.code


def run_child(words: Sequence[str]) -> int:
    """Run another command to its end; a signal is passed on, and its end waited for, with patience.

    Returns:
        Its exit code, 128 + n if signal n ended it.
    """
    # in a session of its own, Ctrl-C reaches it once: through this process
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True) as child:
        try:
            code = child.wait()
        except Interrupted as error:
            child.send_signal(error.signal)
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout_seconds())
            child.kill()
            raise
    return code if code >= 0 else 128 - code


class _Stream:
    """A stream of text whose reader may go away.

    Attributes:
        lost: why nothing is written any more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """As of any stream; what cannot be written is dropped."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        self._try(self._stream.flush)

    def close(self) -> None:
        """Refuse: what one part closes is closed for all, and nobody could say who it was.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("it closes stdout or stderr, to which others write")

    def _try(self, action: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: what lies beneath was closed
            self.lost = error if isinstance(error, OSError) else OSError(errno.EBADF, "it was closed")
            # what is still in the buffer would be tried again when the process ends
            with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _streams() -> Iterator[tuple[_Stream, _Stream]]:
    """Stdout and stderr, as far as they are open; what is closed (`2>&-`) becomes the null device."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:  # or the next file that is opened would get its number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        out, err = (_Stream(stream or nowhere) for stream in before)
        sys.stdout, sys.stderr = out, err
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before
