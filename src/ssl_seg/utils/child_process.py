"""Runs a command in a process of its own."""

import subprocess
from collections.abc import Sequence
from contextlib import suppress

from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.utils.timeout import timeout_seconds


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
            code = child.wait()
        except Interrupted as error:
            child.send_signal(error.signal)
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout_seconds())
            child.kill()
            raise
    return code if code >= 0 else 128 - code
