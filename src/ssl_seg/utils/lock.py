"""One process at a time in a folder."""

import fcntl
import os
import socket
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from ssl_seg.errors import OccupiedError


def try_lock(file: IO[Any], seconds: float = 0.0) -> bool:
    """Lock an open file for this process, waiting at most so long; the system frees it with its last handle."""
    deadline = monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if monotonic() >= deadline:
                return False
        sleep(0.05)


def take_lock(folder: Path) -> TextIOWrapper:
    """Lock a folder for this process, and say in its file `.lock` who holds it.

    Raises:
        OccupiedError: another process holds it.
    """
    file = (folder / ".lock").open("a+")
    if not try_lock(file):
        holder = signature(file)
        file.close()
        way = "--out OTHER_FOLDER, or wait for it to end"
        raise OccupiedError(f"{folder} is in use by {holder}", next=way) from None
    sign(file)
    return file


def sign(file: IO[str]) -> None:
    """Say in a file that this process has locked who that is."""
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}\n")
    file.flush()


def signature(file: IO[str]) -> str:
    """Who has locked a file."""
    file.seek(0)
    return file.read().strip() or "another process"
