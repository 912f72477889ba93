"""`pseudo-label`: which predictions become labels, and that the folder is a data set."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_seg
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.weights.load import load
from ssl_seg.weights.model_file import save_model

CLASSES = ("meadow", "sea", "wood")
THRESHOLD = 0.5


@pytest.fixture
def run(trained, tmp_path):
    """`run("segment")`: a model whose confidences differ; it cannot predict wood."""

    def make(task):
        folder = trained(task, CLASSES)
        model, metadata = load(folder)
        metadata["exclude"] = ["wood"]
        chance = torch.Generator().manual_seed(1)
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter, std=2.0, generator=chance)
        bias = list(model.head.parameters())[-1]
        bias.data.zero_()
        with torch.no_grad():  # classes are about as frequent as each other
            logits = model(2.0 * torch.rand(16, 3, 16, 16, generator=chance) - 1.0)
        bias.data -= logits.transpose(0, 1).flatten(1).mean(dim=1).nan_to_num(neginf=0.0)
        save_model(folder / "model.safetensors", model, metadata)
        return folder

    return make


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Twelve images in `scenes`, two sizes, one in a subfolder that is called after a split."""
    chance = np.random.default_rng(0)
    names = [*(f"{index}.png" for index in range(8)), *(f"train/{index}.jpg" for index in range(8, 12))]
    for index, name in enumerate(names):
        path = tmp_path / "scenes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((40, 32 + 8 * (index % 2)), Image.Resampling.NEAREST).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "scenes"


@pytest.fixture
def labels(cli, scenes, tmp_path):
    """`labels(run, "--threshold", 0.5)`: the folder of the labels, and what is printed."""

    def write(run, *words, images=scenes, out="labels", code=0):
        flags = ["--cpu", "--precision", "fp32", *words]
        found, text, err = cli("pseudo-label", run, images, "--out", tmp_path / out, *flags)
        assert found == code, err
        return (tmp_path / out, text) if code == 0 else err

    return write


def predicted(cli, run, scenes, tmp_path):
    """(label, confidence) of each image by `ssl-seg predict`."""
    out = tmp_path / "predicted.csv"
    assert cli("predict", run, scenes, "--out", out, "--cpu", "--precision", "fp32")[0] == 0
    with out.open(newline="") as file:
        return {row["filename"]: (row["label"], float(row["confidence"])) for row in csv.DictReader(file)}


def test_confident_images_get_the_label_that_predict_gives_them(run, labels, cli, scenes, tmp_path):
    model = run("classify")
    known = predicted(cli, model, scenes, tmp_path)
    threshold = sorted(confidence for _, confidence in known.values())[5]
    out, text = labels(model, "--threshold", threshold - 1e-4)
    dataset = csv_labels(str(out), "train")
    found = {dataset.file(row): dataset.classes[target] for row, (_, target) in enumerate(dataset.samples)}
    wanted = {name: label for name, (label, confidence) in known.items() if confidence >= threshold}
    assert len(wanted) == 7
    assert {(out / file).resolve(): label for file, label in found.items()} == {
        (scenes / name).resolve(): label for name, label in wanted.items()
    }
    record = json.loads((out / "result.json").read_text())
    assert record["images"] == 12 and record["labeled"] == 7 and list(record["classes"]) == ["meadow", "sea"]
    assert sum(each["predicted"] for each in record["classes"].values()) == 12
    assert sum(each["labeled"] for each in record["classes"].values()) == 7
    assert "7 of 12 images labeled" in text and "ssl-seg classify TRAIN --val VAL --extra" in text


