"""Lengths and digests of the small files that a finished run leaves: whoever reads them notices damage.

Weight files and checkpoints have digests of their own, pictures and arrays the checksums of their formats.
"""

import json
from functools import cache
from pathlib import Path

from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.checkpoint_files import digest_of

NAME = "digests.json"
_FILES = (
    *("run.toml", "scores.jsonl", "result.json", "masks.json"),
    *("confusion.csv", "val.csv", "val_predictions.csv", "val_confusions.npz"),
    *("probe_predictions.csv", "probe_untrained.csv"),
)


def write_digests(folder: Path) -> None:
    """Write `digests.json`: of each file its `size` in bytes and its `sha256`.

    Raises:
        ResourceError: it cannot be written.
    """
    found = {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
    entries = {name: {"size": len(data), "sha256": digest_of(data)} for name, data in found.items()}
    atomic_write_text(folder / NAME, json.dumps(entries, indent=1) + "\n")


def remove_digests(folder: Path) -> None:
    """The run goes on: its files are going to change."""
    (folder / NAME).unlink(missing_ok=True)


def damage(folder: Path) -> list[str]:
    """A sentence for each file that is not what the finished run has left.

    Empty for a run that is not finished, or of version 0.1.0. A file that is gone is no damage.
    """
    try:
        entries = dict(read_json(folder / NAME))
        known = {name: (entries[name]["size"], entries[name]["sha256"]) for name in _FILES if name in entries}
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{NAME} is corrupt ({error}): the other files cannot be verified"]
    return [
        f"{name} is corrupt, or was edited after the run"
        for name in known
        if _differs(folder / name, known[name])
    ]


def warn_of_damage(folder: Path) -> None:
    """A warning for each sentence of `damage`, once in a process."""
    for line in damage(folder):
        _warn(f"{folder}: {line}")


def _differs(path: Path, known: tuple[object, object]) -> bool:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:  # a folder of that name
        return True
    return (len(data), digest_of(data)) != known


@cache
def _warn(text: str) -> None:
    log.warning("%s", text)
