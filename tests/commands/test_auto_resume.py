"""`--auto-resume`: the same command starts a run, and resumes it."""

import shutil

import pytest
from safetensors.torch import load_file

import ssl_seg
from ssl_seg.errors import UsageError
from ssl_seg.utils.toml import read_toml

SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu", "--ssl", "simclr"]
LONG = ["train", "demo:16", *SHORT, "--epochs", 2, "--save-every", 1]


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture
def run(cli, tmp_path):
    """A run of four steps that has lost its last checkpoint."""
    folder = tmp_path / "run"
    code, _, err = cli(*LONG, "--lr", 0.01, "--auto-resume", "--out", folder)
    assert code == 0, err
    assert checkpoints(folder)[-1] == "step-000004"
    shutil.rmtree(folder / "checkpoints" / "step-000004")
    return folder


@pytest.mark.parametrize("out_first", [True, False])
def test_a_run_with_a_checkpoint_resumes_with_its_settings(cli, run, out_first):
    """Those that are not given again are the run's own, as with --resume."""
    weights = load_file(run / "backbone.safetensors")
    (run / "backbone.safetensors").unlink()
    given = ["--out", run], ["--auto-resume"]
    code, _, err = cli(*LONG, *given[not out_first], *given[out_first])
    assert code == 0, err
    assert read_toml(run / "run.toml")["lr"] == 0.01
    again = load_file(run / "backbone.safetensors")
    assert all((weights[name] == again[name]).all() for name in weights)


def test_other_settings_are_refused_as_with_resume(cli, run):
    code, _, err = cli(*LONG, "--lr", 0.02, "--auto-resume", "--out", run)
    assert code == 2 and "lr: was 0.01, now 0.02" in err


def test_what_ended_before_its_first_checkpoint_starts_again(cli, run):
    shutil.rmtree(run / "checkpoints")
    for path in run.iterdir():
        if path.name not in ("run.toml", "run.log", "status.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, _, err = cli(*LONG, "--lr", 0.02, "--auto-resume", "--out", run)
    assert code == 0, err
    assert read_toml(run / "run.toml")["lr"] == 0.02


def test_the_folder_must_be_named(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*LONG, "--auto-resume")
    assert code == 2 and "--auto-resume needs --out" in err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UsageError, match="--auto-resume needs --out"):
        ssl_seg.train("demo:16", backbone="test_resnet", auto_resume=True)
