"""Reading JSON and TOML: what is no such file is one kind of error, whatever is wrong with it."""

import ast
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg.errors import UsageError
from ssl_seg.utils.toml import parse_json, read_json, read_toml

ROOT = Path(ssl_seg.__file__).parents[2]
SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")])
READING = {"json.loads", "json.load", "json.JSONDecoder", "tomllib.loads", "tomllib.load"}
DEEP = 100_000
BAD = ["", "{", "[1]", "null", '"a"', "{'a': 1}", "[" * DEEP, '{"a":' * DEEP, "1" * 5000, "\0", "{}{}"]


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:8])
def test_what_is_no_json_object_is_a_value_error(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"\S") as error:
        read_json(tmp_path / "x.json")
    assert len(str(error.value)) < 200


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match="utf-8"):
        read_json(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_a_byte_order_mark_is_passed_over(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_parse_json():
    assert parse_json("[1, null]") == [1, None] == parse_json(b"[1, null]")
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * DEEP)


@pytest.mark.parametrize("text", ["a = " + "[" * DEEP, "a = " + "1" * 5000, "a", "a = 1\na = 2", "\0"])
def test_what_is_no_toml_is_a_usage_error(tmp_path, text):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError, match="not valid TOML") as error:
        read_toml(tmp_path / "x.toml")
    assert error.value.where == str(tmp_path / "x.toml") and len(error.value.what) < 200


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in READING:
            yield f"{path.name}:{node.lineno} {ast.unparse(node.func)}"
        if isinstance(node, ast.ImportFrom) and node.module in ("json", "tomllib"):
            yield f"{path.name}:{node.lineno} from {node.module}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_all_json_and_toml_is_read_in_one_place(path):
    assert path.name == "toml.py" or list(calls(path)) == []


def test_the_walk_finds_readers():
    assert len(list(calls(ROOT / "src" / "ssl_seg" / "utils" / "toml.py"))) == 2
