"""The scores of a run's epochs: `scores.jsonl`, read, put in order, and mended from the newest checkpoint."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ssl_seg.errors import pluralize
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import parse_json
from ssl_seg.weights.checkpoint_files import newest_state

NAME = "scores.jsonl"
_LARGEST = 2**53  # of whole numbers: beyond, a float does not hold them
_HUGE = 1e100  # beyond, nothing was measured, and no axis can be drawn: it counts as infinite

Line = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """What a run's scores are.

    Attributes:
        lines: one for each epoch, in order: `epoch` and, of all that a run writes, `step`, whole numbers, and other
            numbers by name.
        damage: what is wrong with the file and what was done about it; empty when nothing is.
    """

    lines: list[Line]
    damage: str = ""


def read_scores(folder: Path) -> list[Line]:
    """The lines of `load_scores`; of damage a warning, once."""
    found = load_scores(folder)
    if found.damage:
        _warn(f"{folder / NAME}: {found.damage}")
    return found.lines


def load_scores(folder: Path, *, resume: bool = False) -> Scores:
    """Read the scores of a run. A file that is damaged loses the lines that are, and no others.

    Of several lines for one epoch or one step the last one counts. A last line without its end is one that was
    being written when the run was killed: it is no damage.

    Args:
        folder: of the run.
        resume: take only lines that say their `step`. Otherwise, where lines are damaged, what the newest
            checkpoint knows of their epochs is filled in.
    """
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return Scores([])
    except OSError as error:  # a folder of that name, say
        lines: list[Line] = []
        damage = f"cannot be read ({error.strerror})"
    else:
        texts = [text for text in data.split(b"\n") if text.strip()]
        found = [_parsed(text, resume) for text in texts]
        if found and found[-1] is None and not data.endswith(b"\n"):
            del found[-1]
        lines = ordered(_numbers(line) for line in found if line is not None)
        bad = sum(line is None or len(_numbers(line)) < len(line) for line in found)
        damage = (
            f"{bad} of {pluralize(len(found), 'line')} {'is' if bad == 1 else 'are'} corrupt" if bad else ""
        )
    if not damage:
        return Scores(lines)
    name, state = ("", {}) if resume else newest_state(folder / "checkpoints")
    whole = ordered([*lines, *filter(_is_line, state.get("scores", ()))])
    missing = len(whole) - len(lines)
    more = f"; {pluralize(missing, 'epoch')} restored from {name}" if missing else ""
    return Scores(whole, damage + more)


def ordered(lines: Iterable[Line]) -> list[Line]:
    """By epoch; of several for one epoch or one step the last one."""
    by_step = {line.get("step", f"epoch {line['epoch']}"): line for line in lines}
    by_epoch = {line["epoch"]: line for line in by_step.values()}
    return sorted(by_epoch.values(), key=lambda line: int(line["epoch"]))


def _parsed(text: bytes, step: bool) -> Line | None:
    """A line; None if it is none, or does not say of which epoch, and if need be which step, it is."""
    try:
        line = parse_json(text.decode())
    except ValueError:  # no JSON, or not UTF-8
        return None
    return line if _is_line(line, step) else None


def _is_line(line: object, step: bool = False) -> bool:
    if not isinstance(line, dict) or "epoch" not in line or (step and "step" not in line):
        return False
    positions = [line[key] for key in ("epoch", "step") if key in line]
    return all(type(position) is int and 0 <= position <= _LARGEST for position in positions)


def _numbers(line: Line) -> Line:
    known = {key: value for key, value in line.items() if _is_number(value)}
    return {key: math.copysign(math.inf, v) if abs(v) > _HUGE else v for key, v in known.items()}


def _is_number(value: object) -> bool:
    """Not finite ones are numbers too: a run may have measured them."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= _LARGEST)


@cache
def _warn(text: str) -> None:
    log.warning("%s", text)
