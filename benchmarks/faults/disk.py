"""A full disk, at each single thing that each command writes: exit 6, nothing by halves, and the next try is whole."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.failing import used
from benchmarks.faults.lab import TRAINING, Ended, Lab
from benchmarks.faults.material import STUDY
from benchmarks.faults.snapshot import contents, differences, snapshot

FILL = "benchmarks.faults.failing:fill"
WORDS = {
    **{name: "" for name in TRAINING},
    "evaluate": "evaluate {classify} {lab}/labelled-val --cpu --out out/n.json",
    "probe": "evaluate {train} {lab}/labelled --cpu --out out/n.json",
    "predict": "predict {classify} {lab}/photos --cpu --out out/p.csv",
    "predict masks": "predict {segment} {lab}/labelled/a --cpu --out out/masks",
    "embed": "embed {train} {lab}/photos --cpu --out out/f.npz",
    "report": "report {classify} {segment} --out out/r.html",
    "export": "export {classify} --to hub --out out/hub",
    "curves": "figure curves {classify} --out out/c",
    "tsne": "figure tsne {classify} --out out/t",
    "masks": "figure masks {segment} --out out/m",
    "architecture": "figure architecture tiny --out out/a",
    "views": "figure views {lab}/photos --out out/v",
    "new-plugin": "new-plugin mine --out out/mine",
    "study": "study study.toml",
}
_PAGES = (".html", ".md", ".tex")
_TEMPORARY = re.compile(r"\.tmp-|/\.trash-")


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Every use of the disk by every command, once alone and once for good."""
    for command in WORDS:
        for number, (what, path) in enumerate(uses_of(lab, command), start=1):
            for stays in (False, True):
                label = re.sub(r"\.tmp-\d+-\w+", ".tmp", path)
                name = f"{command}, {what} {number} {label}{', for good' * stays}"
                yield Case(command, name, partial(trial, lab, command, number, stays))


def new_place(lab: Lab, command: str) -> Path:
    """A folder to work in, with `out` for what is written."""
    place = lab.place(command.replace(" ", "-"))
    (place / "out").mkdir()
    if command in (*TRAINING, "study"):
        (place / "out").rmdir()
    (place / "study.toml").write_text(STUDY.replace("{lab}", str(lab.folder)))
    return place


def words_of(lab: Lab, command: str, place: Path) -> list[str]:
    """What is typed there, or, where a run has begun, typed to go on."""
    if command in TRAINING:
        begun = any((place / "out").glob("checkpoints/step-*"))
        words = lab.words(command, Path("out"))
        return [words[0], "--resume", "--out", "out"] if begun else words
    text = WORDS[command].replace("{lab}", str(lab.folder))
    for name in TRAINING:
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", str(lab.finished(name)))
    return text.split()


def run_at(
    lab: Lab, command: str, place: Path, setup: Any = (), words: Sequence[str] = (), **given: Any
) -> Ended:
    """Run a command there; `words` in place of its own, `given`: see `Lab.run`."""
    forks = [("benchmarks.faults.traps:study_in_forks", [])] if command == "study" else []
    given |= {"folder": place, "log": lab.place("log") / "o", "cache": place / "cache"}
    return lab.run(words or words_of(lab, command, place), setup=[*forks, *setup], **given)


def uses_of(lab: Lab, command: str) -> list[tuple[str, str]]:
    """What an undisturbed run of a command does to the disk, in order: what, and to which path; asked once."""
    return lab.once(("uses", command), lambda: _uses(lab, command))


def whole_of(lab: Lab, command: str) -> dict[str, Any]:
    """What an undisturbed run of a command leaves."""
    uses_of(lab, command)
    return lab.once(("whole", command), lambda: None)


def _uses(lab: Lab, command: str, setup: Any = ()) -> list[tuple[str, str]]:
    place, record = new_place(lab, command), lab.place("record") / "uses"
    ended = run_at(lab, command, place, [*setup, (FILL, [str(place), 0, False, str(record)])])
    if ended.code:
        raise RuntimeError(f"`{command}` cannot even be run on an empty disk: {ended.output}")
    lab.once(("whole", command), lambda: found_in(place))
    return used(record)


