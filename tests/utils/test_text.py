"""Text from outside does nothing where it is shown; and nobody shows it in another way."""

import ast
import csv
import io
import itertools
import os
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg.utils.text import (
    csv_cell,
    csv_text,
    from_csv_cell,
    listed,
    shown,
    shown_lines,
    size_text,
    strip_unprintable,
)

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
HARMFUL = [*map(chr, range(32)), "\x7f", *map(chr, range(0x80, 0xA0)), "\u2028", "\u2029"]
HARMFUL += [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\ud800", "\udcff"]


@pytest.mark.parametrize("letter", HARMFUL, ids=ascii)
def test_what_a_terminal_acts_on_is_escaped(letter):
    text = shown(f"a{letter}b")
    assert text.startswith("a\\") and text.endswith("b") and text.isprintable()
    assert shown_lines(letter).isprintable() or letter == "\n"
    assert strip_unprintable(letter) == (letter if letter in "\t\n" else "\ufffd")
    assert strip_unprintable(letter).encode()


@pytest.mark.parametrize("text", ["Köln", "日本", "a b", "العربية", "C:\\x", "e\u0301", "🌲", "שלום", ""])
def test_letters_of_any_script_stay(text):
    assert shown(text) == shown_lines(text) == strip_unprintable(text) == csv_cell(text) == text


def test_bytes_that_are_no_letters_are_shown_as_bytes():
    assert shown(os.fsdecode(b"caf\xe9\x1b[2J\n")) == r"caf\xe9\x1b[2J\n"
    assert shown("\x85\u202e") == r"\u0085\u202e"
    assert shown_lines("a\n\x1bb") == "a\n\\x1bb"
    assert listed(["a\nb", "c"]) == "a\\nb\n       c"


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\tx", "\rx", "'=x", "''-x", "--1", "-", "+", "=1"],
)
def test_no_cell_is_a_formula(text):
    cell = csv_cell(text)
    assert cell == f"'{text}" and from_csv_cell(cell) == text


@pytest.mark.parametrize(
    "value", ["-1", "+2.5", "-1e-3", "-.5", -1, -0.5, 3, None, "1", "'a'", "it's", "a=b", "a-b"]
)
def test_numbers_and_other_texts_stay(value):
    assert csv_cell(value) == value
    assert value is None or from_csv_cell(str(value)) == str(value)


def test_a_cell_is_utf8_and_comes_back():
    assert csv_cell("caf\udce9.png") == r"caf\xe9.png"
    assert csv_cell("a\\b\udce9") == r"a\x5cb\xe9"
    for text in (r"\\end{tabular}", r"a\b", r"C:\\x", "\\"):  # as earlier versions wrote them
        assert csv_cell(text) == from_csv_cell(text) == text
    letters = [
        "\\",
        "x",
        "e",
        "9",
        "5",
        "c",
        "\udce9",
        "\ud800",
        "=",
        "'",
        "u",
        "d",
        "8",
        "-",
        "1",
        '"',
        ",",
        "\n",
    ]
    texts = ["".join(word) for count in range(4) for word in itertools.product(letters, repeat=count)]
    cells = [csv_cell(text) for text in texts]
    assert [from_csv_cell(cell) for cell in cells] == texts
    assert len(set(cells)) == len(texts)
    "".join(cells).encode()


def test_a_table_comes_back():
    rows = [["=1", 1, -2.5, "-3"], ["a,b", 'say "x"', "a\nb", "\udcff"]]
    text = csv_text(["-name", "b"], rows)
    assert list(csv.reader(io.StringIO(text))) == [
        ["'-name", "b"], ["'=1", "1", "-2.5", "-3"], ["a,b", 'say "x"', "a\nb", r"\xff"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (812, "812 bytes"),
        (1024, "1 KiB"),
        (3500, "3.4 KiB"),
        (5 << 20, "5 MiB"),
    ],
)
def test_sizes(count, text):
    assert size_text(count) == text
    assert size_text(1.8 * 2**30) == "1.8 GiB" and size_text(2**50) == "1024 TiB"


def speaking(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            *("print", "typer.echo", "typer.secho", "click.echo", "warnings.warn", "traceback.print_exc"),
            *("sys.stdout.write", "sys.stderr.write", "csv.writer", "csv.DictWriter"),
        ):
            yield f"{path.name}: {ast.unparse(node.func)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_is_shown_by_one_of_two_functions(path):
    """`print` in `echo` and `say`, and the one writer of CSV."""
    allowed = {"progress.py": ["progress.py: print"] * 2, "text.py": ["text.py: csv.writer"]}
    for name in ("flags.py", "classification.py"):  # to programmers, of a name that has moved
        allowed[name] = [f"{name}: warnings.warn"]
    assert list(speaking(path)) == allowed.get(path.name, [])


def test_the_walk_finds_who_speaks(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    print(1)\n    typer.echo(2)\n")
    assert len(list(speaking(tmp_path / "a.py"))) == 2
