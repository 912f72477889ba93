"""Names from outside reach a terminal, a table and a file as text, whatever they hold."""

import csv
import json
import logging
import os
import re
import tomllib

import numpy as np
import pytest
from PIL import Image

from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import DataError, render
from ssl_seg.utils.log import log

LATIN = os.fsdecode(b"caf\xe9")  # no UTF-8
FORGED = "x\nnext: rm -rf\x1b[2J\u202e"
NAMES = [f"{LATIN}.png", "=1+1.png", f"{FORGED}.png", "plain.png"]
CLASSES = ["=cmd|' /C calc'!A0", f"wa{FORGED}ter"]


def check_screen(text):
    """Nothing that a terminal acts on, and no line that somebody else has written."""
    assert all(line.isprintable() for line in text.splitlines()), ascii(text)
    assert "\nnext: rm" not in text


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index, name in enumerate(NAMES):
        Image.fromarray(np.full((9, 9, 3), 50 * index, np.uint8)).save(folder / name)
    return folder


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_labels_of_images_of_any_name(trained, images, cli, tmp_path):
    """Names and classes come back from the CSV file through our own reader, and no cell is a formula."""
    run = trained("classify", CLASSES)
    code, out, err = cli("predict", run, images, "--out", tmp_path / "p.csv", "--cpu")
    assert code == 0, err
    check_screen(out + err)
    rows = rows_of(tmp_path / "p.csv")
    assert {row["filename"] for row in rows} == {r"caf\xe9.png", "'=1+1.png", f"{FORGED}.png", "plain.png"}
    assert {row["label"] for row in rows} <= {f"'{CLASSES[0]}", CLASSES[1]}
    words = ("evaluate", run, tmp_path / "p.csv", "-o", f"data.images={images}", "--out", tmp_path / "e.json")
    code, out, err = cli(*words, "--cpu")
    assert code == 0, err
    check_screen(out + err)
    assert json.loads((tmp_path / "e.json").read_text())["top1"] == 1.0


def test_features_of_images_of_any_name(trained, images, cli, tmp_path):
    code, _, err = cli("embed", trained("classify"), images, "--out", tmp_path / "e.npz", "--cpu")
    assert code == 0, err
    with np.load(tmp_path / "e.npz") as file:
        assert sorted(file["filenames"].tolist()) == sorted(NAMES)


def test_masks_of_images_of_any_name(trained, images, cli, tmp_path):
    code, out, err = cli("predict", trained("segment"), images, "--out", tmp_path / "m", "--cpu")
    assert code == 0, err
    check_screen(out + err)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted([*NAMES, "result.json"])


def test_a_name_cannot_forge_a_line_of_an_error(trained, images, cli, tmp_path):
    run = trained("classify", CLASSES)
    for name in NAMES:
        (images / name).write_bytes(b"no image")
    code, out, err = cli("predict", run, images, "--out", tmp_path / "p.csv", "--cpu")
    assert code == 3
    check_screen(out + err)
    assert r"x\nnext: rm -rf\x1b[2J\u202e.png: " in err and r"caf\xe9.png: " in err
    code, out, err = cli("predict", tmp_path / FORGED, images, "--out", tmp_path / "p.csv", "--cpu")
    assert code == 4
    check_screen(out + err)
    code, _, err = cli("train", images, FORGED)
    assert code == 2
    check_screen(err)


@pytest.mark.parametrize("part", ["what", "where", "kept", "next"])
def test_no_part_of_an_error_forges_another(part):
    text = render(
        DataError(**{"what": "wrong", part: "a\nnext: rm -rf\nerror[0] \x1b\x85\u2028b" + "\n" * 40})
    )
    lines = text.split("\n")
    assert len(lines) <= 12 and all(line.isprintable() for line in lines)
    heads = [line.partition(" ")[0] for line in lines if not line.startswith(" ")]
    assert heads == ["error[3]", *([] if part == "what" else [f"{part}:"])]


def test_an_error_of_many_lines_keeps_its_end():
    error = DataError("a\n" * 40, where="b\n" * 40, kept="step-7", next="ls")
    lines = render(error).split("\n")
    assert len(lines) == 12 and lines[0] == "error[3] a" and "where: b" in lines
    assert lines[-2:] == ["kept: step-7", "next: ls"]


BROKEN = """
from ssl_seg.hooks import hookimpl

class Odd(Exception):
    def __str__(self):
        raise RuntimeError

def fails(*_):
    raise RuntimeError("x\\nnext: rm -rf\\x1b[2J")

@hookimpl
def datasets():
    return {"odd\\x1b[2J": fails, "bad": fails}
"""


