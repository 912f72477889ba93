"""Guards of a run in several processes: a failure of one ends all, and one of them reports it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ssl_seg.errors import DistributedError, PluginError, SslSegError, Stopped
from ssl_seg.utils.progress import show_error
from ssl_seg.utils.timeout import timeout_seconds
from ssl_seg.workflows.run_status import add_recovery_hint, write_final_status

if TYPE_CHECKING:
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.run_dir import Run

_FAILURE_WAIT_SECONDS = 2.0  # between a failed collective and the message that a process is gone, at most


@contextmanager
def process_group_guard(device: "Device") -> Iterator[None]:
    """Guard the whole work of several processes."""
    device.start_failure_monitor()
    monitor = device.failure_monitor
    assert monitor is not None
    monitor.on_stalled = _terminate
    try:
        yield
        monitor.barrier()
    except BaseException as error:
        error.reported = monitor.report_failure(error)  # type: ignore[attr-defined]
        raise
    else:
        device.destroy_process_group()
    finally:
        monitor.close()


@contextmanager
def attribute_failure(device: "Device", run: "Run") -> Iterator[None]:
    """Guard the work of a run: a collective that failed because another process did raises that failure.

    Raises:
        DistributedError: another process is gone. Stopped: by a signal that only another one got.
    """
    monitor = device.failure_monitor
    assert monitor is not None
    monitor.on_stalled = lambda error: _terminate(error, run)
    try:
        yield
    except (RuntimeError, PluginError) as error:
        broken = error if isinstance(error, RuntimeError) else error.__cause__
        if not isinstance(broken, RuntimeError):
            raise
        if failure := monitor.wait_for_failure(_FAILURE_WAIT_SECONDS):
            raise failure from error
        if "timed out" in str(broken).lower():
            raise _hung_rank_error(monitor.unresponsive_ranks()) from error
        raise


def _hung_rank_error(ranks: list[int]) -> DistributedError:
    seconds = f"{timeout_seconds():.0f} s"
    if not ranks:
        return DistributedError(
            f"the processes have waited {seconds} for one of them", next="SSL_SEG_TIMEOUT=900"
        )
    return DistributedError(f"process {ranks[0]} is unresponsive: no answer for {seconds}")


def _terminate(error: SslSegError, run: "Run | None" = None) -> None:
    """End this process from another thread: its main thread waits for a process that will never answer."""
    try:
        if run:
            add_recovery_hint(error, run)
            write_final_status(run, "stopped" if isinstance(error, Stopped) else "failed", error.code)
        if not error.reported:
            show_error(error)
    finally:
        os._exit(error.code)