def test_a_share_of_each_class_is_labelled_however_unsure_the_model_is(run, labels, cli, scenes, tmp_path):
    model = run("classify")
    known = predicted(cli, model, scenes, tmp_path)
    out, _ = labels(model, "--threshold", 1, "--per-class-share", 0.4)
    dataset = csv_labels(str(out), "train")
    found = {(out / name).resolve() for name, _ in dataset.samples}
    for label in CLASSES[:2]:
        ranked = sorted((c, scenes / name) for name, (each, c) in known.items() if each == label)[::-1]
        count = -(-4 * len(ranked) // 10)
        assert 0 < count < len(ranked)
        assert {path for _, path in ranked[:count]} <= found
        assert not {path for _, path in ranked[count:]} & found


def test_unsure_pixels_have_no_class_and_images_lie_beside_their_masks(run, labels, scenes):
    model = run("segment")
    out, text = labels(model, "--threshold", THRESHOLD + 0.3)
    dataset = mask_pairs(str(out), "train")
    assert list(dataset.classes) == list(CLASSES) and dataset.exclude == ["wood"] and len(dataset) == 12
    network, metadata = load(model)
    counts = np.zeros((2, 256), dtype=int)
    for index, (name, _) in enumerate(dataset.samples):
        mask = dataset.mask(index, 1 << 16)
        source = scenes / name.replace("_sat", "")
        assert (out / "train" / name).read_bytes() == source.read_bytes()
        pixels = np.array(Image.open(source).convert("RGB")).astype(np.float32) / 255
        images = torch.from_numpy((pixels - metadata["mean"][0]) / metadata["std"][0])
        with torch.no_grad():
            logits = network(images.permute(2, 0, 1)[None].float())[0].numpy().astype(float)
        powers = np.exp(logits)
        probabilities = powers / powers.sum(axis=0)
        best, confidence = probabilities.argmax(axis=0), probabilities.max(axis=0)
        near = abs(confidence - THRESHOLD - 0.3) < 1e-3  # float16
        wanted = np.where(confidence >= THRESHOLD + 0.3, best, 255)
        np.testing.assert_array_equal(mask[~near], wanted[~near])
        assert (wanted == 255).any() and (wanted != 255).any()
        counts += [np.bincount(each.ravel(), minlength=256) for each in (best, mask)]
    found = json.loads((out / "result.json").read_text())["classes"]
    for index, name in enumerate(CLASSES[:2]):
        assert [found[name]["predicted"], found[name]["labeled"]] == counts[:, index].tolist()
    assert f"{counts[0, 0]:,}" in text and "predicted pixels" in text


def test_a_share_of_the_pixels_of_each_class_is_labelled(run, labels):
    model = run("segment")
    out, _ = labels(model, "--threshold", 1, "--per-class-share", 0.25)
    for each in json.loads((out / "result.json").read_text())["classes"].values():
        assert each["labeled"] >= 0.25 * each["predicted"], each
        assert each["labeled"] < 0.3 * each["predicted"] or each["threshold"] > 0.999


def test_an_image_without_a_confident_pixel_is_left_out(run, labels, scenes):
    model = run("segment")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(scenes / "dark.png")
    network, _ = load(model)
    with torch.no_grad():
        dark = network(torch.full((1, 3, 40, 40), -1.0)).softmax(dim=1).amax()
    threshold = float(dark) + 0.01
    out, _ = labels(model, "--threshold", threshold)
    assert not list(out.rglob("dark*")) and list(out.rglob("0_sat.png"))
    labeled = json.loads((out / "result.json").read_text())["labeled"]
    assert 0 < labeled == len(list(out.rglob("*_mask.png"))) == len(list(out.rglob("*_sat.*"))) < 13


def test_nothing_is_overwritten_and_nothing_is_left_of_what_fails(run, labels, scenes, tmp_path):
    model = run("segment")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.txt").write_text("mine")
    assert "already exists" in labels(model, code=9)
    assert (tmp_path / "labels" / "mine.txt").read_text() == "mine"
    err = labels(model, "--threshold", 1, out="none", code=3)
    assert (
        "none of 12 images has a prediction of confidence 1 or more; the highest is 0.9" in err
        and "--per-class-share" in err
    )
    assert "--threshold must be from 0 to 1" in labels(model, "--threshold", 90, out="none", code=2)
    assert "no image file" in labels(model, images="demo:4", out="none", code=2)
    (scenes / "broken.png").write_text("no image")
    assert "cannot read broken.png" in labels(model, out="none", code=3)
    assert sorted(path.name for path in tmp_path.glob("*none*")) == [], "not even in part"
    out, _ = labels(model, "--bad-images", "skip", "--threshold", THRESHOLD, out="some")
    assert json.loads((out / "result.json").read_text())["images"] == 12


def test_two_images_of_one_name_are_told(run, labels, scenes):
    Image.open(scenes / "0.png").save(scenes / "0.bmp")
    assert "would have the same output" in labels(run("segment"), code=2)


def test_confidences_are_calibrated_as_in_the_run(run, labels):
    model = run("classify")
    (model / "result.json").write_text(json.dumps({"calibration": {"epoch": 1, "temperature": 20.0}}))
    err = labels(model, "--threshold", 0.75, code=3)
    assert "none of 12 images" in err and "temperature 20" in err


def test_from_python_the_numbers_are_in_the_result(run, scenes, tmp_path):
    model = run("classify")
    found = ssl_seg.pseudo_label(model, str(scenes), tmp_path / "labels", threshold=THRESHOLD, cpu=True)
    assert found.path == tmp_path / "labels" and found.images == 12
    assert found.count == sum(each["labeled"] for each in found.classes.values()) > 0
