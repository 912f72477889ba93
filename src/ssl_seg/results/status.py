"""`status.json`: how a run stands, with a digest of its own, as it is replaced while the run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.checkpoint_files import digest_of

NAME = "status.json"
_KEYS = {"state", "step", "code", "checkpoint", "sha256"}


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Replace the `status.json` of a run.

    Raises:
        ResourceError: it cannot be written.
    """
    atomic_write_text(folder / NAME, json.dumps({**status, "sha256": _digest(status)}) + "\n")


def read_status(folder: Path) -> dict[str, Any]:
    """`state`, `step`, `code` and `checkpoint`; a status of version 0.1.0 has no digest and is taken as it is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    status = read_json(folder / NAME)
    if not isinstance(status.get("state"), str) or status.keys() - _KEYS:
        raise ValueError("missing or unknown keys")
    digest = status.pop("sha256", None)
    if digest not in (None, _digest(status)):
        raise ValueError("digest mismatch")
    return status


def _digest(status: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(status, sort_keys=True).encode())
