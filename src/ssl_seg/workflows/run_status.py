"""What every training command does around its own work: end a run's folder in a known state."""

import platform
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import (
    DistributedError,
    PluginError,
    ResourceError,
    SslSegError,
    Stopped,
    is_out_of_memory,
)
from ssl_seg.results.status import read_status
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.interrupt import stopped_on_interrupt
from ssl_seg.utils.log import log
from ssl_seg.workflows.bad_files import NAME, BadFiles

_RECORDED = ("ssl-seg", "torch", "torchvision", "timm")


@contextmanager
def stoppable(folder: Path) -> Iterator[None]:
    """Around a training command, also before its folder is opened: a signal that ends it says what is kept.

    Raises:
        Stopped: in place of `Interrupted`.
    """
    try:
        with stopped_on_interrupt():
            yield
    except Stopped as error:
        from ssl_seg.weights.checkpoint_files import latest_checkpoint_name

        error.kept = error.kept or latest_checkpoint_name(folder / "checkpoints")
        raise


@contextmanager
def record_exit_status(run: Run) -> Iterator[None]:
    """Write how the run ended into `status.json` and `run.log`.

    Raises:
        Stopped: in place of `Interrupted`.
        ResourceError: in place of a plain OSError, where memory ran out, and where the folder is gone.
        PluginError: in place of whatever a plugin raises.
    """
    try:
        try:
            with stopped_on_interrupt(), fenced():
                yield
        except Exception as error:
            run.check_there()
            if resource_error := as_resource_error(error):
                raise resource_error from error
            raise
    except SslSegError as error:
        write_final_status(run, "stopped" if isinstance(error, Stopped) else "failed", error.code)
        BadFiles(run.folder / NAME, writes=run.main).attach_to(error)
        if isinstance(error, ResourceError | DistributedError | PluginError | Stopped):
            add_recovery_hint(error, run)
        log.error("%s", error.what)
        log.info("%s", traceback.format_exc())
        raise
    except BaseException:
        write_final_status(run, "failed", 1)
        log.exception("unexpected")
        raise


def as_resource_error(error: Exception) -> ResourceError | None:
    """The error of a machine that has run out of something; None of any other error."""
    if isinstance(error, OSError):
        return ResourceError(f"{error.strerror or error}", where=error.filename and str(error.filename))
    if not is_out_of_memory(error):
        return None
    return ResourceError(
        "out of memory",
        where=(str(error).splitlines() or [""])[0],
        next="a smaller --batch-size or --image-size, or --accumulate 2: the batch in two parts",
    )


def add_recovery_hint(error: SslSegError, run: Run) -> None:
    """Say with an error what is kept, and how to go on from it."""
    from ssl_seg.weights.checkpoint_files import latest_checkpoint_name

    error.kept = error.kept or latest_checkpoint_name(run.checkpoints)
    if error.kept and not error.next:
        error.next = run.resume_command


def write_final_status(run: Run, state: str, code: int) -> None:
    """Leave in `status.json` how a run ended; its step and checkpoint stay.

    What ends before this process trained leaves the word of an earlier one: a finished run stays finished when
    going on with it was refused.
    """
    if not run.begun and (run.folder / "status.json").exists():
        return
    last: dict[str, Any] = {"step": 0, "checkpoint": ""}
    with suppress(OSError, ValueError):  # it is not there before the first checkpoint
        last |= read_status(run.folder)
    try:
        run.set_status(state, step=last["step"], code=code, checkpoint=str(last["checkpoint"]))
    except SslSegError:
        log.warning("status.json could not be written")


def versions() -> dict[str, Any]:
    """Of Python and the libraries that a result depends on."""
    return {"python": platform.python_version()} | {
        name.replace("-", "_"): version(name) for name in _RECORDED
    }
