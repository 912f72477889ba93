"""Campaigns, the cases that they are made of, and how many of them are run."""

import re
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.faults.lab import Lab


BROKE = "the case itself broke"


@dataclass(frozen=True)
class Case:
    """One trial.

    Attributes:
        kind: cases of one kind are alike; a sample takes some of every kind.
        name: the same campaign, seed and name are the same trial; no two have one name.
        check: runs it; returns what is wrong, or nothing.
    """

    kind: str
    name: str
    check: Callable[[], str]


@dataclass(frozen=True)
class Campaign:
    """Cases that must pass, and controls that must fail.

    Attributes:
        name: for `--only`.
        about: for people.
        cases: all of them, from a laboratory and a seed; the same each time.
        controls: cases in which one protection is removed: a campaign that does not fail on them is blind.
    """

    name: str
    about: str
    cases: "Callable[[Lab, int], Iterable[Case]]"
    controls: "Callable[[Lab], Iterable[Case]]"


@dataclass
class Result:
    """How a campaign went.

    Attributes:
        planned: cases it has.
        passed: names of the cases that passed.
        failures: the cases that failed, and what was wrong.
        blind: names of the controls that passed, which they must not.
        controls: how many were run.
    """

    planned: int = 0
    seconds: float = 0.0
    controls: int = 0
    passed: set[str] = field(default_factory=set)
    failures: list[tuple[Case, str]] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Cases that were run."""
        return len(self.passed) + len(self.failures)

    def grouped(self) -> dict[tuple[str, str], list[tuple[Case, str]]]:
        """Failures that look alike, by kind and by what is wrong but for numbers and paths."""
        groups = defaultdict(list)
        for case, wrong in self.failures:
            groups[case.kind, alike(wrong)].append((case, wrong))
        return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def alike(wrong: str) -> str:
    """The first line of what is wrong, without numbers, paths and quoted texts."""
    line = (wrong.splitlines() or [""])[0]
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", line)
    return re.sub(r"\d+", "N", re.sub(r"\S*/\S+", "PATH", line))[:120]


def sample(cases: Sequence[Case], count: int | None, seed: int) -> list[Case]:
    """Cases in an order in which every beginning has about as many of each kind."""
    random, kinds = Random(seed), defaultdict(list)
    for case in cases:
        kinds[case.kind].append(case)
    places = []
    for kind in kinds.values():
        random.shuffle(kind)
        places += [((index + random.random()) / len(kind), case) for index, case in enumerate(kind)]
    ordered = [case for _, case in sorted(places, key=lambda place: place[0])]
    first = {id(kind[0]): kind[0] for kind in kinds.values()}  # rare kinds come at once
    ordered = [*first.values(), *(case for case in ordered if id(case) not in first)]
    return ordered[:count]


def run(cases: Iterable[Case], jobs: int, until: float | None = None) -> Iterator[tuple[Case, str]]:
    """Run cases, as many at a time as there are jobs, until the clock says so; yields what came of each."""
    todo = iter(cases)
    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[str], Case] = {}
        while True:
            while len(running) < jobs and (until is None or time.monotonic() < until):
                if (case := next(todo, None)) is None:
                    break
                running[pool.submit(_checked, case)] = case
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), future.result()


def _checked(case: Case) -> str:
    try:
        return case.check()
    except Exception as error:  # a case that cannot be run has not passed
        return f"{BROKE}: {error!r}\n{traceback.format_exc()}"


class Once:
    """Values that are made once, by whichever thread asks first."""

    def __init__(self) -> None:
        self._lock, self._values = threading.RLock(), {}  # type: ignore[var-annotated]

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """The value of a key."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]
