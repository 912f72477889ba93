"""Ending a run when it is asked to: the handler sets a flag, the loop looks at it."""

import os
import signal
from threading import current_thread, main_thread
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from ssl_seg.distributed.launcher import world_size_from_env
from ssl_seg.utils.interrupt import SIGNALS, Interrupted

if TYPE_CHECKING:
    from ssl_seg.engine.device import Device

_ECHO = 5.0  # seconds in which a launcher may repeat what a process has been told already


class SignalHandler:
    """While it is entered, the first signal only sets `signal`; a second one ends the process.

    A signal that is ignored stays ignored: that is how `nohup` and `&` protect a run. Only a main
    thread can listen; in another one (as in a worker of Ray) signals are left to others. One of
    several processes passes over a second signal that comes right after the first: their launcher
    repeats what all of them have got from elsewhere.

    Args:
        prompt: see below.

    Attributes:
        signal: the number of the signal that came, or 0.
        prompt: a signal raises `Interrupted` besides, wherever it comes, as there is nothing to be saved yet:
            images are read, a frozen backbone computes its features.
    """

    def __init__(self, *, prompt: bool = False) -> None:
        self.signal, self.prompt = 0, prompt
        self._noted = 0.0  # when one came to this very process
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS if current_thread() is main_thread() else ():
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by foreign code, unknown here

    def received_on_any_rank(self, device: "Device") -> bool:
        """Whether a signal has come to any process. All must ask; then all have its number."""
        self.signal = int(device.all_reduce_max(self.signal)[0])
        return self.signal > 0

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._noted:
            if world_size_from_env() > 1 and monotonic() - self._noted < _ECHO:
                return
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal, self._noted = self.signal or number, monotonic()
        if self.prompt:
            raise Interrupted(number)
