"""The one timeout of every wait in the program."""

import math
import os

from ssl_seg.errors import UsageError

TIMEOUT_SECONDS = 300.0
_NAME, _FORMER_NAME = "SSL_SEG_TIMEOUT", "SSL_SEG_PATIENCE"


def timeout_seconds() -> float:
    """Seconds after which a process or a disk that does not answer is given up; set by `SSL_SEG_TIMEOUT`.

    `SSL_SEG_PATIENCE`, the variable's name in version 0.1.0, is read too.

    Raises:
        UsageError: the variable is not a number of seconds.
    """
    name = _FORMER_NAME if _NAME not in os.environ else _NAME
    text = os.environ.get(name, "").strip()
    try:
        seconds = float(text or TIMEOUT_SECONDS)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e7:
        raise UsageError(f"{name}={text} is not a number of seconds", next=f"{_NAME}=900")
    return seconds


class StallDetector:
    """Detects a state that has not changed for `timeout_seconds()`, from checks that are `interval` seconds apart.

    It counts checks and reads no clock: a process that was itself suspended has not waited.
    """

    def __init__(self, interval: float) -> None:
        self._interval, self._timeout = interval, timeout_seconds()
        self._checks, self._last_state = 0, object()

    def is_stalled(self, state: object) -> bool:
        """Check once; return whether this state has lasted for the timeout."""
        self._checks = self._checks + 1 if state == self._last_state else 0
        self._last_state = state
        return self._checks * self._interval >= self._timeout
