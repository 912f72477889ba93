"""Stdout and stderr whose reader may go away while the work goes on."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class GuardedStream:
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
def guarded_streams() -> Iterator[tuple[GuardedStream, GuardedStream]]:
    """Stdout and stderr, as far as they are open; what is closed (`2>&-`) becomes the null device."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:  # or the next file that is opened would get its number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        out, err = (GuardedStream(stream or nowhere) for stream in before)
        sys.stdout, sys.stderr = out, err
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before
