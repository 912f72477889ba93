"""A run's folder: its lock, its small files, and what happens when they cannot be written."""

import fcntl
import json
import logging
import math
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import OutputInUseError, ResourceError, UsageError, WeightsError, render
from ssl_seg.results.status import read_status
from ssl_seg.utils.files import atomic_write_text
from ssl_seg.utils.log import log
from ssl_seg.utils.toml import read_toml, to_toml

HOSTILE = {
    "quotes": "'single' \"double\" '''three''' \"\"\"three\"\"\"",
    "lines": "a\nb\r\nc\rd\te",
    "slashes": "C:\\new\\table\\u0041 \\",
    "controls": "".join(map(chr, range(32))),
    "delete": "a\x7fb\x80\x9f",
    "separators": "\x85\u2028\u2029\ufeff",
    "unicode": "Grüße 名前 🦀 e\u0301",
    "toml": "[table]\nkey = 1 # no comment",
    "empty": "",
    "literal": "\\x7f \\u007f \\n",
}


def make(folder: Path) -> Run:
    """A run that has begun: a second start in its folder must be refused."""
    with Run(folder) as run:
        run.write_config({"epochs": 3})
        (run.checkpoints / "step-000000").mkdir()
    return run


# TOML


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_survive(text, tmp_path):
    values = {"plain": text, "o": {"ssl": {"key": text}}, "list": [text, "", text]}
    assert tomllib.loads(to_toml(values)) == values
    atomic_write_text(tmp_path / "run.toml", to_toml(values))
    assert read_toml(tmp_path / "run.toml") == values


def test_random_texts_and_keys_survive():
    random = Random(0)

    def text() -> str:
        letters = (chr(random.choice([random.randrange(0xD800), random.randrange(256)])) for _ in range(12))
        return "".join(letters)

    for _ in range(300):
        values = {text(): text(), "t" + text(): {text(): text(), "u": {text(): [text()]}}}
        assert tomllib.loads(to_toml(values)) == values


def test_numbers_and_truths_survive_exactly():
    values = {
        "floats": [0.1 + 0.2, 1e-05, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 3.0],
        "whole": [0, -1, 2**62],
        "truths": [True, False],
        "inf": math.inf,
        "low": -math.inf,
        "nested": {"inf": [math.inf, 1.0]},
    }
    again = tomllib.loads(to_toml(values))
    assert again == values
    assert [type(v) for v in again["floats"]] == [float] * 7
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


def test_none_is_left_out_and_tables_come_last():
    assert tomllib.loads(to_toml({"a": None, "t": {"b": 1, "n": None}, "c": 2})) == {"t": {"b": 1}, "c": 2}


def test_a_name_of_no_encoding_is_refused():
    with pytest.raises(UsageError, match="not Unicode text"):
        to_toml({"data": os.fsdecode(b"caf\xe9")})


