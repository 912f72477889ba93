"""The process around a command: signals, streams that nobody reads, and errors as an exit code."""

import errno
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from ssl_seg.errors import ResourceError, SslSegError, Stopped
from ssl_seg.utils.interrupt import Interrupted, interruptible
from ssl_seg.utils.progress import echo, show_error, typed
from ssl_seg.utils.streams import guarded_streams
from ssl_seg.workflows.bad_files import BadFiles


def run_and_exit(work: Callable[[], object]) -> NoReturn:
    """See `run`; the whole of a process."""
    sys.exit(run(work))


def run(work: Callable[[], object]) -> int:
    """Do the work of a command, and say on stderr why it failed if it does; the exit code.

    A reader that goes away, as in `ssl-seg list | head -1`, stops no work: what was to be said is dropped,
    and the code is that of SIGPIPE where the rest went well.
    """
    with guarded_streams() as (out, _):
        try:
            with interruptible():
                code = _code_of(work)
        except Interrupted as error:
            code = _report(Stopped(error.signal))
        out.flush()
        if code or out.lost is None:
            return code
        if out.lost.errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        return _report(ResourceError(f"cannot write to stdout: {out.lost.strerror}"))


def _code_of(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except SslSegError as error:
        return _report(error)
    except Exception as error:
        return _report(_known_error(error))
    return 0


def _known_error(error: Exception) -> SslSegError:
    """What no part has named: the machine ran out of something, or a bug."""
    from ssl_seg.workflows.run_status import as_resource_error

    if resource_error := as_resource_error(error):
        return resource_error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    bug = SslSegError(
        f"internal error: {type(error).__name__}: {error}",
        where=f"{frame.filename}:{frame.lineno}",
        next="rerun with `ssl-seg --debug ...` and report the output",
    )
    bug.reported = getattr(error, "reported", False)
    return bug


def _report(error: SslSegError) -> int:
    if isinstance(error, Stopped):
        error.kept = error.kept or "finished runs; no partial files"
        error.next = error.next or typed()
    if "--debug" in sys.argv and sys.exc_info()[0]:
        lines = traceback.format_exc().rstrip().split("\n")
        echo(*(f"    {line}" for line in lines), err=True)  # none of them looks like one of ours
    if not error.reported:
        BadFiles().attach_to(error)
        show_error(error)
    return error.code
