"""What scripts and other packages lean on stays as it was: files of a run, its settings, exit codes, study keys.

Where a change is meant, `WRITE_GOLDEN=1 python -m pytest tests/test_golden.py` writes the files anew: look at every
line of `git diff tests/golden` then.
Help texts are compared with `docs/reference/commands.md`, public names with `docs/reference/api.md`.
"""

import os
import re
from pathlib import Path

import pytest

from ssl_seg import errors

GOLDEN = Path(__file__).with_name("golden")
SMALL = [
    "--backbone",
    "test_resnet",
    "--image-size",
    "32",
    "--batch-size",
    "4",
    "--epochs",
    "2",
    "--cpu",
    "--precision",
    "fp32",
]
RUNS = {
    "train": ["train", "demo:12", "--probe", "demo:12", *SMALL],
    "classify": ["classify", "demo:12", "--val", "demo:8", "--allow-overlap", *SMALL],
    "segment": [
        *["segment", "demo_masks:4", "--val", "demo_masks:4", "--allow-overlap", "--head", "fcn32s"],
        *["-o", "head.width=16", "--watch", "00003", *SMALL],
    ],
}
CODES = {
    "SslSegError": 1,
    "UsageError": 2,
    "DataError": 3,
    "WeightsError": 4,
    "HealthError": 5,
    "ResourceError": 6,
    "PluginError": 7,
    "DistributedError": 8,
    "OutputInUseError": 9,
    "RankError": 8,  # the names of version 0.1.0
    "OccupiedError": 9,
}
STUDY = """
seeds = [0, 1]
out = "work"

[defaults.classify]
epochs = 2

[stages.pre]
command = "train"
data = "demo:12"
epochs = 3
backbone = "resnet10t"
seeds = [0]

[stages.fine]
command = "classify"
train = "demo:12"
init = "@pre"
lr = 0.01

[stages.frozen]
command = "classify"
train = "demo:12"
init = "@pre"
freeze = true
"""


def golden(file, text):
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def told(folder):
    """The files of a run, and its settings without what depends on the machine."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    settings = (folder / "run.toml").read_text()
    settings = re.sub(r"(?m)^(device|python|ssl_seg|torch|torchvision|timm) = .*$", r'\1 = "..."', settings)
    return "\n".join(names) + "\n\n" + settings


@pytest.mark.parametrize("name", RUNS)
def test_a_run_leaves_these_files_and_settings(cli, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*RUNS[name], "--out", "run")
    assert code == 0, err
    golden(GOLDEN / f"run-{name}.txt", told(tmp_path / "run"))


def test_exit_codes():
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    kinds = {name: kind for name, kind in kinds.items() if issubclass(kind, errors.SslSegError)}
    assert kinds.pop("Stopped")(15).code == 143
    assert kinds.pop("Interrupted", None) is None
    assert {name: kind.code for name, kind in kinds.items()} == CODES


def test_finished_jobs_of_a_study_are_recognised(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(STUDY)
    code, shown, err = cli("study", "study.toml", "--dry-run")
    assert code == 0, err
    keys = re.findall(r"\b(?:train|classify)-[0-9a-f]{12}\b", shown)
    golden(GOLDEN / "study-keys.txt", "\n".join(keys) + "\n")