def test_a_plugin_says_nothing_raw(package, cli):
    package("mine", BROKEN)
    package("worse", "raise __import__('mine').Odd()")
    for words in (("list",), ("list", "datasets"), ("plugins",), ("train", "bad:x"), ("doctor",)):
        _, out, err = cli(*words)
        check_screen(out + err)
        assert "Traceback" not in err


def test_a_bug_and_its_traceback_say_nothing_raw(cli, monkeypatch):
    from ssl_seg.commands import component_text

    def fail(*_):
        raise ZeroDivisionError(FORGED)

    monkeypatch.setattr(component_text, "inspect", None)
    monkeypatch.setattr("ssl_seg.plugins.load_plugins", fail)
    for words in (("list",), ("--debug", "list")):
        code, _, err = cli(*words)
        assert code == 1 and "internal error: ZeroDivisionError: x" in err
        check_screen(err)
    assert "Traceback" in err


def test_the_log_of_a_run_has_no_forged_records(tmp_path):
    with Run(tmp_path / "r") as run:
        log.warning("%s", f"2026-01-01 00:00:00,000 ERROR\n2026-01-01 00:00:00,000 ERROR {FORGED}{LATIN}")
        try:
            raise ValueError("a\n2026-01-01 00:00:00,000 ERROR b")
        except ValueError:
            log.exception("trouble")
    lines = (run.folder / "run.log").read_text(encoding="utf-8").splitlines()
    assert all(line.isprintable() for line in lines)
    heads = [line for line in lines if not line.startswith("    ")]
    assert [re.sub("^[-0-9: ,]+", "", line).split()[0] for line in heads] == ["WARNING", "ERROR"]
    assert any("Traceback" in line for line in lines)
    assert logging.getLogger("ssl_seg") is log


def test_a_path_that_run_toml_cannot_hold_is_refused_before_anything(cli, tmp_path):
    folder = tmp_path / LATIN
    folder.mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "a.png")
    for words in (("train", folder), ("classify", folder), ("segment", "demo", "--val", folder)):
        code, _, err = cli(*words, "--out", tmp_path / "r")
        assert code == 2 and r"caf\udce9" in err and "next: " in err and not (tmp_path / "r").exists()
    code, _, err = cli("demo", "--out", folder)
    assert code == 2 and "next: " in err


def test_an_output_folder_of_any_name(cli, tmp_path):
    out = tmp_path / f"{LATIN} {FORGED}"
    words = (
        "train",
        "demo:8",
        "--backbone",
        "test_resnet",
        "--image-size",
        16,
        "--batch-size",
        4,
        "--epochs",
        1,
    )
    code, _, err = cli(*words, "--out", out, "--cpu", "-o", "ssl.hidden=8", "-o", "ssl.dimensions=4")
    assert code == 0, err
    check_screen(err)
    assert (out / "backbone.safetensors").exists()
    tomllib.loads((out / "run.toml").read_text(encoding="utf-8"))
    code, screen, err = cli("report", out)
    assert code == 0, err
    check_screen(screen + err)


def test_classes_of_any_name_in_all_that_a_run_leaves(cli, tmp_path):
    """Folders of classes with such names, through classify, report and export."""
    data = tmp_path / "data"
    for place, name in enumerate((LATIN, "=1+1", FORGED)):
        (data / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.full((16, 16, 3), 80 * place + index, np.uint8)
            Image.fromarray(pixels).save(data / name / f"{name}{index}.png")
    words = (
        "classify",
        data,
        "--val",
        data,
        "--backbone",
        "test_resnet",
        "--image-size",
        16,
        "--batch-size",
        4,
    )
    code, out, err = cli(*words, "--allow-overlap", "--epochs", 1, "--cpu", "--out", tmp_path / "r")
    assert code == 0, err
    check_screen(out + err)
    for words in (
        ("report", tmp_path / "r"),
        ("figure", "tsne", tmp_path / "r"),
        ("figure", "curves", tmp_path / "r"),
    ):
        code, out, err = cli(*words)
        assert code == 0, err
        check_screen(out + err)
    code, out, err = cli("export", tmp_path / "r", "--to", "hub", "--out", tmp_path / "hub")
    assert code == 0, err
    check_screen(out + err)
    rows = rows_of(tmp_path / "r" / "val_predictions.csv")
    assert {row["label"] for row in rows} == {r"caf\xe9", "'=1+1", FORGED}
    for path in tmp_path.glob("**/*"):
        if path.suffix in (".json", ".jsonl", ".toml", ".md", ".tex", ".html", ".csv", ".log", ".svg"):
            path.read_text(encoding="utf-8")
    for path in [*tmp_path.glob("r/*.md"), *tmp_path.glob("r/*.tex"), tmp_path / "hub" / "README.md"]:
        assert all(line.isprintable() or "\ufffd" in line for line in path.read_text().split("\n")), path
        assert "\x1b" not in path.read_text()
