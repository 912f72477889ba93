"""Where decoded images and other things that can be made again are kept."""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`$SSL_SEG_CACHE`, or `ssl-seg` in the user's cache folder."""
    if own := os.environ.get("SSL_SEG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssl-seg"
