"""SIGKILL at random moments and at named points, then on to the end: nothing is lost, nothing changes."""

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.lab import TRAINING, Ended, Lab
from benchmarks.faults.snapshot import differences, snapshot
from benchmarks.faults.traps import POINTS_OF

EACH = 200  # trials of a command
STRIKE = "benchmarks.faults.traps:strike"

Setup = Sequence[tuple[str, list[Any]]]


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: at the `hit`-th time at a point, or after a share of the time that a run takes."""

    point: str = ""
    hit: int = 1
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.hit}x {self.point}" if self.point else f"at {self.share:.3f}"


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Chains of one to three kills, half of them at points."""
    for command in TRAINING:
        random = Random(f"{seed} {command}")
        for number in range(EACH):
            kills = [_kill(random, command, named=number % 2 == 0) for _ in range(random.randint(1, 3))]
            name = f"{command} {number}: {', '.join(map(str, kills))}"
            yield Case(command, name, partial(trial, lab, command, kills))


def _kill(random: Random, command: str, *, named: bool) -> Kill:
    if named:
        return Kill(random.choice(POINTS_OF[command]), random.randint(1, 4))
    return Kill(share=random.random())


def trial(lab: Lab, command: str, kills: Sequence[Kill], setup: Setup = ()) -> str:
    """Kill a run again and again, let it end, and hold it against one that was left alone."""
    expected, seconds = lab.expected(command), lab.once(("time", command), lambda: _time(lab, command))
    place = lab.place(command)
    folder, cache = place / "run", place / "cache"
    for kill in kills:
        traps = [(STRIKE, [kill.point, kill.hit, signal.SIGKILL])] if kill.point else []
        after = None if kill.point else kill.share * seconds
        ended = start(lab, command, folder, cache, setup=[*setup, *traps], after=after)
        if ended.code not in (0, -signal.SIGKILL):
            return ended.bug() or ended.told()
    ended = start(lab, command, folder, cache, setup=setup)
    if ended.code != 0:
        return ended.bug() or ended.told()
    wrong = differences(expected, snapshot(folder))
    if left := [path.name for path in cache.iterdir() if ".tmp-" in path.name]:
        wrong += f"; {left[0]} is left in the cache"
    if not wrong:
        lab.clear(place)
    return wrong.removeprefix("; ")


def start(lab: Lab, command: str, folder: Path, cache: Path, **given: Any) -> Ended:
    """Start a run, or go on with it if it has begun."""
    begun = any(folder.glob("checkpoints/step-*"))
    words = lab.words(command, folder)
    if begun:
        words = [words[0], "--resume", "--out", str(folder)]
    return lab.run(words, cache=cache, **given)


def _time(lab: Lab, command: str) -> float:
    """Seconds that a run takes which has to read its images."""
    place = lab.place("time")
    started = time.monotonic()
    start(lab, command, place / "run", place / "cache")
    return time.monotonic() - started


def controls(lab: Lab) -> Iterator[Case]:
    """Runs without one of the things that make them whole again."""
    gone = "benchmarks.faults.controls"
    points = {
        "no generators": ("before a step", 4),
        "no optimizer": ("before a step", 4),
        "old scores stay": ("after the scores", 1),
        "written in place, unverified": ("before a file is synced", 2),
        "a step too many": ("before a step", 4),
    }
    for name, (point, hit) in points.items():
        setup = [(f"{gone}:remove", [name])]
        yield Case("control", name, partial(trial, lab, "classify", [Kill(point, hit)], setup))


CAMPAIGN = Campaign("kills", "SIGKILL at points and moments, then resumed", cases, controls)
