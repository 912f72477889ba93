"""Single flipped bits and files cut short, of every kind of file that is read back.

Damage is recognised, with the right exit code and the name of the file, or it changes nothing.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.files_read import SUBJECTS, Subject, source
from benchmarks.faults.lab import Ended, Lab
from benchmarks.faults.snapshot import contents, differences, snapshot

FLIPS, CUTS = 300, 100
_HEAD = 4096  # where the structure of a file is, as a rule; half of the flips fall there

Hurt = Callable[[bytes], bytes]


def flip(bit: int, data: bytes) -> bytes:
    """The data with one bit inverted."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut(length: int, data: bytes) -> bytes:
    """The first bytes."""
    return data[:length]


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Flips and cuts at places that are drawn."""
    for subject in SUBJECTS:
        random = Random(f"{seed} {subject.name}")
        size = _path(source(lab, subject), subject).stat().st_size
        hurts: list[tuple[str, Hurt]] = [(f"bit {bit}", partial(flip, bit)) for bit in _bits(random, size)]
        lengths = random.sample(range(size), min(size, CUTS))
        hurts += [(f"cut to {length}", partial(cut, length)) for length in lengths]
        for number, (what, hurt) in enumerate(hurts):
            reader = number % len(subject.readers)
            name = f"{subject.name}, {subject.readers[reader].split()[0]}: {what}"
            yield Case(subject.name, name, partial(trial, lab, subject, reader, hurt))


def _bits(random: Random, size: int) -> list[int]:
    """So many bits of a file, no two the same, half of them near its beginning."""
    near = random.sample(range(8 * min(size, _HEAD)), FLIPS // 2)
    anywhere = random.sample(range(8 * size), min(8 * size, FLIPS))
    return list(dict.fromkeys([*near, *anywhere]))[:FLIPS]


@dataclass(frozen=True)
class Read:
    """What a command has made of files.

    Attributes:
        ended: how it ended.
        result: all that it has left, but for the file itself and the cache.
        mentions: the lines that name the file, on the terminal and in the text of a report.
    """

    ended: Ended
    result: dict[str, Any]
    mentions: frozenset[str]


def trial(lab: Lab, subject: Subject, reader: int, hurt: Hurt, setup: Any = ()) -> str:
    """Damage a copy of a file and have a command read it."""
    clean = lab.once(("clean", subject.name, reader), lambda: _clean(lab, subject, reader))
    place = lab.place(subject.name.replace("/", "-"))
    read = _read(lab, subject, reader, place, hurt, setup)
    recognised = bool(read.mentions - clean.mentions)
    wrong = read.ended.bug()
    if not wrong and read.ended.code in subject.codes:
        wrong = "" if recognised else f"the file is not named: {read.ended.told()}"
    elif not wrong and read.ended.code:
        wrong = read.ended.told()
    elif not wrong and not recognised and (unlike := differences(clean.result, read.result)):
        wrong = f"exit 0, and {unlike}"
    if not wrong:
        lab.clear(place)
    return wrong


def _clean(lab: Lab, subject: Subject, reader: int) -> Read:
    place = lab.place("clean")
    read = _read(lab, subject, reader, place, lambda data: data)
    if read.ended.code:
        raise RuntimeError(f"{subject.name} cannot be read undamaged: {read.ended.output}")
    lab.clear(place)
    return read


def _read(lab: Lab, subject: Subject, reader: int, place: Path, hurt: Hurt, setup: Any = ()) -> Read:
    shutil.copytree(source(lab, subject), place, dirs_exist_ok=True)
    path = _path(place, subject)
    path.write_bytes(hurt(path.read_bytes()))
    words = subject.readers[reader].format(lab=lab.folder).split()
    given: dict[str, Any] = {"folder": place, "log": place / "output.txt", "cache": place / "cache"}
    if words[0].startswith("benchmarks."):
        given["call"] = words[0]
    ended = lab.run(words, setup=setup, **given)
    pages = (page.read_text().replace("\\", "") for page in (place / "out").glob("*.md"))
    lines = "\n".join([ended.output, *pages]).replace(str(place), "").splitlines()
    own = path.relative_to(place).as_posix()
    result = {name: what for name, what in _left(place, subject) if name != own}
    return Read(ended, result, frozenset(line for line in lines if path.name in line))


def _left(place: Path, subject: Subject) -> Iterator[tuple[str, Any]]:
    for part in subject.results:
        path = place / part
        if path.is_dir():
            yield from ((f"{part}/{name}", what) for name, what in snapshot(path).items())
        elif path.exists():
            yield part, contents(path)


def _path(place: Path, subject: Subject) -> Path:
    found = sorted(place.glob(subject.file), key=lambda path: (path.stat().st_size, path))
    if not found:
        raise RuntimeError(f"there is no {subject.file} in {place}")
    return found[-1]


def controls(lab: Lab) -> Iterator[Case]:
    """Readers without their checks."""
    by_name = {subject.name: subject for subject in SUBJECTS}
    setup = [("benchmarks.faults.controls:remove", ["unverified"])]
    for name in ("checkpoint/model.safetensors", "checkpoint/optimizer.safetensors"):
        yield Case("control", f"unverified {name}", partial(_blind, lab, by_name[name], setup))


def _blind(lab: Lab, subject: Subject, setup: Any) -> str:
    """What is wrong after a flip in the middle of the data, if anything is."""
    bits = [8 * _path(source(lab, subject), subject).stat().st_size - offset for offset in (100, 340, 820)]
    found = (trial(lab, subject, 0, partial(flip, bit), setup) for bit in bits)
    return next(filter(None, found), "")


CAMPAIGN = Campaign("damage", "flipped bits and cut files, read back", cases, controls)
