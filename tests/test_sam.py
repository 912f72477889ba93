"""The plugin for Segment Anything from outside; its own tests are in its folder."""

import ast
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import typer

FOLDER = Path(__file__).parents[1] / "plugins" / "ssl-seg-sam"
FILES = sorted((FOLDER / "src").rglob("*.py"))


@pytest.fixture
def points(monkeypatch):
    """The entry points of its commands, with its source on the path."""
    monkeypatch.syspath_prepend(FOLDER / "src")
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    return project["entry-points"]["ssl_seg.commands"]


def test_its_entry_point_is_one_command(points):
    assert points == {"sam": "ssl_seg_sam.command:app"}
    module, _, name = points["sam"].partition(":")
    app = getattr(import_module(module), name)
    assert isinstance(app, typer.Typer) and len(app.registered_commands) == 1
    assert "transformers" not in vars(sys.modules[module])


def test_without_transformers_only_the_call_fails(points, package, cli, monkeypatch, photos):
    package("sam-plugin", "", group="ssl_seg.commands", entry=f"sam = {points['sam']}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, out, _ = cli("--help")
    assert code == 0 and "sam-plugin 1.2" in out
    code, _, err = cli("sam", photos, "--cpu", "--model", photos)
    assert code == 7 and "cannot import transformers" in err


def test_it_keeps_the_rules_of_the_house():
    assert len(FILES) > 5
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 250, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"
