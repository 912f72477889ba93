"""`bad_images.csv`: every file that cannot be used, and why; a message shows the first few."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ssl_seg.errors import ResourceError, SslSegError
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.home import default_cache_dir
from ssl_seg.utils.text import csv_text, shown

NAME = "bad_images.csv"


class BadFiles:
    """The list of one command.

    Args:
        path: of the list; None is one in the cache folder, named by what it says.
        writes: False for all processes but the main one.
    """

    def __init__(self, path: Path | None = None, *, writes: bool = True) -> None:
        self._path, self._writes = path, writes
        self._rows: list[tuple[str, str]] = []

    def add(self, faults: Iterable[tuple[str, str]]) -> str:
        """Add files and reasons to the list.

        Returns:
            For people, where it is.
        """
        self._rows += faults
        text = csv_text(["file", "reason"], self._rows)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = self._path or default_cache_dir() / "bad_images" / f"{digest}.csv"
        try:
            if self._writes and not (path.is_file() and path.read_bytes() == text.encode()):
                atomic_write_text(path, text)
        except (ResourceError, OSError) as error:
            return f"the list of all could not be written: {error}"
        return f"all are in {shown(path)}"

    def attach_to(self, error: SslSegError) -> None:
        """List the faults of an error, and say with it where they are."""
        if error.faults:
            error.where = f"{error.where}\n       {self.add(error.faults)}"
            error.faults = ()
