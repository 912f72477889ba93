"""Paths that a person has typed."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`~` and `~user` replaced by the home folder; of a user who is not there the path stays as it is."""
    return Path(os.path.expanduser(path))
