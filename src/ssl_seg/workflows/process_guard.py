"""Several processes that are one run: what ends one ends all, and one of them says why."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ssl_seg.errors import PluginError, RankError, SslSegError, Stopped
from ssl_seg.utils.patience import patience
from ssl_seg.utils.progress import show_error
from ssl_seg.workflows.run_status import complete, end

if TYPE_CHECKING:
    from ssl_seg.engine.device import Device
    from ssl_seg.engine.run_dir import Run

_NEWS = 2.0  # seconds between a broken exchange and the word that a process is gone, at most


@contextmanager
def together(device: "Device") -> Iterator[None]:
    """Around everything that processes do together. Alone, nothing."""
    if device.ranks == 1:
        yield
        return
    device.connect()
    link = device.link
    assert link is not None
    link.stuck = _give_up
    try:
        yield
        link.meet()
    except BaseException as error:
        error.told = link.fail(error)  # type: ignore[attr-defined]
        raise
    else:
        device.leave()
    finally:
        link.close()


@contextmanager
def blamed(device: "Device", run: "Run") -> Iterator[None]:
    """Around the work of a run: an exchange that broke because of another process is told as that.

    Raises:
        RankError: another process is gone. Stopped: by a signal that only another one got.
    """
    if device.link is None:
        yield
        return
    device.link.stuck = lambda error: _give_up(error, run)
    try:
        yield
    except (RuntimeError, PluginError) as error:
        broken = error if isinstance(error, RuntimeError) else error.__cause__
        if not isinstance(broken, RuntimeError):
            raise
        if cause := device.link.cause(_NEWS):
            raise cause from error
        if "timed out" in str(broken).lower():
            raise _frozen(device.link.silent()) from error
        raise


def _frozen(ranks: list[int]) -> RankError:
    seconds = f"{patience():.0f} s"
    if not ranks:
        return RankError(f"the processes have waited {seconds} for one of them", next="SSL_SEG_PATIENCE=900")
    return RankError(f"process {ranks[0]} is frozen: it has not answered for {seconds}")


def _give_up(error: SslSegError, run: "Run | None" = None) -> None:
    """End this process from outside: it waits for one that will never answer."""
    try:
        if run:
            complete(error, run)
            end(run, "stopped" if isinstance(error, Stopped) else "failed", error.code)
        if not error.told:
            show_error(error)
    finally:
        os._exit(error.code)
