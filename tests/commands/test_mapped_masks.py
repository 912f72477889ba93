"""Masks of mapped ids through a whole run: trained, validated, evaluated and predicted as the same classes."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ssl_seg.utils.toml import read_toml

SMALL = ["--backbone", "test_resnet", "--head", "fcn32s", "-o", "head.width=8", "--image-size", 32]
SHORT = [*SMALL, "--epochs", 1, "--batch-size", 4, "--cpu"]
IDS = np.array([0, 7, 8, 26], np.uint8)
MAP = "7:road,8:road,26:car,0:ignore"


@pytest.fixture
def tiles(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3)):
        for index in range(count):
            classes = random.integers(0, 4, (4, 5)).repeat(8, 0).repeat(8, 1)
            folder = tmp_path / "tiles" / split
            folder.mkdir(parents=True, exist_ok=True)
            picture = classes[..., None] * 60 + random.integers(0, 40, (*classes.shape, 3))
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{split}{index}_sat.png")
            Image.fromarray(IDS[classes]).save(folder / f"{split}{index}_mask.png")
    return tmp_path / "tiles"


def miou(text):
    return re.search(r"miou\s+([\d.]+)", text)[1]


def test_a_map_holds_in_the_whole_life_of_a_run(cli, tiles, tmp_path):
    run = tmp_path / "run"
    code, _, err = cli("segment", tiles, "--val", tiles, "-o", f"data.map={MAP}", *SHORT, "--out", run)
    assert code == 0, err
    assert "2 classes: road, car" in err
    assert '"ids": [7, 8]' in read_toml(run / "run.toml")["record"]["train"]["palette"]
    result = json.loads((run / "result.json").read_text())["last"]["miou"]
    assert cli("segment", "--resume", "--out", run)[0] == 0
    code, out, err = cli("evaluate", run, tiles, "--cpu")  # the run knows the ids
    assert code == 0, err
    assert float(miou(out)) == pytest.approx(result, abs=1e-4)
    for flags in ([], ["--indices"]):
        masks = tmp_path / f"masks{len(flags)}"
        assert cli("predict", run, tiles / "val", "--out", masks, *flags, "--cpu")[0] == 0
        code, out, err = cli("evaluate", masks, tiles / "val", "-o", f"data.map={MAP}")
        assert code == 0, err
        assert float(miou(out)) == pytest.approx(result, abs=1e-4)
    for path in masks.glob("*.png"):
        Image.fromarray(IDS[[1, 3]][np.asarray(Image.open(path))]).save(path)
    code, _, err = cli("evaluate", masks, tiles / "val", "-o", f"data.map={MAP}")
    assert code == 3 and "not one of the class indices 0 to 1" in err


def test_a_share_of_masks_is_listed_for_evaluate(cli, tiles, tmp_path):
    run = tmp_path / "run"
    words = ["segment", tiles / "train", "--val", 0.25, "-o", f"data.map={MAP}", *SHORT, "--out", run]
    code, _, err = cli(*words)
    assert code == 0, err
    result = json.loads((run / "result.json").read_text())["last"]["miou"]
    code, out, err = cli("evaluate", run, run / "val.csv", "--cpu")
    assert code == 0, err
    assert float(miou(out)) == pytest.approx(result, abs=1e-4)
