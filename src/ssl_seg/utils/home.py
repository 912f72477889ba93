"""Folders of the user: in paths that a person has typed, and for what can be made again."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`~` and `~user` replaced by the home folder; of a user who is not there the path stays as it is."""
    return Path(os.path.expanduser(path))


def default_cache_dir() -> Path:
    """Where decoded images and the like are kept: `$SSL_SEG_CACHE`, or `ssl-seg` in the user's cache folder."""
    if own := os.environ.get("SSL_SEG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssl-seg"
