"""The table of reference runs, and the script that repeats them."""

import importlib.util
import json
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    loader = SourceFileLoader("reproduce", str(ROOT / "scripts" / "reproduce"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("reproduce", loader))
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.fixture
def rows(script):
    return json.loads(script.ROWS.read_text())


def test_the_page_has_what_was_recorded(script, rows):
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.table(rows) in page and script.machines(rows) in page
    assert all("value" in row for row in rows), "a row without a reference: scripts/reproduce ROW --record"
    assert all(row["interval"][0] <= row["value"] <= row["interval"][1] for row in rows)


def test_a_repeated_row_agrees_or_says_what_differs(script, rows):
    row = rows[0]
    assert script.compare(row, dict(row))[0]
    low, high = row["interval"]
    agrees, lines = script.compare(row, row | {"value": high + 0.01})
    assert not agrees and lines[0].endswith("outside")
    agrees, lines = script.compare(row, row | {"digest": "0" * 64})
    assert not agrees and lines[1] == "weights  differ"
    elsewhere = row["machine"] | {"processor": "another"}
    agrees, lines = script.compare(row, row | {"digest": "0" * 64, "machine": elsewhere, "value": low})
    assert agrees and lines[1] == "weights  differ, as they may: another processor"


def test_a_digest_is_of_the_tensors_alone(script, tmp_path):
    tensors = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.int64)}
    save_file(tensors, tmp_path / "one", {"version": "1"})
    save_file(dict(reversed(tensors.items())), tmp_path / "two", {"version": "2"})
    save_file(tensors | {"a": np.ones((3, 2), np.float32)}, tmp_path / "three")
    one, two, three = (script.digest(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.slow
def test_a_row_is_run_recorded_and_repeated(script, tmp_path, monkeypatch, capfd):
    """With the real command, on a page and a file of its own."""
    words = "ssl-seg classify demo:32 --val demo:24 --backbone test_resnet --image-size 32 --batch-size 8 --epochs 1 --cpu"
    row = {"name": "tiny", "command": words, "run": "", "score": "val_top1", "weights": "model.safetensors"}
    monkeypatch.setattr(script, "ROWS", tmp_path / "rows.json")
    monkeypatch.setattr(script, "PAGE", tmp_path / "page.md")
    script.ROWS.write_text(json.dumps([row]))
    script.PAGE.write_text(f"before\n\n{script.HEAD}\nMachine: none\n\nafter\n")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["reproduce", *words])
        return script.main()

    assert run() == 0
    with pytest.raises(SystemExit):
        run("no such row")
    assert run("tiny", "--record") == 0
    (recorded,) = json.loads(script.ROWS.read_text())
    page = script.PAGE.read_text()
    assert page == f"before\n\n{script.table([recorded])}\n{script.machines([recorded])}\nafter\n"
    assert run("tiny", "--out", str(tmp_path / "kept")) == 0
    assert (tmp_path / "kept" / "model.safetensors").is_file()
    assert "weights  the same, bit for bit" in capfd.readouterr().out
    row["command"] = "ssl-seg classify nowhere --val demo:24"
    script.ROWS.write_text(json.dumps([row]))
    assert run("tiny") == 1
    assert "the command failed with code" in capfd.readouterr().err
