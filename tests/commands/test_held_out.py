"""`--val 0.2`: a validation share of one folder, recorded, and the same for every run on the same images."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_seg
from ssl_seg import Arrays, Linear, Model
from ssl_seg.testing import TinyBackbone
from ssl_seg.utils.toml import read_toml

SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 8, "--cpu"]


@pytest.fixture
def patients(tmp_path):
    """Class folders with a folder per patient, and one picture that is there twice."""
    random = np.random.default_rng(0)
    root = tmp_path / "scans"
    for name in ("healthy", "ill"):
        for index in range(12):
            folder = root / name / f"patient{index % 6}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    shutil.copy(root / "ill" / "patient0" / "0.png", root / "ill" / "patient1" / "copy.png")
    return root


def listed(run):
    return [line.split(",")[0] for line in (run / "val.csv").read_text().splitlines()[1:]]


def test_the_same_images_for_every_seed_and_what_they_measure_is_measured_again(cli, patients, tmp_path):
    runs = [tmp_path / "one", tmp_path / "two"]
    for seed, run in enumerate(runs):
        code, _, err = cli("classify", patients, "--val", 0.25, *SMALL, "--seed", seed, "--out", run)
        assert code == 0, err
    assert "of 25 images of" in err and "stratified" in err
    held = listed(runs[0])
    assert held == listed(runs[1]) and 5 <= len(held) <= 8
    same = [name for name in held if name.endswith(("ill/patient0/0.png", "copy.png"))]
    assert len(same) in (0, 2)
    record = read_toml(runs[0] / "run.toml")["record"]
    assert record["val"]["images"] == len(held) and record["train"]["images"] == 25 - len(held)
    assert record["val"]["cut"] == "0.25 of train, seed 0, group None"
    code, out, err = cli("evaluate", runs[0], runs[0] / "val.csv", *SMALL[-1:])
    assert code == 0, err
    result = json.loads((runs[0] / "result.json").read_text())
    assert f"{result['last']['top1']:.4f}" in out + err


def test_groups_are_held_out_whole_and_a_resumed_run_has_the_same(cli, patients, tmp_path):
    run = tmp_path / "run"
    words = [
        "classify",
        patients,
        "--val",
        0.3,
        "-o",
        "val.group=-1",
        "-o",
        "val.seed=3",
        *SMALL,
        "--out",
        run,
    ]
    code, _, err = cli(*words)
    assert code == 0, err
    held = listed(run)
    groups = {name.split("/")[-2] for name in held}
    assert len(held) == sum(len(list(patients.rglob(f"{group}/*.png"))) for group in groups)
    assert cli("classify", "--resume", "--out", run)[0] == 0
    assert listed(run) == held
    code, _, err = cli(
        "classify", patients, "--val", 0.5, *SMALL, "-o", "val.group=-1", "--resume", "--out", run
    )
    assert code == 2 and "are not those the run was started with" in err


def test_masks_are_cut_too_and_label_subsets_are_of_the_rest(cli, tmp_path):
    words = ["segment", "demo_masks:24", "--val", 0.25, *SMALL]
    code, _, err = cli(*words, "--images", 8, "--out", tmp_path / "run")
    assert code == 0, err
    record = read_toml(tmp_path / "run" / "run.toml")["record"]
    held = record["val"]["images"]
    assert record["train"]["images"] == 8 and 4 <= held <= 12
    assert f"training on 8 labeled images of {24 - held}" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--val", 20], "--val 20: a share of TRAIN must be between 0 and 1"),
        (["--val", 0.2, "-o", "val.images=x"], "--val 0.2 has no option 'images'"),
        (["--val", 0.2, "-o", "val.group=patient"], "not listed in a CSV file"),
    ],
)
def test_what_cannot_be_is_refused(cli, patients, tmp_path, words, says):
    code, _, err = cli("classify", patients, *words, *SMALL, "--out", tmp_path / "run")
    assert code == 2 and says in err


def test_objects_too(tmp_path):
    torch.manual_seed(0)
    backbone = TinyBackbone()
    model = Model(backbone, Linear(backbone.channels, backbone.strides, 4))
    random = np.random.default_rng(0)
    data = Arrays(random.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8), np.arange(40) % 4)
    small = {"epochs": 1, "batch_size": 4, "image_size": 16, "cpu": True, "progress": False}
    run = ssl_seg.finetune(model, data, 0.2, out=tmp_path / "run", **small)
    assert read_toml(run.folder / "run.toml")["record"]["val"]["images"] == 8
