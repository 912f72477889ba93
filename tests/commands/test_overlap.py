"""Images that are in both sets are an error, whatever else is in the sets, unless it is allowed."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHORT = ["--image-size", 16, "--batch-size", 8, "--epochs", 1, "--cpu"]
ON_TINY = ["--backbone", "test_resnet", *SHORT]


@pytest.fixture
def folder(tmp_path):
    """`folder("train", 16, size=20)` writes images of two classes, none like another; returns the folder."""
    chance = np.random.default_rng(0)

    def write(name, count, *, size=20):
        for index in range(count):
            path = tmp_path / name / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(chance.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        return tmp_path / name

    return write


def share(one, two, *names):
    """Put images of one folder into another, as other files: BMP holds the same pixels."""
    for name in names:
        with Image.open(one / name) as image:
            image.save(two / Path(name).with_suffix(".bmp"))


@pytest.fixture
def trained(cli, tmp_path):
    out = tmp_path / "ssl"
    code, _, err = cli("train", "demo:16", *ON_TINY, "--out", out)
    assert code == 0, err
    return out


def test_images_in_both_are_refused(folder, cli, tmp_path):
    train, val = folder("train", 16), folder("val", 4)
    share(train, val, "a/2.png")
    words = ["classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r"]
    code, _, err = cli(*words)
    assert code == 3 and "1 of 5 validation images are also training images" in err
    assert "where: a/2.bmp is a/2.png" in err and "--allow-overlap" in err
    assert not (tmp_path / "r" / "run.toml").exists(), "before anything is trained"
    code, _, err = cli(*words, "--allow-overlap")
    assert (
        code == 0 and "warning: 1 of 5 validation images are also training images: a/2.bmp is a/2.png" in err
    )
    settings = tomllib.loads((tmp_path / "r" / "run.toml").read_text())
    assert settings["allow_overlap"] is True
    code, _, err = cli("classify", "--resume", "--out", tmp_path / "r")
    assert code == 0, err


def test_a_few_are_named(folder, cli, tmp_path):
    train, val = folder("train", 16), folder("val", 4)
    share(train, val, *(f"a/{index}.png" for index in range(0, 10, 2)))
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and "5 of 9" in err and "and 2 more" in err and err.count(" is a/") == 3


def test_other_images_beside_them_hide_nothing(folder, cli, tmp_path):
    """The two sets have canvases of unequal sides: one holds larger images than the other."""
    train, val = folder("train", 16, size=20), folder("val", 4, size=12)
    share(train, val, "b/3.png")
    for name, size in (("train", 60), ("val", 30)):
        Image.new("RGB", (size, size), "blue").save(tmp_path / name / "a" / f"large-{name}.png")
    share(val, train, "a/0.png")
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and "2 of 6 validation images" in err
    assert "b/3.bmp is b/3.png" in err and "a/0.png is a/0.bmp" in err


def test_large_images_in_both_are_found(folder, cli, tmp_path):
    """They are reduced on both sides."""
    train, val = folder("train", 16), folder("val", 4)
    for path in (train / "a" / "x.png", val / "b" / "y.png"):
        pixels = np.random.default_rng(7).integers(0, 256, (90, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and "b/y.png is a/x.png" in err


def test_probes_refuse_what_they_learn_from(folder, cli, trained):
    data = folder("data", 16)
    code, out, err = cli("evaluate", trained, data, "--train", data, "--cpu")
    assert code == 3 and f"16 of 16 images of {data} are also in {data}" in err and "knn" not in out
    code, out, err = cli("evaluate", trained, data, "--train", data, "--allow-overlap", "--cpu")
    assert code == 0 and "knn" in out and "warning: 16 of 16" in err
    code, out, err = cli("evaluate", trained, data, "--train", folder("other", 16), "--cpu")
    assert code == 0 and "warning" not in err, err


def test_twins_on_both_sides_of_a_probe_are_told_of(folder, cli, trained, tmp_path):
    data = folder("data", 20)
    code, _, err = cli("evaluate", trained, data, "--probe", "knn", "--cpu")
    assert code == 0 and "held-out" not in err
    share(data, data, *(f"{'ab'[index % 2]}/{index}.png" for index in range(20)))
    code, _, err = cli("evaluate", trained, data, "--probe", "knn", "--cpu")
    assert code == 0 and "of 8 held-out images are also training images of the probe" in err
    code, _, err = cli("train", "demo:16", "--probe", data, *ON_TINY, "--out", tmp_path / "p")
    assert code == 0 and "of 8 held-out images are also training images of the probe" in err


def test_probe_images_may_be_trained_on(folder, cli, tmp_path):
    """Their labels are not seen. It is said, for who wants to know."""
    data, probe = folder("data", 16), folder("probe", 8)
    words = ["train", data, "--probe", probe, *ON_TINY, "--out"]
    code, _, err = cli(*words, tmp_path / "a")
    assert code == 0 and "probe: 2 of 8 images" in err and "trained on" not in err
    share(data, probe, "a/0.png", "b/1.png")
    code, _, err = cli(*words, tmp_path / "b")
    assert code == 0 and "2 of them are trained on, without labels" in err


def test_masks(cli, tmp_path):
    """Of segmentation it is the images that count."""
    chance = np.random.default_rng(0)
    for name, count in (("train", 8), ("val", 3)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.fromarray(chance.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(
                tmp_path / name / f"{index}_sat.png"
            )
            Image.fromarray(chance.integers(0, 2, (32, 48), dtype=np.uint8)).save(
                tmp_path / name / f"{index}_mask.png"
            )
    words = [
        "segment",
        tmp_path / "train",
        "--val",
        tmp_path / "val",
        "--backbone",
        "test_resnet",
        "--head",
        "smp:fpn",
    ]
    words += [*SHORT, "--image-size", 32, "-o", "data.palette=2", "--out", tmp_path / "r"]
    (tmp_path / "val" / "1_sat.png").write_bytes((tmp_path / "train" / "5_sat.png").read_bytes())
    code, _, err = cli(*words)
    assert code == 3 and "1 of 3 validation images are also training images" in err
    assert "1_sat.png is 5_sat.png" in err
    code, _, err = cli(*words, "--allow-overlap")
    assert code == 0 and "warning: 1 of 3" in err, err
