"""The folder above both: each flag finds its own split, under its usual names, or says what is missing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
QUICK = ["--backbone", f"{TINY}:TinyBackbone", "--image-size", 16, "--batch-size", 2, "--epochs", 1, "--cpu"]
MASKS = [*QUICK, "--image-size", 32, "--head", "fcn32s", "-o", "head.width=8", "-o", "data.palette=2"]
RANDOM = np.random.default_rng(0)


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)


def classes(root, *splits):
    for split in splits:
        for index in range(4):
            photo(root / split / "ab"[index % 2] / f"{split}{index}.png")
    return root


def masks(root, *splits):
    for split in splits:
        for index in range(4):
            photo(root / split / f"{split}{index}_sat.png")
            mask = Image.fromarray(RANDOM.integers(0, 2, (16, 16), dtype=np.uint8))
            mask.save(root / split / f"{split}{index}_mask.png")
    return root


def test_segment_measures_on_the_validation_split_of_roboflow(cli, tmp_path):
    root = masks(tmp_path / "d", "train", "valid", "test")
    code, _, err = cli("segment", root, "--val", root, *MASKS, "--out", tmp_path / "r")
    assert code == 0, err
    assert "on 4 validation images" in err and "also training images" not in err


@pytest.mark.parametrize(("command", "write"), [("segment", masks), ("classify", classes)])
def test_validation_images_are_never_those_of_training(cli, tmp_path, command, write):
    root = write(tmp_path / "d", "train")
    flags = MASKS if command == "segment" else QUICK
    code, _, err = cli(command, root, "--val", root, *flags, "--out", tmp_path / "r")
    assert code == 3 and f"{root} has no validation split" in err and f"{root}/train" in err


def test_training_and_testing_are_no_classes(cli, tmp_path):
    root = classes(tmp_path / "d", "Training", "Testing")
    code, _, err = cli("classify", root, "--val", root, *QUICK, "--out", tmp_path / "r")
    assert code == 0 and "4 images, 2 classes" in err
    assert f"warning: {root} has no validation split: using Testing" in err


def test_the_way_out_holds_for_validation_too(cli, tmp_path):
    train, val = classes(tmp_path / "a", "train", "test"), classes(tmp_path / "b", "train", "test")
    words = ["classify", train, "--val", val, *QUICK, "-o", "data.splits=false", "--out", tmp_path / "r"]
    code, _, err = cli(*words)
    assert code == 0 and "8 images, 2 classes" in err and "on 8 validation images" in err


def test_pre_training_says_that_it_takes_images_of_test(cli, tmp_path):
    root = classes(tmp_path / "d", "train", "val", "test")
    code, _, err = cli("train", root, *QUICK, "--on-collapse", "ignore", "--out", tmp_path / "r")
    assert code == 0
    assert f"warning: 8 of 12 images are in test/ and val/; all are used. {root}/train excludes them" in err
