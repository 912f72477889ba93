"""`--fraction`, `--per-class` and `--images`: training on some of the labelled images."""

import json

import numpy as np
import pytest
import torch

import ssl_seg
from ssl_seg import Arrays, Linear, Model
from ssl_seg.testing import TinyBackbone
from ssl_seg.utils.toml import read_toml

SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 8, "--cpu"]


def test_classify_on_ten_percent(cli, tmp_path):
    words = ["classify", "demo:160", "--val", "demo:40", "--allow-overlap", *SMALL]
    code, _, err = cli(*words, "--fraction", 0.2, "--out", tmp_path / "run")
    assert code == 0, err
    assert "training on 32 labeled images of 160" in err
    settings = read_toml(tmp_path / "run" / "run.toml")
    assert settings["fraction"] == 0.2
    assert settings["record"]["train"]["images"] == 32
    again = ["classify", "--config", tmp_path / "run" / "run.toml", "--out", tmp_path / "again"]
    assert cli(*again)[0] == 0
    repeated = read_toml(tmp_path / "again" / "run.toml")
    assert repeated["record"]["train"] == settings["record"]["train"]  # the same images


def test_segment_on_few_masks_and_resumed(cli, tmp_path):
    words = ["segment", "demo_masks:24", "--val", "demo_masks:8", "--allow-overlap", *SMALL]
    code, _, err = cli(*words, "--images", 8, "--out", tmp_path / "run")
    assert code == 0, err
    assert "training on 8 labeled images of 24" in err
    code, _, err = cli("segment", "--resume", "--out", tmp_path / "run")
    assert code == 0, err
    code, _, err = cli("segment", *words[1:], "--images", 9, "--resume", "--out", tmp_path / "run")
    assert code == 2 and "images" in err


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--fraction", 0.5, "--images", 4], 2, "--fraction and --images exclude each other"),
        (["--fraction", 0], 2, "--fraction must be above 0"),
        (["--images", 1], 3, "1 of 64 images cannot contain every class"),
        (["--images", 65], 3, "there are 64"),
    ],
)
def test_what_cannot_be_is_refused(cli, tmp_path, flags, code, says):
    ended, _, err = cli("classify", "demo:64", *SMALL, *flags, "--out", tmp_path / "run")
    assert ended == code and says in err


def test_objects_too(tmp_path):
    torch.manual_seed(0)
    backbone = TinyBackbone()
    model = Model(backbone, Linear(backbone.channels, backbone.strides, 4))
    random = np.random.default_rng(0)
    data = Arrays(random.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8), np.arange(40) % 4)
    run = ssl_seg.finetune(
        model,
        data,
        out=tmp_path / "run",
        epochs=1,
        batch_size=4,
        image_size=16,
        per_class=2,
        cpu=True,
        progress=False,
    )
    assert read_toml(run.folder / "run.toml")["record"]["train"]["images"] == 8
    assert json.loads((run.folder / "status.json").read_text())["state"] == "finished"
