"""The library's logger, and how a run's log is written."""

import logging
from contextlib import suppress

from ssl_seg.utils.text import shown

log = logging.getLogger("ssl_seg")


class LogFile(logging.FileHandler):
    """A log that cannot be written must neither end a run nor fill the terminal with tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """As the base class, which opens the file at the first record, and lets an error of that through."""
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Let it pass."""


class Lines(logging.Formatter):
    """A record begins at the margin, and nothing else does, whatever a message holds."""

    def format(self, record: logging.LogRecord) -> str:
        first, *others = map(shown, super().format(record).split("\n"))
        return "\n".join([first, *(f"    {line}" for line in others)])
