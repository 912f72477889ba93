"""Help texts: one line for each command, named groups of flags, the values that recipes give."""

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ssl_seg.cli import app
from ssl_seg.commands.help import _plain
from ssl_seg.methods.byol import BYOL

GOLDEN = Path(__file__).parents[1] / "golden"


def commands():
    def walk(command, words):
        yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    return dict(walk(get_command(app), ()))


COMMANDS = commands()
NAMES = [" ".join(words) for words in COMMANDS]


def printed(*words):
    done = CliRunner().invoke(app, list(words), prog_name="ssl-seg", env={"COLUMNS": "80", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    return done.output


def test_all_commands_are_looked_at():
    assert len(NAMES) >= 20 and "figure tsne" in NAMES and "plugins check" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_h_is_help(name):
    words = name.split()
    assert printed(*words, "-h") == printed(*words, "--help")


@pytest.mark.parametrize("name", NAMES)
def test_a_command_and_each_flag_are_described_in_sentences(name):
    command = COMMANDS[tuple(name.split())]
    first = command.help.split("\n\n")[0]
    assert first.endswith(".") and (not name or "\n" not in first)
    undescribed = [
        parameter.name
        for parameter in command.params
        if not re.fullmatch(r"[A-Za-z`].*[.0-9]", parameter.help or "") and "completion" not in parameter.name
    ]
    assert undescribed == []


@pytest.mark.parametrize("name", ["", "figure", "plugins"])
def test_summaries_of_commands_fit_one_line(name):
    assert "..." not in printed(*name.split(), "-h").split("Commands:")[1]


@pytest.mark.parametrize("name", ["train", "classify", "segment"])
def test_flags_of_training_are_in_groups(name):
    shown = printed(name, "-h")
    groups = re.findall(r"(?m)^(\w+):$", shown)
    assert {"Arguments", "Data", "Model", "Optimization", "Compute", "Validation", "Output"} <= set(groups)
    assert len(groups) == len(set(groups)) and groups[-1] == "Options"
    assert shown.split("Options:")[1].split() == ["-h,", "--help", "Show", "this", "message", "and", "exit."]
    group = shown.split("Optimization:")[1].split("\n\n")[0]
    assert "--lr <float>" in group and "--cpu" not in group


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("Steps.  [default: 1; 1<=x<=1000000000]", "Steps.  [default: 1]"),
        ("Steps.  [1<=x<=1000000000]", "Steps."),
        ("Norm.  [default: 0.0; x>=0.0]", "Norm.  [default: 0.0]"),
        ("Size.  [default: 128; 8<=x<=8192]", "Size.  [default: 128; 8<=x<=8192]"),
        ("Size.  [8<=x<=8192; required]", "Size.  [8<=x<=8192; required]"),
        ("Size.  [default: (a (b)); 8<=x<=8192]", "Size.  [default: a (b); 8<=x<=8192]"),
        ("Size.  [default: (a)]", "Size.  [default: a]"),
        ("Title.", "Title."),
    ],
)
def test_technical_limits_are_not_shown(text, better):
    assert _plain("--size <int range>", text) == ("--size <int>", better)


@pytest.mark.parametrize("name", ["train", "classify", "segment"])
def test_the_defaults_shown_are_those_of_the_recipe(name):
    """The small golden runs have a BatchNorm backbone, and were given none of these flags."""
    used = (GOLDEN / f"run-{name}.txt").read_text()
    for flag in ("optimizer", "lr", "weight_decay", "warmup"):
        value = re.search(rf"(?m)^{flag} = \"?([\w.]+)", used)[1]
        shown = next(p for p in COMMANDS[(name,)].params if p.name == flag).show_default
        assert re.search(rf"(?<![\d.]){re.escape(value)}(?![\d.]*\d)", shown), (flag, value, shown)
    assert name != "train" or BYOL.recipe["optimizer"] in used