def test_toml_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"no such file: .*none\.toml$") as caught:
        read_toml(tmp_path / "none.toml")
    assert caught.value.next == f"ls {tmp_path}"
    (tmp_path / "bad.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(UsageError, match=r"no such file: .*bax\.toml; did you mean 'bad\.toml'\?"):
        read_toml(tmp_path / "bax.toml")
    with pytest.raises(UsageError, match="line 2") as caught:
        read_toml(tmp_path / "bad.toml")
    assert caught.value.where == str(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(UsageError, match="not valid TOML"):
        read_toml(tmp_path / "latin.toml")


# The folder and its lock


def test_a_held_folder_is_refused_and_the_holder_named(tmp_path):
    with Run(tmp_path / "run") as run:
        run.write_config({})
        for resume in (False, True):
            with pytest.raises(
                OutputInUseError, match=rf"in use by pid {os.getpid()} on \S+ since 20"
            ) as caught:
                Run(tmp_path / "run", resume=resume)
            assert caught.value.code == 9
    Run(tmp_path / "run", resume=True).__exit__()


_HOLDER = """
import sys, pathlib, ssl_seg.engine.run_dir, time
run = ssl_seg.engine.run_dir.Run(pathlib.Path(sys.argv[1]))
run.write_config({})
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_holder_frees_the_folder(tmp_path):
    command = [sys.executable, "-c", _HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(OutputInUseError, match=f"in use by pid {holder.pid} on"):
                Run(tmp_path / "run", resume=True)
        finally:
            holder.kill()
    with Run(tmp_path / "run", resume=True):
        assert f"pid {os.getpid()} " in (tmp_path / "run" / ".lock").read_text()


def test_a_folder_with_files_is_refused_by_name(tmp_path):
    for index in range(7):
        (tmp_path / f"mine-{index}.txt").write_text("x")
    with pytest.raises(OutputInUseError, match="is not empty") as caught:
        Run(tmp_path)
    assert caught.value.where == "mine-0.txt, mine-1.txt, mine-2.txt, mine-3.txt, mine-4.txt, ..."
    assert "--resume" not in caught.value.next
    assert len(list(tmp_path.glob("mine-*"))) == 7


def test_a_run_that_has_begun_is_not_overwritten(tmp_path):
    make(tmp_path)
    with pytest.raises(OutputInUseError, match="is not empty") as caught:
        Run(tmp_path)
    assert "--resume to continue it" in caught.value.next
    assert read_toml(tmp_path / "run.toml") == {"epochs": 3}


def test_a_start_that_never_began_does_not_block_the_next(tmp_path):
    """Stopped while images were read, say: there is nothing in the folder that could be lost."""
    with Run(tmp_path) as run:
        log.info("soon over")
        run.write_config({"epochs": 3})
        run.set_status("stopped", step=0, code=143)
    (tmp_path / ".status.json.tmp-1").write_text("half")
    (tmp_path / "checkpoints" / ".step-000000.tmp-1").mkdir()
    with Run(tmp_path) as run:
        run.write_config({"epochs": 4})
    assert read_toml(tmp_path / "run.toml") == {"epochs": 4}
    assert not list(tmp_path.glob(".*.tmp-*"))


@pytest.mark.parametrize("name", ["scores.jsonl", "backbone.safetensors", "notes.txt", "photos"])
def test_but_anything_more_does(name, tmp_path):
    with Run(tmp_path):
        pass
    (tmp_path / name).mkdir() if name == "photos" else (tmp_path / name).write_text("")
    with pytest.raises(OutputInUseError):
        Run(tmp_path)


def test_nothing_to_resume(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(WeightsError, match="no run to resume") as caught:
            Run(folder, resume=True)
        assert caught.value.code == 4
    assert not list(tmp_path.iterdir()), "a failed resume leaves nothing behind"


def test_leftovers_of_a_killed_run_are_cleared(tmp_path):
    make(tmp_path)
    for name in (".status.json.tmp-77", ".backbone.safetensors.tmp-78"):
        (tmp_path / name).write_text("half")
    with Run(tmp_path, resume=True):
        assert not list(tmp_path.glob(".*.tmp-*"))


@pytest.mark.parametrize("below", ["features", "masks/epoch-0001", "figures"])
def test_leftovers_are_cleared_wherever_a_run_writes(below, tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 3\n")
    (tmp_path / below).mkdir(parents=True)
    leftover = tmp_path / below / ".epoch-0001.npz.tmp-123-abcdef01"
    leftover.write_text("part of it")
    with Run(tmp_path, resume=True):
        assert not leftover.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="Permission denied"):
        Run(tmp_path / "run")
    tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ResourceError, match="cannot write to") as caught:
        Run(tmp_path / "run")
    assert caught.value.code == 6


def test_the_lock_is_let_go_even_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), Run(tmp_path):
        raise ZeroDivisionError
    with (tmp_path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Scores and status


ROWS = [{"epoch": i, "step": 4 * i, "loss": 0.1 * i, "odd": math.nan if i == 2 else 1.0} for i in (1, 2, 3)]


def test_scores_are_exact_and_restored_by_step(tmp_path):
    with Run(tmp_path) as run:
        run.write_config({"epochs": 3})
        assert run.scores() == []
        for row in ROWS:
            run.append_scores(row)
        assert repr(run.scores()) == repr(ROWS)
        kept = json.loads(json.dumps(run.kept()))
        assert repr(kept) == repr({"scores": ROWS, "settings": {"epochs": 3}})
    for scores in (None, kept["scores"]):
        with Run(tmp_path, resume=True) as run:
            run.restore(scores, 8)
            assert repr(run.scores()) == repr(ROWS[:2])
            run.append_scores(ROWS[2])
            assert repr(run.scores()) == repr(ROWS)
        assert repr(Run(tmp_path, resume=True, main=False).scores()) == repr(ROWS)


def test_a_row_cut_by_a_power_failure_is_passed_over(tmp_path, caplog):
    with Run(tmp_path) as run:
        run.write_config({})
        run.append_scores(ROWS[0])
        with (tmp_path / "scores.jsonl").open("a") as file:
            file.write('{"step": 8, "lo')
    with Run(tmp_path, resume=True) as run:
        assert run.scores() == ROWS[:1]
        run.restore(None, 8)
        run.append_scores(ROWS[2])
        assert run.scores() == [ROWS[0], ROWS[2]]
    assert not caplog.records and not list(tmp_path.glob("*.damaged*")), "that is no damage"


def test_status(tmp_path):
    with Run(tmp_path) as run:
        run.set_status("running", step=3, checkpoint="step-000003")
        run.set_status("stopped", step=3, code=143, checkpoint="step-000003")
    assert read_status(tmp_path) == {"state": "stopped", "step": 3, "code": 143, "checkpoint": "step-000003"}


_READER = """
import pathlib, sys
path, done = map(pathlib.Path, sys.argv[1:])
print("reading", flush=True)
while not done.exists():
    assert path.read_text() in ("a" * 100_000, "b" * 100_000)
"""


def test_a_reader_sees_the_old_text_or_the_new(tmp_path):
    """Another process reads as fast as it can while the file is replaced."""
    path, done = tmp_path / "status.json", tmp_path / "done"
    texts = [letter * 100_000 for letter in "ab"]
    atomic_write_text(path, texts[0])
    command = [sys.executable, "-c", _READER, str(path), str(done)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "reading\n"
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            atomic_write_text(path, texts[1])
            atomic_write_text(path, texts[0])
        done.touch()
        assert reader.wait(timeout=20) == 0


def _full(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, function, fail)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(function, tmp_path, monkeypatch):
    with Run(tmp_path) as run:
        run.write_config({"epochs": 3})
        run.set_status("running", step=1)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        _full(monkeypatch, function)
        for write in (lambda: run.set_status("failed", step=2), lambda: run.write_config({"epochs": 9})):
            with pytest.raises(ResourceError, match="No space left") as caught:
                write()
            assert caught.value.code == 6
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before


def test_scores_on_a_full_disk(tmp_path, monkeypatch):
    with Run(tmp_path) as run:
        _full(monkeypatch, "fsync")
        with pytest.raises(ResourceError, match=r"scores\.jsonl: No space left"):
            run.append_scores({"step": 1})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_says_nothing(tmp_path, capfd):
    with Run(tmp_path) as run:
        (tmp_path / "run.log").symlink_to("/dev/full")
        log.warning("unheard")
        run.set_status("running", step=1)
    assert capfd.readouterr() == ("", "")
    assert json.loads((tmp_path / "status.json").read_text())["step"] == 1


def test_a_log_that_cannot_be_opened_says_nothing(tmp_path, capfd):
    with Run(tmp_path) as run:
        (tmp_path / "run.log").mkdir()
        log.warning("unheard")
        run.set_status("running", step=1)
    assert capfd.readouterr() == ("", "")
    assert json.loads((tmp_path / "status.json").read_text())["step"] == 1


def test_the_log_is_in_the_folder_and_only_while_the_run_is_open(tmp_path):
    with Run(tmp_path):
        log.info("Grüße")
    log.log(logging.INFO, "afterwards")
    text = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "Grüße" in text
    assert "afterwards" not in text


def test_the_error_that_a_user_sees(tmp_path):
    make(tmp_path)
    with pytest.raises(OutputInUseError) as caught:
        Run(tmp_path)
    lines = render(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["error[9]", "where:", "next:"]
