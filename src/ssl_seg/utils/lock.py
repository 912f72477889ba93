"""One process at a time in a folder."""

import fcntl
import os
import socket
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from ssl_seg.errors import OutputInUseError, ResourceError


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


_held: "set[OpenFolder]" = set()


def check_held(path: Path) -> None:
    """Whatever is written below a folder that this process holds open, the folder must still be there.

    Raises:
        ResourceError: it was removed or moved, and would be made anew.
    """
    for folder in _held:
        if path.is_relative_to(folder.path):
            folder.check()


class OpenFolder:
    """A folder that is held open, to know whether it is still the one that its path names.

    Attributes:
        path: its path.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        _held.add(self)

    def check(self) -> None:
        """Nothing, as long as it is there.

        Raises:
            ResourceError: it was removed or moved; what was written now would be in another folder.
        """
        try:
            if os.path.samestat(os.fstat(self._handle), os.stat(self.path)):
                return
        except OSError:
            pass
        what = f"the folder {self.path} was removed or moved during the run"
        raise ResourceError(what, next="rerun the command; if the folder was moved, with its new path")

    def close(self) -> None:
        """Let go of it."""
        _held.discard(self)
        os.close(self._handle)


def take_lock(folder: Path) -> TextIOWrapper:
    """Lock a folder for this process, and say in its file `.lock` who holds it.

    Raises:
        OutputInUseError: another process holds it.
    """
    file = (folder / ".lock").open("a+")
    if not try_lock(file):
        holder = signature(file)
        file.close()
        way = "use --out OTHER_FOLDER, or wait for it to finish"
        raise OutputInUseError(f"{folder} is in use by {holder}", next=way) from None
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
