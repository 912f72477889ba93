"""How long is waited for somebody who does not answer: every wait in the program ends."""

import math
import os

from ssl_seg.errors import UsageError

PATIENCE = 300.0  # seconds
_NAME = "SSL_SEG_PATIENCE"


def patience() -> float:
    """Seconds until a process, or a disk, that does not answer is given up; `SSL_SEG_PATIENCE` says otherwise.

    Raises:
        UsageError: that is no number of seconds.
    """
    text = os.environ.get(_NAME, "").strip()
    try:
        seconds = float(text or PATIENCE)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e7:
        raise UsageError(f"{_NAME}={text} is no number of seconds", next=f"{_NAME}=900")
    return seconds


class Idle:
    """Counts looks at somebody who does not move, `seconds` apart.

    Looks are counted and not the clock: a process that was itself suspended has waited for nobody.
    """

    def __init__(self, seconds: float) -> None:
        self._each, self._most = seconds, patience()
        self._looks, self._seen = 0, object()

    def look(self, state: object) -> bool:
        """Take a look; whether the patience with this very state is at its end."""
        self._looks = self._looks + 1 if state == self._seen else 0
        self._seen = state
        return self._looks * self._each >= self._most
