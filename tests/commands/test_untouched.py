"""What ends before its first step leaves a run as an earlier process has left it, whatever the command."""

import json
from pathlib import Path

import pytest

from ssl_seg.errors import HealthError
from ssl_seg.results.status import read_status

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
ON_TINY = ["--backbone", f"{TINY}:TinyBackbone"]
COMMON = [*ON_TINY, *["--image-size", "32", "--batch-size", "4", "--epochs", "1", "--cpu"]]
COMMANDS = {
    "train": ["train", "demo:8", "-o", "ssl.hidden=8", "-o", "ssl.dimensions=4"],
    "classify": ["classify", "demo:16", "--val", "demo:8", "--keep-features", "4"],
    "segment": [
        "segment",
        "demo:8",
        "--val",
        "demo:4",
        "--watch",
        "00000",
        "--head",
        "deeplabv3",
        "-o",
        "head.width=8",
    ],
}


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "run.log")]
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files
    }


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_what_fails_before_the_first_step_changes_nothing(cli, tmp_path, monkeypatch, command, state):
    run = tmp_path / "run"
    words = [*COMMANDS[command], *COMMON]
    code, _, err = cli(*words, "--out", run)
    assert code == 0, err
    if state == "stopped":
        (run / "status.json").write_text(
            json.dumps({"state": "stopped", "step": 0, "code": 143, "checkpoint": ""})
        )
    before = contents(run)

    def fail(*_, **__):
        raise HealthError("it failed before its first step")

    with monkeypatch.context() as patch:
        patch.setattr("ssl_seg.engine.loop.fit", fail)
        code, _, err = cli(command, *ON_TINY, "--resume", "--out", run)
        assert code == 5 and "it failed before its first step" in err
    refused = [(["--lr", "0.5"], 2), (["--backbone", f"{TINY}:NoSuchBackbone"], 2), (["--seed", "3"], 2)]
    refused += [(["--init", tmp_path / "missing.pth"], 2)] if command != "train" else []
    for flags, expected in refused:
        code, _, err = cli(command, *ON_TINY, "--resume", "--out", run, *flags)
        assert code == expected, err
    assert cli(*words, "--out", run)[0] == 9
    assert contents(run) == before
    assert "it failed before its first step" in (run / "run.log").read_text()


def test_a_start_that_fails_in_a_folder_of_a_stopped_start(cli, tmp_path):
    """It was stopped while images were read: its word stays until there is a step to tell of."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text('{"state": "stopped", "step": 0, "code": 143, "checkpoint": ""}')
    before = contents(run)
    code, _, err = cli(*COMMANDS["classify"], *COMMON, "--init", tmp_path / "missing.pth", "--out", run)
    assert code == 4, err
    assert contents(run) == before
    assert cli(*COMMANDS["classify"], *COMMON, "--out", run)[0] == 0


def test_a_first_start_that_fails_says_so(cli, tmp_path):
    run = tmp_path / "run"
    code, _, _ = cli(*COMMANDS["classify"], *COMMON, "--init", tmp_path / "missing.pth", "--out", run)
    assert read_status(run) == {"state": "failed", "step": 0, "code": code, "checkpoint": ""}


def test_the_report_keeps_the_row_of_a_run_whose_resume_was_refused(cli, tmp_path):
    run = tmp_path / "run"
    assert cli(*COMMANDS["classify"], *COMMON, "--out", run)[0] == 0
    assert cli("classify", *ON_TINY, "--resume", "--epochs", "9", "--out", run)[0] == 2
    code, _, err = cli("report", run, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "no run is finished" not in (tmp_path / "page.md").read_text()
    score = json.loads((run / "scores.jsonl").read_text())["val_top1"]
    assert f"{score:.2f}" in (tmp_path / "page.md").read_text()  # of few images
