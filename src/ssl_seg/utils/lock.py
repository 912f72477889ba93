"""One process at a time in a folder."""

import fcntl
import os
import socket
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path

from ssl_seg.errors import OccupiedError


def take_lock(folder: Path) -> TextIOWrapper:
    file = (folder / ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        way = "--out OTHER_FOLDER, or wait for it to end"
        raise OccupiedError(f"{folder} is in use by {holder}", next=way) from None
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M}\n")
    file.flush()
    return file
