"""A study whose stages train, label images, and train on both."""

import json
import tomllib

import pytest
from PIL import Image

from ssl_seg.datasets.demo_masks import DemoMaskDataset
from ssl_seg.reporting.collect import collect

STUDY = """
seeds = [0, 1]
out = "out"
report = false

[defaults.segment]
train = "demo_masks:8"
val = "demo_masks:4"
allow_overlap = true
backbone = "test_resnet"
head = "fcn32s"
o.head.width = 8
image_size = 32
batch_size = 4
epochs = 1
cpu = true

[stages.first]
command = "segment"

[stages.labels]
command = "pseudo-label"
run = "@first"
images = "scenes"
threshold = 0.1
cpu = true

[stages.second]
command = "segment"
extra = "@labels"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "scenes").mkdir()
    demo = DemoMaskDataset("train", 6)
    for index in range(6):
        Image.fromarray(demo.image(index, 64)[0]).save(tmp_path / "scenes" / f"{index}.png")
    (tmp_path / "s.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_label_and_train_again(cli, folder):
    code, out, err = cli("study", "s.toml")
    assert code == 0, err
    stages = json.loads((folder / "out" / "study.json").read_text())["stages"]
    labels = {seed: folder / "out" / name for seed, name in stages["labels"]["runs"].items()}
    assert len(set(labels.values())) == 2, "each seed labels with its own model"
    for seed, labeled in labels.items():
        record = json.loads((labeled / "result.json").read_text())
        assert record["run"] == f"out/{stages['first']['runs'][seed]}"
        assert record["labeled"] > 0
        settings = tomllib.loads((folder / "out" / stages["second"]["runs"][seed] / "run.toml").read_text())
        assert settings["extra"] == f"out/{labeled.name}"
    table = (folder / "out" / "table.txt").read_text()
    assert "second" in table
    assert "labels" not in table
    assert [stage.stage.name for stage in collect([folder / "out"]).stages] == ["first", "second"]

    times = {path: path.stat().st_mtime_ns for path in folder.glob("out/*/result.json")}
    code, out, err = cli("study", "s.toml")
    assert (code, err.count(": finished in")) == (0, 6), out + err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("out/*/result.json")} == times

    code, out, _ = cli("study", "s.toml", "--dry-run")
    assert code == 0
    assert "0 of 6 runs remaining" in out


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("threshold = 0.1", 'threshold = "high"', "'threshold'"),
        ("threshold = 0.1", "epochs = 2", "unknown key 'epochs'"),
        ('run = "@first"', 'run = "@frist"', "did you mean 'first'"),
        ("[stages.second]", '[table]\nrows = ["labels"]\n[stages.second]', "it has no score for a table"),
    ],
)
def test_mistakes_are_told_before_anything_runs(cli, folder, old, new, says):
    (folder / "s.toml").write_text(STUDY.replace(old, new))
    code, _, err = cli("study", "s.toml", "--dry-run")
    assert code == 2
    assert says in err
    assert "s.toml, line" in err
