"""Flags that nobody should type and files that nobody should write: each is refused in our words, or works.

Every command gets what its own parameters do not allow, and TOML files that are wrong in every way. Whatever
is accepted is stopped at its second step: it has been accepted.
"""

import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from benchmarks.faults import grammar, toml_files
from benchmarks.faults.campaign import Campaign, Case
from benchmarks.faults.lab import Ended, Lab

FLAGS, TOML = 1700, 800
_CODES = (0, 2, 3, 4, 5, 6, 7, 9, -signal.SIGKILL)
_SETUP = [
    ("benchmarks.faults.traps:strike", ["before a step", 2, signal.SIGKILL]),
    ("benchmarks.faults.flags:no_children", []),
]
_LINES = 12  # of an error, at most
_MEMORY = 12 * 2**30
_FILE = 256 * 2**20

Change = tuple[str, Any]


def no_children() -> None:
    """What starts other processes or does not end: a study's runs fail at once, as with a wrong flag, and no page is served."""
    for name in ("SERVER_COMMAND", "PYTHON_COMMAND"):  # no forks, then no programs
        patch(f"ssl_seg.study.runner.{name}", ("/bin/sh", "-c", "exit 2")).start()  # fails if it was renamed
    # `ssl-seg watch` has been accepted when it would serve its page, or open it
    patch("socketserver.BaseServer.serve_forever", lambda server: None).start()
    patch("webbrowser.open", lambda url: True).start()


def cases(lab: Lab, seed: int) -> Iterator[Case]:
    """Words of all commands, then files."""
    grammars = lab.once("grammars", grammar.commands)
    random = Random(f"{seed} flags")
    names = sorted(grammars)
    for number in range(FLAGS):
        command = names[number % len(names)]
        changes = grammar.changes(random, grammars[command])
        name = f"{command} {number}"
        yield Case(f"flags of {command}", name, partial(words_trial, lab, command, changes))
    random = Random(f"{seed} files")
    for number in range(TOML):
        kind = toml_files.KINDS[number % len(toml_files.KINDS)]
        wrong = toml_files.draw(random, kind)
        yield Case(f"{kind} file", f"{kind} file {number}", partial(file_trial, lab, kind, wrong))


def words_trial(lab: Lab, command: str, changes: Sequence[Change]) -> str:
    """Type a command with some changes; of those that make it fail, the fewest are told."""
    wrong = _typed(lab, command, changes)
    if not wrong or len(changes) < 2:
        return wrong
    for one in changes:
        if alone := _typed(lab, command, [one]):
            return alone
    return wrong


def _typed(lab: Lab, command: str, changes: Sequence[Change]) -> str:
    place = lab.place("flags")
    words = grammar.words(lab, command, changes)
    wrong = judged(run(lab, place, words))
    if not wrong:
        lab.clear(place)
    return f"{wrong}\n  ssl-seg {' '.join(map(_shown, words))}" if wrong else ""


def _shown(word: str) -> str:
    text = word if len(word) < 80 else f"{word[:60]}...({len(word)} letters)"
    return repr(text) if not text.isascii() or " " in text or not text else text


def run(lab: Lab, place: Path, words: Sequence[str]) -> Ended:
    """Run a command that may try to do anything, in a folder of its own."""
    limits: dict[str, Any] = {"memory": _MEMORY, "file_size": _FILE, "seconds": 60.0}
    quick = {"TORCHDYNAMO_DISABLE": "1"}  # or --compile has a C++ compiler at work for a minute
    return lab.run(words, folder=place, log=place / "output.txt", setup=_SETUP, environment=quick, **limits)


def judged(ended: Ended) -> str:
    """What is wrong with how a command ended."""
    if ended.code != -signal.SIGKILL and (wrong := ended.bug()):
        return wrong
    if ended.code not in _CODES:
        return f"exit {ended.code} is not among the codes for this"
    lines = ended.output.splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith(("error[", "Error: "))]
    if ended.code and ended.code > 0 and not heads:
        return f"exit {ended.code} without an error: {ended.output[-200:]!r}"
    if ended.code and heads and lines[heads[0]].startswith("error[") and len(lines) - heads[0] > _LINES:
        return f"the error has {len(lines) - heads[0]} lines"
    if unsafe := {letter for letter in ended.output if letter != "\n" and not letter.isprintable()} - {"\t"}:
        return f"it prints {sorted(unsafe)[:3]!r}"
    return ""


def file_trial(lab: Lab, kind: str, wrong: "toml_files.Wrong") -> str:
    """Have a command read a file that is wrong."""
    place = lab.place("file")
    path = place / toml_files.NAMES[kind]
    path.write_bytes(wrong.content(lab))
    bad = judged(run(lab, place, toml_files.words(lab, kind, path)))
    if not bad:
        lab.clear(place)
    return f"{bad}\n  {wrong}" if bad else ""


def controls(lab: Lab) -> Iterator[Case]:
    """A reader of TOML that lets the parser's own error through; a flag without its range."""
    yield Case("control", "raw TOML errors", partial(_control, lab, "raw TOML errors"))


def _control(lab: Lab, name: str) -> str:
    place = lab.place("control")
    (place / "c.toml").write_text("epochs = = 3")
    setup = [("benchmarks.faults.controls:remove", [name])]
    return judged(lab.run(["train", "--config", "c.toml"], folder=place, log=place / "o.txt", setup=setup))


CAMPAIGN = Campaign("flags", "fuzzed flags and TOML files, of all commands", cases, controls)
