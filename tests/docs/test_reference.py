"""The pages that are written by a script are what the code says, and nothing is left out."""

import ast
import re
import sys
from importlib.metadata import version
from typing import Annotated, Literal

import pytest
import typer
from typer.main import get_command

import ssl_seg
from ssl_seg.cli import app
from ssl_seg.errors import SslSegError, Stopped
from ssl_seg.registry import KINDS
from ssl_seg.utils.options import factory_options

from .pages import DOCS, PAGES, ROOT, command_words, marked, name

SCRIPT = ROOT / "scripts" / "reference"
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT))
    names = {path.stem for path in SCRIPT.glob("*.py")} - {"__main__"}
    try:
        import components_page
        import docstrings
        import pages

        yield {"pages": pages, "docstrings": docstrings, "components": components_page}
    finally:
        sys.path.remove(str(SCRIPT))
        for module in names & sys.modules.keys():
            del sys.modules[module]


@pytest.mark.skipif(
    any(version(name) != PINNED[name] for name in ("typer", "timm")),
    reason="the texts are those of the pinned typer and timm",
)
def test_the_committed_pages_are_what_the_code_says(script):
    wrong = [name(path) for path, text in script["pages"].pages().items() if path.read_text() != text]
    assert wrong == [], "run: python scripts/reference"


def test_quotes_are_refreshed(script):
    page = "a\n\n<!-- whole: plugins/ssl-seg-template/pyproject.toml -->\n```toml\nold = 1\n```\n\nb\n"
    fresh = script["pages"].quoted(page)
    assert (ROOT / "plugins/ssl-seg-template/pyproject.toml").read_text() in fresh
    assert "old = 1" not in fresh and fresh.startswith("a\n") and fresh.endswith("\n```\n\nb\n")
    assert script["pages"].quoted(fresh) == fresh


def test_parts_that_are_quoted_stand_so_in_their_files():
    found = marked("part")
    assert len(found) >= 5
    for path, source, block in found:
        assert block in (ROOT / source).read_text(), f"{name(path)} quotes what is not in {source}"


def leaves(command, words=()):
    if not (inner := getattr(command, "commands", {})):
        yield words
    for key, each in inner.items():
        yield from leaves(each, (*words, key))


def test_every_command_and_flag_is_in_the_reference_and_in_a_guide():
    text = (DOCS / "reference" / "commands.md").read_text()
    guides = [
        path
        for path in PAGES
        if path.parent.name != "reference" and path.name not in ("changelog.md", "results.md")
    ]
    told = {words for path in guides for words in command_words(path.read_text())}
    for words in leaves(get_command(app)):
        title = " ".join(("ssl-seg", *words))
        section = re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"{title} is not in the reference"
        command = get_command(app)
        for word in words:
            command = command.commands[word]
        for parameter in command.params:
            for flag in parameter.opts:
                assert not flag.startswith("--") or flag in section[1], (
                    f"{title} {flag} is not in the reference"
                )
        assert any(found[: len(words)] == words for found in told), f"no guide shows {title}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_in_the_catalogue_with_its_options(kind, script):
    registry = script["components"].built_in()
    text = (DOCS / "reference" / "components.md").read_text()
    if kind == "backbones":
        listed = set(re.findall(r"`([^`]+)`", (DOCS / "reference" / "backbones.md").read_text()))
        missing = set(registry.names(kind)) - listed
        assert version("timm") != PINNED["timm"] or not missing
        return
    title = script["components"].KINDS[kind][0]
    whole = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    for component in registry.names(kind):
        section = re.search(
            rf"^### {re.escape(component)}\n\n(.+?)(?=^### |\Z)", whole, re.MULTILINE | re.DOTALL
        )
        assert section, f"{component} is not in the catalogue"
        assert len(section[1].split("\n|")[0].split()) >= 4, f"{component} is not described"
        rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", section[1], re.MULTILINE))
        assert rows.keys() == factory_options(registry.factory(kind, component)).keys(), component
        assert all(rows.values()), f"an option of {component} has no meaning"


def test_every_exit_code_has_its_row_and_every_error_its_place():
    raised = {kind.code: kind for kind in SslSegError.__subclasses__() if kind is not Stopped}
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", (DOCS / "faults.md").read_text(), re.MULTILINE)
    assert [int(code) for code, _ in rows] == [0, 1, *sorted(raised)]
    api = (DOCS / "reference" / "api.md").read_text()
    for kind in (*raised.values(), Stopped):
        assert f"### {kind.__name__}\n" in api


def said_by_the_source():
    """Patterns of all texts in the code that are long enough to be told by; what is filled in may be anything."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [each.value if isinstance(each, ast.Constant) else None for each in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            if sum(len(part.replace(" ", "")) for part in parts if part) >= 9:
                yield "".join(".*" if part is None else re.escape(part) for part in parts)


def test_messages_that_a_page_quotes_are_those_of_the_source():
    text = (DOCS / "faults.md").read_text().split("## Common errors")[1].split("\n## ")[0]
    said = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
    assert len(said) >= 8
    patterns = list(said_by_the_source())
    assert not any(re.match(pattern, "error 17 happened in here") for pattern in patterns)
    for message in said:
        assert any(re.match(pattern, message) for pattern in patterns), f"nothing says {message!r}"


def test_every_public_name_is_in_the_api_page():
    titles = re.findall(r"^### (\w+)$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE)
    assert set(ssl_seg.__all__) - {"__version__"} <= set(titles)


def test_a_docstring_becomes_markdown(script):
    tools = script["docstrings"]

    def example(one: int, two: str = "x", *, three: float | None = None) -> list[int]:
        """What it does, in `a * b` and a * b.

        Args:
            one, two: said of both,
                on two lines.
            three: may be [none].

        Returns:
            Some
            numbers.

        Raises:
            ValueError: never.
        """

    assert tools.signature(example, "example") == (
        "example(one: int, two: str = 'x', *, three: float | None = None) -> list[int]"
    )
    assert tools.markdown(example) == (
        "What it does, in `a * b` and a \\* b.\n\n"
        "**Args**\n\n- `one`, `two`: said of both, on two lines.\n- `three`: may be \\[none].\n\n"
        "**Returns** Some numbers.\n\n"
        "**Raises**\n\n- `ValueError`: never."
    )


def test_parameters_of_a_command_are_plain_types_with_their_help_texts(script):
    tools = script["docstrings"]

    def command(
        data: Annotated[str, typer.Argument(help="Images.")],
        size: Annotated[int | None, typer.Option(help="In pixels.")] = None,
        way: Annotated[Literal["a", "b"] | None, typer.Option(help="Which.")] = None,
    ) -> int:
        """Do it."""

    assert tools.signature(command, "command") == (
        "command(data: str, size: int | None = None, way: Literal['a', 'b'] | None = None) -> int"
    )
    assert tools.markdown(command) == (
        "Do it.\n\n**Args**\n\n- `data`: Images.\n- `size`: In pixels.\n- `way`: Which."
    )
    assert "Annotated" not in (DOCS / "reference" / "api.md").read_text()


def test_measured_numbers_of_the_first_page_are_those_of_the_benchmarks():
    numbers = re.findall(r"\d\.\d{3} ± \d\.\d{3}", (DOCS / "index.md").read_text())
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    assert len(numbers) == 6
    for number in numbers:
        assert number in results, f"{number} was not measured"
