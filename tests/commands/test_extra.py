"""`--extra`: more training images with labels that count less, and the same validation."""

import json
import shutil
import tomllib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.numpy import load_file

import ssl_seg
from ssl_seg.base import IGNORE_INDEX, Model
from ssl_seg.data.arrays import Arrays
from ssl_seg.heads.fcn32s import FCN32s
from ssl_seg.heads.linear import Linear
from ssl_seg.tasks.classification import ClassificationTask
from ssl_seg.tasks.segmentation import SegmentationTask
from ssl_seg.testing import TinyBackbone

ON_TINY = ["--backbone", "test_resnet", "--image-size", 16, "--batch-size", 4, "--cpu", "--precision", "fp32"]
MASKS = ["--head", "pixels", "--backbone", "tiny", "--image-size", 32, "--batch-size", 4, "--cpu"]


def noise(path, seed, size=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """`train`, `val` and `more`: 8, 4 and 12 images of the classes a and b, none like another."""
    for offset, (name, count) in enumerate({"train": 8, "val": 4, "more": 12}.items()):
        for index in range(count):
            noise(tmp_path / name / "ab"[index % 2] / f"{index}.png", 100 * offset + index)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(cli, out, *words, code=0, epochs=2):
    command = ["classify", "train", "--val", "val", *ON_TINY, "--epochs", epochs, "--out", out, *words]
    found, _, err = cli(*command)
    assert found == code, err
    return err


def weights_of(run):
    return load_file(run / "model.safetensors")


def same(one, two):
    first, second = weights_of(one), weights_of(two)
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_they_are_trained_on_and_validation_is_unchanged(folders, cli):
    err = train(cli, "run", "--extra", "more", "--extra-weight", 0.5)
    assert "more: 12 images of weight 0.5 besides 8 labeled; a: 6, b: 6" in err
    record = tomllib.loads((folders / "run/run.toml").read_text())
    assert record["extra"] == "more" and record["extra_weight"] == 0.5
    assert record["record"]["train"]["images"] == 20 and record["record"]["val"]["images"] == 4
    assert record["record"]["train"]["labeled"] == 8 and record["record"]["train"]["extra"] == 12
    assert record["record"]["steps_per_epoch"] == 5
    assert json.loads((folders / "run/result.json").read_text())["images"] == 4


def test_the_weight_makes_a_difference_and_one_is_the_default(folders, cli):
    train(cli, "default", "--extra", "more")
    train(cli, "one", "--extra", "more", "--extra-weight", 1)
    train(cli, "half", "--extra", "more", "--extra-weight", 0.5)
    assert same(folders / "default", folders / "one") and not same(folders / "one", folders / "half")


def test_a_resumed_run_is_the_same_to_the_bit(folders, cli, monkeypatch):
    words = ["--extra", "more", "--extra-weight", 0.25, "--save-every", 3]
    train(cli, "whole", *words)
    train(cli, "cut", *words)
    for name in ("model.safetensors", "backbone.safetensors", "result.json", "status.json"):
        (folders / "cut" / name).unlink()
    for path in sorted((folders / "cut/checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    code, _, err = cli("classify", "--resume", "--out", "cut")
    assert code == 0, err
    assert same(folders / "whole", folders / "cut")
    (folders / "more").rename(folders / "moved")
    code, _, err = cli("classify", "--resume", "--out", "cut", "--extra", "moved")
    assert code == 0, err
    noise(folders / "moved/a/0.png", 999)
    code, _, err = cli("classify", "--resume", "--out", "cut", "--extra", "moved")
    assert code == 2 and "the images of 'train' are not those the run was started with" in err


def test_images_that_are_validation_or_labelled_images_are_left_out(folders, cli):
    for source, name in (
        ("val/a/0.png", "b/50.bmp"),
        ("train/b/1.png", "a/51.bmp"),
        ("train/a/2.png", "a/52.bmp"),
    ):
        Image.open(folders / source).save(folders / "more" / name)
    err = train(cli, "run", "--extra", "more")
    assert "more: 1 of 15 images left out, as validation images" in err
    assert "more: 2 of 15 images left out, as labeled training images" in err
    record = tomllib.loads((folders / "run/run.toml").read_text())["record"]["train"]
    assert (record["labeled"], record["extra"]) == (8, 12)
    err = train(cli, "none", "--extra", "val", code=3)
    assert "no image of val is left" in err


def test_what_does_not_go_together_is_told_before_training(folders, cli):
    err = train(cli, "r", "--extra", "mroe", code=3)
    assert "no such file or folder: mroe" in err
    assert "class 'c' of other does not occur" in _with_another_class(folders, cli)
    assert "--extra-weight is of the images of --extra" in train(cli, "r", "--extra-weight", 0.5, code=2)
    assert "must be above 0" in train(cli, "r", "--extra", "more", "--extra-weight", 0, code=2)
    err = train(cli, "r", "--extra", "more", "--extra-weight", 0.5, "--mixup", 0.2, code=2)
    assert "--mixup 0.2" in err and "--extra-weight 1" in err
    assert not (folders / "r" / "run.toml").exists()


def _with_another_class(folders, cli):
    noise(folders / "other/c/0.png", 1)
    noise(folders / "other/a/1.png", 2)
    return train(cli, "r", "--extra", "other", code=3)


def test_features_of_a_frozen_backbone_have_weights_too(folders, cli):
    train(cli, "one", "--extra", "more", "--freeze")
    train(cli, "half", "--extra", "more", "--freeze", "--extra-weight", 0.5)
    assert not same(folders / "one", folders / "half")


def test_a_csv_of_pseudo_labels_is_read_as_pseudo_label_writes_it(folders, cli):
    train(cli, "first")
    words = ["--threshold", 0, "--out", "labels", "--cpu"]
    code, out, err = cli("pseudo-label", "first", "flat_folder:more", *words)
    assert code == 0 and "12 of 12 images labeled" in out, err
    assert "12 images besides 8 labeled" in train(cli, "second", "--extra", "labels")


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """`tiles/train`, `tiles/val` and `free`, without masks; half of an image is bright, and of class 1."""
    for offset, (folder, count) in enumerate({"tiles/train": 4, "tiles/val": 2, "free": 4}.items()):
        for index in range(count):
            chance = np.random.default_rng(100 * offset + index)
            mask = np.zeros((40, 48), np.uint8)
            mask[:, chance.integers(8, 40) :] = 1
            pixels = chance.integers(0, 60, (40, 48, 3)) + 150 * mask[..., None]
            path = tmp_path / folder / f"{index}_sat.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            if folder != "free":
                Image.fromarray(255 * mask).save(path.with_name(f"{index}_mask.png"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_masks_of_pseudo_label_are_trained_on(trained, scenes, cli):
    command = ["segment", "tiles/train", "--val", "tiles/val", *MASKS, "--epochs", 1]
    code, _, err = cli(*command, "--out", "first")
    assert code == 0, err
    code, _, err = cli("pseudo-label", "first", "free", "--per-class-share", 0.5, "--out", "labels", "--cpu")
    assert code == 0, err
    more = ["--extra", "labels", "--extra-weight", 0.5, "--class-weights", "--accumulate", 2]
    code, _, err = cli(*command, *more, "--out", "second")
    assert code == 0 and "labels: 4 images of weight 0.5 besides 4 labeled; background: " in err, err
    record = tomllib.loads((scenes / "second/run.toml").read_text())["record"]["train"]
    assert record["images"] == 8 and record["extra"] == 4 and record["masks"]
    code, _, err = cli(*command, *more[:4], "--loss", "ce+dice", "--out", "third")
    assert code == 2 and "--loss ce+dice" in err


def test_an_image_weighs_as_much_as_its_copies():
    """The loss with weights 2 and 1 is that of a batch in which the first image is there twice."""
    torch.manual_seed(0)
    model = Model(TinyBackbone(), Linear([8, 16], [2, 4], 3)).eval()
    images, targets = torch.randn(3, 3, 16, 16), torch.tensor([0, 2, 1])
    for smoothing in (0.0, 0.1):
        task = ClassificationTask(model, label_smoothing=smoothing).eval()
        weights = torch.tensor([2.0, 1.0, 1.0])
        twice = torch.tensor([0, 0, 1, 2])
        weighted = task([images, targets, weights / weights.mean()])["loss"]
        assert weighted.item() == pytest.approx(
            task([images[twice], targets[twice]])["loss"].item(), rel=1e-6
        )


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 3.0])])
def test_pixels_weigh_as_their_images(class_weights):
    torch.manual_seed(0)
    model = Model(TinyBackbone(), FCN32s([8, 16], [2, 4], 2)).eval()
    task = SegmentationTask(model, weights=class_weights).eval()
    images, masks = torch.randn(2, 3, 32, 32), torch.randint(0, 2, (2, 32, 32))
    masks[0, :9] = IGNORE_INDEX
    weights = torch.tensor([1.6, 0.4])
    found = task([images, masks, weights])["loss"]
    labelled = masks != IGNORE_INDEX
    losses = F.cross_entropy(model(images), masks, class_weights, ignore_index=IGNORE_INDEX, reduction="none")
    pixels = torch.ones(2) if class_weights is None else class_weights
    divisor = pixels[masks[labelled]].sum()
    assert found.item() == pytest.approx(
        ((losses.sum(dim=(1, 2)) * weights).sum() / divisor).item(), rel=1e-5
    )


def test_objects_take_extra_images_too(tmp_path):
    chance = np.random.default_rng(0)

    def images(count):
        return Arrays(chance.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8), np.arange(count) % 2)

    torch.manual_seed(0)
    model = Model(TinyBackbone(), Linear([8, 16], [2, 4], 2))
    settings = {"image_size": 16, "batch_size": 4, "epochs": 1, "cpu": True, "extra_weight": 0.5}
    run = ssl_seg.finetune(
        model, images(8), images(4), extra=images(6), out=tmp_path / "run", progress=False, **settings
    )
    settings = tomllib.loads((run.folder / "run.toml").read_text())
    assert settings["extra"] == "Arrays(6)" and settings["record"]["train"]["extra"] == 6


def test_labelled_images_weigh_more_and_all_weigh_one_on_average(folders, cli, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ssl_seg.workflows.finetune.run_finetuning", lambda task, setup, parts: seen.append(setup)
    )
    train(cli, "run", "--extra", "more", "--extra-weight", 0.25, "--images", 4)
    (setup,) = seen
    weights, rows = setup.data.weights.double(), setup.data.images.sample_indices
    assert len(weights) == 16 and weights.mean().item() == pytest.approx(1.0)
    assert (weights[rows >= 4] / weights[rows < 4].mean()).tolist() == pytest.approx([0.25] * 12)
    names = [setup.data.train.origin(row) for row in rows[weights < 1].tolist()]
    assert sorted(names) == sorted(f"{'ab'[index % 2]}/{index}.png" for index in range(12))
