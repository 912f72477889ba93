"""One folder, one run: who may write there, with which flags, and what a damaged checkpoint costs."""

import json
import os
import shutil
import signal
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def finish(trials, trial) -> None:
    assert trial.go() == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


# Two at once


def test_the_second_of_two_is_refused(trials):
    trial = trials.new("two")
    pid = trial.start(traps=[("before the target moves", 3, signal.SIGSTOP)])
    wait_for(lambda: trial.steps() == [1, 2])
    other = trials.new("two-other")
    for words in (trial.words(), trial.resuming()):
        assert other.go(words=words) == 9
        (what, *_) = other.errors()
        assert f"in use by pid {pid} on " in what
    os.kill(pid, signal.SIGCONT)
    assert trial.wait(pid) == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


@pytest.mark.parametrize("attempt", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_of_two_at_the_same_moment_one_wins(attempt, trials):
    trial, twin = trials.new(f"race {attempt}"), trials.new(f"race {attempt} twin")
    pids = trial.start(words=trial.words()), twin.start(words=trial.words())
    codes = [trial.wait(pids[0]), twin.wait(pids[1])]
    assert sorted(codes) == [0, 9], (trial.output, twin.output)
    assert trials.same(trial.result(), trials.expected)


def test_a_killed_run_frees_its_folder(trials):
    trial = trials.new("stale")
    assert trial.go(traps=[("after the rename", 1, signal.SIGKILL)]) == -signal.SIGKILL
    assert "pid" in (trial.folder / ".lock").read_text()
    finish(trials, trial)


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Folders that are not what they should be


def test_a_folder_with_something_in_it(trials):
    trial = trials.new("filled")
    trial.folder.mkdir(parents=True)
    (trial.folder / "thesis.tex").write_text("precious")
    assert trial.go() == 9
    what, where, next_ = trial.errors()
    assert what.endswith("is not empty")
    assert where == "where: thesis.tex"
    assert next_.startswith("next: --out OTHER_FOLDER")
    assert (trial.folder / "thesis.tex").read_text() == "precious"


def test_nothing_to_resume(trials):
    trial = trials.new("nothing")
    assert trial.go(words=[*trial.words(), "--resume"]) == 4
    assert "no run to resume" in trial.errors()[0]
    assert not trial.folder.exists()


def test_no_checkpoint_to_resume(halfway):
    trial = halfway("no checkpoint")
    shutil.rmtree(trial.folder / "checkpoints")
    assert trial.go(words=trial.resuming()) == 4
    assert "no usable checkpoint" in trial.errors()[0]


# Damaged checkpoints


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_newest_checkpoint_is_passed_over(file, trials, halfway):
    trial = halfway(f"damaged {file}")
    path = trial.folder / "checkpoints" / "step-000005" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    finish(trials, trial)
    warnings = [line for line in trial.output.splitlines() if line.startswith("warning:")]
    (warning,) = warnings
    assert "step-000005: " in warning
    assert "using step-000004" in warning
    if file != "manifest.json":
        assert f"{file}: SHA-256 mismatch" in warning
    assert trial.steps() == [1, 2, 3, 4, 5, 5, 6, 7, 8]


def test_all_damaged_is_an_error(halfway):
    trial = halfway("all damaged")
    (trial.folder / "checkpoints/step-000004/model.safetensors").write_bytes(b"")
    (trial.folder / "checkpoints/step-000005/state.json").unlink()
    assert trial.go() == 4
    what, where, *_ = trial.errors()
    assert what == "error[4] no usable checkpoint"
    assert "step-000004: model.safetensors has 0 bytes" in where
    assert "step-000005: state.json: No such file" in where
    assert trial.steps() == [1, 2, 3, 4, 5], "it must not start again by itself"
    assert trial.saved() == [4, 5]
    assert trial.status()["state"] == "stopped", "as the run that is there has ended"
    assert "Traceback" in (trial.folder / "run.log").read_text()


# A resumed run is the run that was started


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--seed", "7"], "seed: was 0, now 7"),
        (["--lr", "0.5"], "lr: was 0.0"),
        (["--epochs", "1"], "epochs: was 2, now 1"),
        (["-o", "ssl.hidden=32"], "o: was {'ssl': {'hidden': '16'"),
        (["--optimizer", "sgd"], "optimizer: was 'adamw', now 'sgd'"),
    ],
)
def test_a_changed_flag_is_refused(flags, line, halfway):
    trial = halfway(f"changed {flags[0]}")
    assert trial.go(words=[*trial.resuming(), *flags]) == 2
    found = trial.errors()
    assert found[0] == "error[2] flags differ from those of the run being resumed"
    assert found[1].startswith(f"where: {line}")
    assert trial.saved() == [4, 5]
    assert trial.steps() == [1, 2, 3, 4, 5]


