"""Names of the components that were loaded last: a shell completes them without loading torch."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import atomic_write_text, discard
from ssl_seg.utils.home import default_cache_dir
from ssl_seg.utils.toml import read_json

_MAX_BYTES = 1_000_000


def read_component_names() -> dict[str, list[str]]:
    """Component type -> names, as `write_component_names` left them; without a usable file nothing."""
    with suppress(OSError, ValueError):
        if _file().is_file() and _file().stat().st_size <= _MAX_BYTES:
            return {
                kind: [name for name in names if isinstance(name, str)]
                for kind, names in read_json(_file()).items()
                if isinstance(names, list)
            }
    return {}


def write_component_names(names: Mapping[str, Sequence[str]]) -> None:
    """Replace the file if the names have changed; where it cannot be written, completion knows the old ones."""
    names = {kind: list(each) for kind, each in names.items()}
    if names != read_component_names():
        with suppress(ResourceError, OSError, ValueError):
            for left in _file().parent.glob(f".{_file().name}.tmp-*"):  # by a process that was killed
                discard(left)
            atomic_write_text(_file(), json.dumps(names) + "\n")


def _file() -> Path:
    return default_cache_dir() / "components.json"
