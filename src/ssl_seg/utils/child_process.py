"""Runs a command in a process of its own."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress

from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.timeout import timeout_seconds

_POLL_SECONDS = 1.0


def run_child(words: Sequence[str], folder: str | None = None) -> int:
    """Run another command to its end; a signal is passed on, and its end waited for, up to a timeout.

    Args:
        folder: its working directory; default: that of this process.

    Returns:
        Its exit code, 128 + n if signal n ended it.
    """
    # in a session of its own, Ctrl-C reaches it once: through this process
    with subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True) as child:
        try:
            code = _wait(child)
        except Interrupted as error:
            child.send_signal(error.signal)
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout_seconds())
            child.kill()
            raise
    return code if code >= 0 else 128 - code


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """Wait without a limit, in short waits: Ray interrupts a task by no signal, and a system call goes on then."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(_POLL_SECONDS)