def test_flags_that_do_not_touch_the_result_may_change(trials, halfway):
    trial = halfway("free")
    words = [*trial.resuming(), "--save-every", "1"]
    assert trial.go(words=words) == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


@pytest.mark.parametrize("role", ["data", "probe"])
def test_changed_images_are_refused(role, trials, tmp_path):
    random = np.random.default_rng(0)
    photos, others = tmp_path / "photos" / "class", tmp_path / "photos" / "other"
    for folder in (photos, others):
        folder.mkdir(parents=True)
        for index in range(16):
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    trial = trials.half(f"images {role}", **{role: str(photos.parent)})

    def refused(count: int) -> None:
        assert trial.go() == 2, trial.output
        what, where, _ = trial.errors()
        assert what == f"error[2] the images of {role!r} are not those the run was started with"
        assert where.startswith(f"where: 32 then, {count} now")
        assert trial.saved() == [4, 5]

    shutil.copy(photos / "1.png", photos / "new.png")
    refused(33)
    (photos / "new.png").unlink()
    (photos / "1.png").rename(tmp_path / "1.png")
    refused(31)
    (tmp_path / "1.png").rename(photos / "1.png")
    whole = (photos / "1.png").read_bytes()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    refused(32)
    (photos / "1.png").write_bytes(whole)  # with another date
    (tmp_path / "photos").rename(tmp_path / "moved")
    place = [str(tmp_path / "moved")] if role == "data" else ["--probe", str(tmp_path / "moved")]
    assert trial.go(words=[*trial.resuming(), *place]) == 0, trial.output


def test_run_toml_repeats_the_run(trials):
    first = trials.folder / "reference" / "run" / "run.toml"
    trial = trials.new("repeated", flags=[])
    words = ["train", "--config", str(first), "--out", str(trial.folder)]
    assert trial.go(words=words) == 0, trial.output
    assert trials.same(trial.result(), trials.expected)
    assert tomllib.loads(first.read_text()) == tomllib.loads((trial.folder / "run.toml").read_text())


# What is watched changes nothing


@pytest.mark.parametrize(
    "flags",
    [
        ["--save-every", "1"],
        pytest.param(["--save-every", "7"], marks=pytest.mark.slow),
        pytest.param(["--save-every", "0"], marks=pytest.mark.slow),
        ["--probe-every", "3"],
    ],
    ids=" ".join,
)
def test_watching_changes_nothing(flags, trials):
    trial = trials.new(f"watched {flags}", flags=flags)
    assert trial.go() == 0, trial.output
    result, expected = trial.result(), trials.expected
    assert result.keys() == expected.keys()
    if flags[0] == "--probe-every":  # only the last epoch is probed
        assert [("probe_knn" in row) for row in result["scores.jsonl"]] == [False, True]
        result["scores.jsonl"] = expected["scores.jsonl"]
    assert trials.same(result, expected)


def test_no_probe_changes_nothing(trials):
    trial = trials.new("no probe")
    words = trial.words()
    at = words.index("--probe")
    assert trial.go(words=words[:at] + words[at + 2 :]) == 0, trial.output
    result = trial.result()
    assert all("probe_knn" not in row for row in result["scores.jsonl"])
    result["scores.jsonl"] = trials.expected["scores.jsonl"]
    expected = {name: what for name, what in trials.expected.items() if not name.startswith("probe_")}
    assert trials.same(result, expected)


def test_a_closed_terminal_changes_nothing(trials):
    trial = trials.new("broken pipe")
    traps = [("before the target moves", 3, signal.SIGHUP)]
    assert trial.go(broken_pipe=True, traps=traps) == 128 + signal.SIGHUP
    assert trial.saved()[-1] == 3
    assert trial.go(broken_pipe=True) == 0
    assert trials.same(trial.result(), trials.expected)


# Health


def test_a_sick_run_says_so_and_keeps_the_last_good_checkpoint(trials):
    trial = trials.new("sick", flags=["--lr", "1e30", "--optimizer", "sgd", "--warmup", "0"])
    assert trial.go() == 5
    what, where, kept, _ = trial.errors()
    assert "weights were not updated" in what or "no checkpoint was written" in what
    assert where.startswith("where: step ")
    last = Path(kept.removeprefix("kept: "))
    assert json.loads((last / "state.json").read_text())["step"] == trial.status()["step"]
    assert trial.status()["code"] == 5
    assert "Traceback" in (trial.folder / "run.log").read_text()
