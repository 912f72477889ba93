"""The page of commands: help texts as the program prints them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

# where a command is explained at length
PAGES = {
    "demo": "../first-run.md",
    "train": "../runs.md",
    "classify": "../classify.md",
    "segment": "../segment.md",
    "evaluate": "../classify.md#evaluation",
    "predict": "../classify.md#inference",
    "pseudo-label": "../pseudo-labels.md",
    "embed": "../classify.md#inference",
    "figure": "../figures.md",
    "study": "../study.md",
    "report": "../report.md",
    "list": "components.md",
    "plugins": "../plugins.md",
    "new-plugin": "../write-a-plugin.md",
    "doctor": "../faults.md",
    "export": "../export.md",
}

_TOP = """# Commands

The output of `ssl-seg COMMAND --help`. [`--config`](../runs.md#start-a-run) reads flags from a file; the exit codes are in
[Errors and exit codes](../faults.md#exit-codes).
"""


def commands_page(docs: Path) -> str:
    """The help text of every command, as the program prints it."""
    parts = [_TOP]
    for words in command_names():
        title = " ".join(("ssl-seg", *words))
        level = "#" * max(2, len(words) + 1)
        parts.append(f"{level} {title}\n" if words else "## ssl-seg\n")
        parts.append(f"```text\n{help_of(words)}\n```\n")
        if page := PAGES.get(words[0]) if len(words) == 1 else None:
            path = docs / "reference" / page.split("#")[0]
            if path.exists():
                parts.append(f"More: [{_title(path)}]({page})\n")
    return "\n".join(parts)


def _title(page: Path) -> str:
    return next(line[2:] for line in page.read_text().splitlines() if line.startswith("# "))


def command_names() -> Iterator[tuple[str, ...]]:
    """Every command as the words that call it: (), ("train",), ("figure",), ("figure", "tsne"), ..."""
    from typer.main import get_command

    from ssl_seg.cli import app

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            if not inner.hidden:
                yield from walk(inner, (*words, name))

    yield from walk(get_command(app), ())


def help_of(words: tuple[str, ...]) -> str:
    """What `ssl-seg WORDS --help` prints into 80 columns."""
    from typer.testing import CliRunner

    from ssl_seg.cli import app

    plain = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="ssl-seg", env=plain)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())
