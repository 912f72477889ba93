"""A signal that ends what has no other way to end: it is raised where it comes, and files stay whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from ssl_seg.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal came. No `except Exception` of foreign code takes it for a fault of its own.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.signal = number


@contextmanager
def stopped_on_interrupt() -> Iterator[None]:
    """Around work that can say what it has kept: a signal that ends it is an error like others.

    Raises:
        Stopped: in place of `Interrupted`.
    """
    try:
        yield
    except Interrupted as error:
        raise Stopped(error.signal) from error


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Around code that installs signal handlers of its own: those from before are in place again afterwards.

    All are set again, since Python does not see a handler of C: `ssl_seg.utils.surroundings.restored` restores only
    what Python knows to be changed.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items() if current_thread() is main_thread() else ():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def unblocked() -> Iterator[None]:
    """Around the start of programs: they inherit the signals that this thread does not block, so none of `SIGNALS`."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Around a whole command: the first signal raises `Interrupted`, a second one ends the process.

    Work that must not be left so (a training step, a save) listens itself in the meantime; see
    `ssl_seg.engine.signals.Stop`. A signal that is ignored stays ignored, as `nohup` has it.

    Raises:
        Interrupted: in the main thread, anywhere in the block.
    """
    before: dict[int, Any] = {}

    def raise_it(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    for number in SIGNALS if current_thread() is main_thread() else ():
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, raise_it)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
