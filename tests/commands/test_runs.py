"""`ssl-seg runs`, and runs named as stages of a study."""

import json

import pytest

import ssl_seg
from ssl_seg.errors import DataError, UsageError
from ssl_seg.results.run_list import find_runs
from ssl_seg.results.status import write_status
from ssl_seg.study.run_paths import find_run


def make_run(folder, command="classify", scores=(), state="finished", **settings):
    (folder / "checkpoints").mkdir(parents=True)
    flags = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (folder / "run.toml").write_text(f'{flags}\n[record]\ncommand = "{command}"\n')
    lines = [
        json.dumps({"epoch": epoch, "step": 10 * epoch, "seconds": 30.0 * epoch} | line)
        for epoch, line in enumerate(scores, 1)
    ]
    (folder / "scores.jsonl").write_text("".join(f"{line}\n" for line in lines))
    write_status(folder, {"state": state, "step": 20, "code": 0, "checkpoint": ""})
    (folder / "checkpoints" / "weights").write_bytes(bytes(2_000_000))
    return folder


@pytest.fixture
def folder(tmp_path):
    make_run(
        tmp_path / "runs" / "fine",
        scores=[{"val_top1": 0.5}, {"val_top1": 0.25}],
        backbone="resnet18",
        head="linear",
        epochs=4,
    )
    make_run(
        tmp_path / "runs" / "deep" / "er",
        "train",
        [{"loss": 1.0}],
        "stopped",
        ssl="byol",
        backbone="resnet18",
        epochs=2,
    )
    return tmp_path / "runs"


def test_lists_runs_with_state_score_time_and_size(cli, folder):
    code, out, _ = cli("runs", folder)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[1:6] == ["stopped", "train", "byol", "resnet18", "1/2"]
    assert "val_top1 0.500 0.250" in lines[2] and "linear resnet18  2/4" in lines[2]
    assert "60 s" in lines[2] or "1 min" in lines[2]
    assert "1 min 0 s" in lines[2]
    assert "2 MB" in lines[2]


def test_a_corrupt_run_is_listed_as_far_as_it_is_known(cli, folder):
    (folder / "fine" / "status.json").write_text("{")
    (folder / "fine" / "run.toml").write_text("= 3")
    code, out, _ = cli("runs", folder)
    assert code == 0
    assert out.splitlines()[2].split()[:2] == [str(folder / "fine"), "unknown"]


def test_names_with_control_characters_stay_one_line(cli, folder):
    make_run(folder / "a\x1b[31m\nb")
    _, out, _ = cli("runs", folder)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 4


def test_nothing_there_is_an_error(cli, tmp_path):
    assert cli("runs", tmp_path)[0] == 3
    assert cli("runs", tmp_path / "missing")[0] == 3


def test_linked_folders_are_not_followed(folder, tmp_path):
    (folder / "loop").symlink_to(folder)
    assert len(list(find_runs(folder))) == 2


@pytest.fixture
def study(tmp_path):
    stages = {
        name: {"title": name, "command": "classify", "runs": runs}
        for name, runs in (("A", {"0": "A-1", "1": "A-2"}), ("b:1", {"3": "b-3"}))
    }
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text(json.dumps({"format": 1, "stages": stages, "tables": {}}))
    return tmp_path / "study"


def test_a_stage_and_its_seed(study):
    assert find_run(f"{study}@A") == study / "A-1"
    assert find_run(f"{study}@A:1") == study / "A-2"
    assert find_run(f"{study}@b:1") == study / "b-3"
    assert find_run(f"{study}@b:1:3") == study / "b-3"


def test_paths_that_exist_are_paths(study, tmp_path):
    (tmp_path / "study@A").mkdir()
    assert find_run(tmp_path / "study@A") == tmp_path / "study@A"
    assert find_run("no-study@x").name == "no-study@x"
    assert find_run(study, or_study=True) == study


def test_a_study_says_which_runs_it_holds(cli, study, tmp_path):
    make_run(study / "A-1")
    code, _, err = cli("predict", study, tmp_path, "--out", tmp_path / "x.csv")
    assert code == 2
    assert err.splitlines() == [
        f"error[2] {study} is a study, not a run",
        f"where: {study}@A: seed 0 finished; seed 1 not started",
        f"       {study}@b:1: seed 3 not started",
        f"next: name one of its runs, for example {study}@A; of another seed {study}@STAGE:SEED",
    ]


@pytest.mark.parametrize(("name", "says"), [("@C", "no stage 'C'"), ("@A:7", "no seed 7")])
def test_what_is_not_there_is_said_with_what_is(study, name, says):
    with pytest.raises(UsageError, match=says) as error:
        find_run(f"{study}{name}")
    assert error.value.next.startswith("one of")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"stages": {"A": {"runs": {"0": "../other"}}}}', '{"stages": {"A": {"runs": {}}}}']
)
def test_a_corrupt_study_is_an_error(study, text):
    (study / "study.json").write_text(text)
    with pytest.raises(DataError, match=r"study\.json is corrupt"):
        find_run(f"{study}@A")


def test_every_command_takes_a_stage(cli, study, trained_classifier, tmp_path):
    trained_classifier.rename(study / "A-1")
    for words in (
        ("evaluate", f"{study}@A", "demo:16", "--cpu"),
        ("predict", f"{study}@A", "demo:16", "--cpu", "--out", tmp_path / "p.csv"),
        ("embed", f"{study}@A", "demo:16", "--cpu", "--out", tmp_path / "f.npz"),
        ("export", f"{study}@A", "--to", "hub", "--out", tmp_path / "hub"),
        ("report", f"{study}@A", "--out", tmp_path / "r.html"),
        ("figure", "curves", f"{study}@A", "--out", tmp_path / "curves"),
    ):
        code, _, err = cli(*words)
        assert code == 0, (words, err)
    assert ssl_seg.load(f"{study}@A")[1]["head"] == "linear"
    code, _, err = cli("predict", study, "demo:16", "--out", tmp_path / "q.csv")
    assert code == 2 and "@A" in err


@pytest.fixture
def trained_classifier(cli, tmp_path):
    words = [
        "classify",
        "demo:32",
        "--val",
        "demo:40",
        "--backbone",
        "test_resnet",
        "--image-size",
        32,
        "--epochs",
        1,
    ]
    code, _, err = cli(*words, "--batch-size", 16, "--cpu", "--allow-overlap", "--out", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"