def found_in(place: Path) -> dict[str, Any]:
    """What lies in `out`, of each run in it as it is compared; of pages all but their numbers."""
    found = snapshot(place / "out")
    pages = {name: _page(place / "out" / name) for name in found if name.endswith(_PAGES)}
    return {
        name: what for name, what in found.items() if Path(name).name not in (".stage", "run.log")
    } | pages


def _page(path: Path) -> str:
    """A page says when it was made, and how fast the runs of a study were: a trial makes its own."""
    return re.sub(r"\d+([.,:]\d+)*", "N", path.read_text())


def _there(path: Path) -> Any:
    return _page(path) if path.name.endswith(_PAGES) else contents(path)


def trial(lab: Lab, command: str, number: int, stays: bool, setup: Any = ()) -> str:
    """Run a command on a disk that is full at one point, look at what is left, and run it again."""
    place = new_place(lab, command)
    whole = whole_of(lab, command)
    ended = run_at(lab, command, place, [*setup, (FILL, [str(place), number, stays])])
    wrong = ended.bug()
    if not wrong and ended.code == 0:
        wrong = differences(whole, found_in(place))
        wrong = wrong and f"exit 0, and {wrong}"
    elif not wrong and ended.code != 6:
        wrong = ended.told()
    wrong = wrong or by_halves(place, whole)
    if not wrong and ended.code:
        if command == "new-plugin":
            shutil.rmtree(place / "out" / "mine", ignore_errors=True)
        again = run_at(lab, command, place, words=_told(ended) if command not in TRAINING else ())
        wrong = again.bug() or (f"and then {again.told()}" if again.code else "")
        wrong = wrong or differences(whole, found_in(place)).replace(
            " differs", " differs after the next try"
        )
    if not wrong:
        lab.clear(place)
    return wrong


def _told(ended: Ended) -> list[str]:
    """The command that was said to come next; empty if none was, or one with `...` in it."""
    line = next((line for line in ended.output.splitlines() if line.startswith("next: ssl-seg ")), "")
    words = shlex.split(line, comments=True)[2:]
    return [] if "..." in words else words


def by_halves(place: Path, whole: dict[str, Any]) -> str:
    """What is left that is not whole, or that nobody is going to use."""
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if _TEMPORARY.search(f"/{name}") and "cache/." not in name:
            return f"{name} is left behind"
        if not path.is_file() or path.name in ("run.log", ".lock", "study.toml") or name.startswith("cache/"):
            continue
        own = name.removeprefix("out/")
        if path.suffix in (".json", ".jsonl", ".npz", ".safetensors"):
            if isinstance(what := contents(path), str):
                return f"{name} is there by halves: {what}"
        elif path.name.startswith("report") and path.suffix in _PAGES:
            continue  # it is also written where a figure could not be, and says what is missing
        elif own in whole and not own.endswith("run.toml") and _there(path) != whole[own]:
            return f"{name} is there, and is not what it should be"
    for manifest in place.rglob("manifest.json"):
        for file, entry in json.loads(manifest.read_text()).items():
            if (manifest.parent / file).stat().st_size != entry["size"]:
                return f"{manifest.parent.name} is there by halves"
    return ""


def controls(lab: Lab) -> Iterator[Case]:
    """A writer that writes under the final name."""
    setup = [("benchmarks.faults.controls:remove", ["written in place"])]
    yield Case("control", "written in place", partial(_control, lab, setup))


def _control(lab: Lab, setup: Any) -> str:
    """What is wrong when `evaluate` cannot write its numbers, after it has begun to."""
    uses_of(lab, "evaluate")
    uses = _uses(lab, "evaluate", setup)
    number = next(
        at for at, (what, path) in enumerate(uses, 1) if what == "write" and path.startswith("out/")
    )
    return trial(lab, "evaluate", number, False, setup)


CAMPAIGN = Campaign("disk", "a full disk, at everything that is written", cases, controls)
