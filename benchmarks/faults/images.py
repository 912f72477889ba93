"""Image and mask files that are damaged or no images at all: every bad one is named, nothing crashes or hangs."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.faults import pictures
from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.lab import Ended, Lab

IMAGES, MASKS = 520, 130
GOOD = "good.png"


@dataclass(frozen=True)
class Bad:
    """A file that may be wrong.

    Attributes:
        name: of the file; its ending decides that it is looked at.
        content: bytes, or what is done to make something else of that name.
        must: `named`; `equal`, read as if nothing had happened; `either` of them; or `any`: named, or read
            as something else, for no format can tell.
        base: whose picture it would be.
    """

    name: str
    content: Any
    must: str
    base: str = ""

    def put(self, folder: Path) -> None:
        """Make the file."""
        path = folder / self.name
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Images among good ones, and masks."""
    random, bases = Random(f"{seed} images"), pictures.images()
    fixed = pictures.strange()
    for number in range(IMAGES):
        kind, bad = fixed[number] if number < len(fixed) else pictures.damaged(random, bases)
        yield Case(
            kind, f"image {number}, {bad.name}: {kind}", partial(image, lab, bad, skip=number % 4 == 3)
        )
    random, bases = Random(f"{seed} masks"), pictures.masks()
    for number in range(MASKS):
        kind, bad = pictures.damaged(random, bases)
        yield Case(f"mask, {kind}", f"mask {number}, {bad.name}: {kind}", partial(mask, lab, bad))


def image(lab: Lab, bad: Bad, *, skip: bool = False, setup: Any = ()) -> str:
    """Read a folder with a bad image and a good one."""
    place = lab.place("image")
    (place / "in").mkdir()
    good = lab.folder / "photos" / "000.png"
    shutil.copy(good, place / "in" / GOOD)
    bad.put(place / "in")
    words = ["embed", lab.finished("train"), "in", "--out", "f.npz", "--cpu"]
    words += ["--bad-images", "skip"] if skip else []
    ended = lab.run(
        words, folder=place, log=place / "o.txt", cache=place / "cache", seconds=20.0, setup=setup
    )
    wrong = ended.bug() or _judged(lab, bad, place, ended, skip)
    if not wrong:
        lab.clear(place)
    return wrong


def _judged(lab: Lab, bad: Bad, place: Path, ended: Ended, skip: bool) -> str:
    if ended.code == 3 and not skip:
        if bad.must == "equal":
            return f"a good image is refused: {ended.told()}"
        return "" if _shown(bad.name) in ended.output else f"it is not named: {ended.told()}"
    if ended.code:
        return ended.told()
    with np.load(place / "f.npz") as file:
        rows = dict(zip(file["filenames"].tolist(), file["features"], strict=True))
    if GOOD not in rows:
        return "the good image is lost"
    if bad.name not in rows:
        if bad.must == "equal":
            return "a good image is left out"
        return "" if "1 " in ended.output else f"left out without a word: {ended.output!r}"
    if bad.must == "named":
        return "exit 0, and it was read"
    if bad.must == "any" or _same(rows[bad.name], reference(lab, bad.base)):
        return ""
    return "exit 0, and it was read as another picture"


def _same(found: Any, expected: Any) -> bool:
    """Whether features are of the same picture: a convolution may round otherwise beside other images."""
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


def _shown(name: str) -> str:
    """As much of a name as can be shown."""
    return max("".join(letter if letter.isprintable() else "\n" for letter in name).split("\n"), key=len)


def reference(lab: Lab, base: str) -> Any:
    """Features of the picture without damage."""
    return lab.once(("picture", base), lambda: _reference(lab, base))


def _reference(lab: Lab, base: str) -> Any:
    place = lab.place("reference")
    (place / "in").mkdir()
    (place / "in" / f"x{Path(base).suffix}").write_bytes(pictures.images()[base])
    words = ["embed", lab.finished("train"), "in", "--out", "f.npz", "--cpu"]
    ended = lab.run(words, folder=place, log=place / "o.txt", cache=place / "cache")
    if ended.code:
        raise RuntimeError(f"{base} cannot be read undamaged: {ended.output}")
    with np.load(place / "f.npz") as file:
        return file["features"][0]


def mask(lab: Lab, bad: Bad) -> str:
    """Measure on images of which one has a bad mask."""
    place = lab.place("mask")
    shutil.copytree(lab.folder / "pairs-val", place / "in")
    (place / "in" / "003_mask.png").unlink()
    suffix = Path(bad.name).suffix
    bad = Bad(f"003_mask{suffix}", bad.content, bad.must, bad.base)
    bad.put(place / "in")
    numbers = lab.once("clean masks", lambda: _measured(lab, place, lab.folder / "pairs-val")[1])
    ended, found = _measured(lab, place, place / "in")
    wrong = ended.bug()
    if not wrong and ended.code == 3:
        wrong = "" if "003_" in ended.output else f"it is not named: {ended.told()}"
    elif not wrong and ended.code:
        wrong = ended.told()
    elif not wrong and bad.must != "any" and found != numbers:
        wrong = "exit 0, and other numbers"
    if not wrong:
        lab.clear(place)
    return wrong


def _measured(lab: Lab, place: Path, pairs: Path) -> tuple[Ended, str]:
    out = place / "n.json"
    words = ["evaluate", lab.finished("segment"), os.path.relpath(pairs, place), "--cpu", "--out", "n.json"]
    ended = lab.run(words, folder=place, log=place / "o.txt", cache=place / "cache", seconds=20.0)
    return ended, "".join(out.read_text().splitlines()[3:]) if out.exists() else ""


def controls(lab: Lab) -> Iterator[Case]:
    """A decoder that fills up what is missing."""
    whole = pictures.images()["baseline.jpg"]
    bad = Bad("cut.jpg", whole[: len(whole) // 2], "named", "baseline.jpg")
    setup = [("benchmarks.faults.controls:remove", ["cut images are filled up"])]
    yield Case("control", "cut images are filled up", partial(image, lab, bad, setup=setup))


CAMPAIGN = Campaign("images", "fuzzed image and mask files", cases, controls)
