"""The scores of runs, for curves."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_seg.errors import UsageError
from ssl_seg.results.planned_epochs import planned_epochs
from ssl_seg.results.run_digests import warn_of_damage
from ssl_seg.results.scores import load_scores


def names(folders: Sequence[Path]) -> list[str]:
    """The shortest trailing part of each path that is unique; equal only for a folder that is listed twice."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(each[-count:]) for each in parts]
        if len(set(short)) == len(short):
            break
    return short


def read_lines(folder: Path, log: Callable[[str], None]) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise UsageError(f"folder not found: {folder}")
    warn_of_damage(folder)
    found = load_scores(folder)
    if found.damage:
        log(f"warning: {folder / 'scores.jsonl'}: {found.damage}")
    return found.lines


def missing_epochs(folder: Path, lines: Sequence[Mapping[str, float]]) -> list[str]:
    """Return a message about planned or past epochs without scores."""
    if not lines:
        return ["skipped: no finished epoch"]
    present = {int(line["epoch"]) for line in lines}
    last = max(max(present), planned_epochs(folder))
    missing = [epoch for epoch in range(1, last + 1) if epoch not in present]
    return [f"no {spans(missing)} of {last}"] if missing else []


def spans(epochs: Sequence[int]) -> str:
    """`epoch 3`, `epochs 3-5, 9`."""
    parts: list[list[int]] = []
    for epoch in epochs:
        if parts and parts[-1][-1] == epoch - 1:
            parts[-1].append(epoch)
        else:
            parts.append([epoch])
    text = ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
    return f"epoch{'s' if len(epochs) > 1 else ''} {text}"
