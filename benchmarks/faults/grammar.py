"""What can be typed after each command, read from the commands themselves, and how to get it wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from benchmarks.faults.values import KEYS, MALFORMED, NUMBERS, PARTS, TEXTS

if TYPE_CHECKING:
    from benchmarks.faults.lab import Lab

Change = tuple[str, Any]

# what is right after each command; `{run}` stands for a finished run
_TINY = "--backbone tiny --batch-size 8 --epochs 1 --cpu"
RIGHT = {
    "train": f"{{lab}}/photos {_TINY} --image-size 16 --out out",
    "classify": f"{{lab}}/labelled --val {{lab}}/labelled-val {_TINY} --image-size 16 --out out",
    "segment": f"{{lab}}/pairs --val {{lab}}/pairs-val {_TINY} --image-size 32 --out out",
    "evaluate": "{classify} {lab}/labelled-val --cpu",
    "predict": "{classify} {lab}/photos --out p.csv --cpu",
    "embed": "{train} {lab}/photos --out f.npz --cpu",
    "figure tsne": "{classify} --out t",
    "figure masks": "{segment} --out m",
    "figure curves": "{train} --out c",
    "figure architecture": "tiny --out a",
    "figure views": "{lab}/photos --out v",
    "report": "{train} --out r.html",
    "export": "{classify} --to hub --out h",
    "list": "",
    "plugins check": "tiny",
    "new-plugin": "mine",
    "doctor": "",
    "demo": "--out demo",
    "study": "{lab}/nothing.toml",
}
_RUNS = ("train", "classify", "segment")


@dataclass(frozen=True)
class Parameter:
    """A flag or a positional argument of a command."""

    flag: str
    kind: str  # number, text, choice, switch or option
    choices: tuple[str, ...] = ()
    whole: bool = False
    largest: float | None = None


def commands() -> dict[str, list[Parameter]]:
    """Every command with its parameters."""
    import typer

    from ssl_seg.cli import app

    found: dict[str, list[Parameter]] = {}

    def walk(group: Any, path: str) -> None:
        inner = getattr(group, "commands", None)
        if inner is None:
            found[path] = [_parameter(each) for each in group.params if each.name != "help"]
        else:
            for name, command in inner.items():
                walk(command, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


def _parameter(each: Any) -> Parameter:
    flag = each.opts[-1] if each.opts[-1].startswith("-") else ""
    annotation = each.type_descriptor.annotation
    if flag == "--option":
        return Parameter(flag, "option")
    if get_origin(annotation) is Literal:
        return Parameter(flag, "choice", get_args(annotation))
    if annotation is bool:
        return Parameter(flag, "switch")
    if annotation in (int, float):
        largest = each.type_descriptor.parameter_info.max
        return Parameter(flag, "number", whole=annotation is int, largest=largest)
    return Parameter(flag, "text")


def changes(random: Random, parameters: Sequence[Parameter]) -> list[Change]:
    """One to four things that are done to the words of a command."""
    return [_change(random, parameters) for _ in range(random.choice((1, 1, 2, 4)))]


def _change(random: Random, parameters: Sequence[Parameter]) -> Change:
    what = random.random()
    if what < 0.8 and parameters:
        parameter = random.choice(parameters)
        value = _value(random, parameter)
        if not parameter.flag:
            return "positional", (random.randrange(3), value)
        return "flag", (parameter.flag, value)
    if what < 0.86:
        return "drop", random.randrange(12)
    if what < 0.9:
        return "twice", random.randrange(12)
    if what < 0.95:
        return "positional", (9, random.choice(TEXTS))
    return "flag", (
        random.choice(("--nope", "-x", "--", "--epochs", "--out", "-o", "--resume")),
        random.choice(TEXTS),
    )


def _value(random: Random, parameter: Parameter) -> str | None:
    if parameter.kind == "switch":
        return None
    if parameter.kind == "number" and random.random() < 0.9:
        return random.choice(NUMBERS)
    if parameter.kind == "choice" and random.random() < 0.7:
        return random.choice([*parameter.choices, parameter.choices[0].upper(), parameter.choices[0] + " "])
    if parameter.kind == "option":
        if random.random() < 0.2:
            return random.choice(MALFORMED)
        value = random.choice(random.choice((NUMBERS, TEXTS)))
        return f"{random.choice(PARTS)}.{random.choice(KEYS)}={value}"
    return random.choice(TEXTS)


def words(lab: "Lab", command: str, made: Sequence[Change]) -> list[str]:
    """The words of a command, after changes."""
    found = RIGHT.get(command, "").split()
    for what, how in made:
        _APPLY[what](found, how)
    places = {f"{{{name}}}": partial(lab.finished, name) for name in _RUNS} | {"{lab}": lambda: lab.folder}
    return [*command.split(), *(_filled(word, places) for word in found)]


def _filled(word: str, places: dict[str, Callable[[], Any]]) -> str:
    for name, place in places.items():
        if name in word:
            word = word.replace(name, str(place()))
    return word


def _set_flag(found: list[str], how: tuple[str, str | None]) -> None:
    flag, value = how
    if flag in found and flag not in ("-o", "--option"):
        at = found.index(flag)
        del found[at : at + 2]
    found.append(flag)
    if value is not None:
        found.append(value)


def _set_positional(found: list[str], how: tuple[int, str | None]) -> None:
    at, value = how
    if at < len(found) and not found[at].startswith("-"):
        found[at] = value or ""
    else:
        found.append(value or "")


def _drop(found: list[str], at: int) -> None:
    if found:
        del found[at % len(found)]


def _twice(found: list[str], at: int) -> None:
    if found:
        found.append(found[at % len(found)])


_APPLY: dict[str, Callable[[list[str], Any], None]] = {
    "flag": _set_flag,
    "positional": _set_positional,
    "drop": _drop,
    "twice": _twice,
}
