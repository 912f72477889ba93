"""What `evaluate`, `predict` and `embed` see is what the run saw: its canvas, its precision, its metric's options."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import ssl_seg
from ssl_seg.weights.readers import read_header

SHORT = ["--batch-size", 8, "--epochs", 2, "--cpu"]
ON_TINY = ["--backbone", "test_resnet", "--image-size", 16, *SHORT]
SHAPES = [(40, 30), (30, 90), (90, 30), (64, 64), (20, 200), (12, 50), (100, 80), (33, 66)]


@pytest.fixture
def photographs(tmp_path):
    """`photographs("val", 16)`: smooth images of many shapes, in two classes."""
    chance = np.random.default_rng(0)

    def write(name, count):
        for index in range(count):
            height, width = SHAPES[index % len(SHAPES)]
            coarse = chance.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            path = tmp_path / name / "ab"[index // 2 % 2] / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        return tmp_path / name

    return write


@pytest.fixture
def classified(cli, photographs, tmp_path):
    train, val = photographs("train", 24), photographs("val", 16)

    def go(name, *flags):
        code, _, err = cli("classify", train, "--val", val, *ON_TINY, *flags, "--out", tmp_path / name)
        assert code == 0, err
        return tmp_path / name, val

    return go


def measured(cli, run, data, tmp_path, *flags):
    out = tmp_path / "numbers.json"
    code, _, err = cli("evaluate", run, data, "--cpu", "--out", out, *flags)
    assert code == 0, err
    numbers = json.loads(out.read_text())
    return {key: value for key, value in numbers.items() if key not in ("run", "data", "images")}


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--canvas", 24),
        ("--canvas", 200),
        ("--freeze",),
        ("--precision", "fp32"),
        ("--precision", "bf16"),
    ],
    ids=str,
)
def test_evaluate_gives_the_numbers_of_the_run(classified, cli, tmp_path, flags):
    """Bit for bit, with no other flag than the images."""
    run, val = classified("run", *flags)
    result = json.loads((run / "result.json").read_text())
    last = {key: value for key, value in result["last"].items() if key != "epoch"}
    given = ("--precision", "bf16") if "bf16" in flags else ()
    assert measured(cli, run, val, tmp_path, *given) == last
    best = {key: value for key, value in result["best"].items() if key != "epoch"}
    numbers = measured(cli, run, val, tmp_path, "--which", "best", *given)
    assert {key: numbers[key] for key in best} == best


def test_confidences_are_those_of_the_run(classified, cli, tmp_path, monkeypatch):
    """The numbers of 16 images are coarse; the logits are not."""
    run, val = classified("run", "--canvas", 24)
    seen = {}
    from ssl_seg.workflows import inference as module

    real = module.InferenceSession.logits
    monkeypatch.setattr(
        module.InferenceSession, "logits", lambda self, images: seen.setdefault("logits", real(self, images))
    )
    measured(cli, run, val, tmp_path)
    with (run / "val_predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    sure = seen["logits"].softmax(dim=1).max(dim=1).values
    assert [f"{value:.6f}" for value in sure.tolist()] == [line["confidence"] for line in lines]


def test_options_of_the_metric_are_those_of_the_run(cli, tmp_path):
    """A lenient mean IoU stays lenient, unless a flag says otherwise."""
    words = ["demo_masks:8", "--val", "demo_masks:8", "--head", "smp:fpn", "--backbone", "test_resnet"]
    words += ["--image-size", 32, *SHORT, "--exclude", "background", "-o", "metric.lenient=true"]
    code, _, err = cli("segment", *words, "--out", tmp_path / "run")
    assert code == 0, err
    last = json.loads((tmp_path / "run" / "result.json").read_text())["last"]
    lenient = measured(cli, tmp_path / "run", "demo_masks:8", tmp_path)
    strict = measured(cli, tmp_path / "run", "demo_masks:8", tmp_path, "-o", "metric.lenient=false")
    assert lenient["miou"] == pytest.approx(last["miou"], abs=2e-3) != strict["miou"]
    assert strict["miou"] < lenient["miou"]


def test_a_reduced_segmentation_is_measured_reduced_and_predicts_whole_masks(cli, tmp_path):
    words = ["demo_masks:8", "--val", "demo_masks:8", "--head", "smp:fpn", "--backbone", "test_resnet"]
    words += ["--image-size", 32, *SHORT, "--precision", "fp32", "--canvas", 48]
    code, _, err = cli("segment", *words, "--out", tmp_path / "run")
    assert code == 0, err
    last = json.loads((tmp_path / "run" / "result.json").read_text())["last"]
    numbers = measured(cli, tmp_path / "run", "demo_masks:8", tmp_path)
    pixels = {key: value for key, value in last.items() if key.startswith("support/")}
    assert {key: numbers[key] for key in pixels} == pixels, "as many pixels as in the run"
    assert numbers["miou"] == pytest.approx(last["miou"], abs=2e-3)
    code, _, err = cli("predict", tmp_path / "run", "demo_masks:2", "--out", tmp_path / "masks", "--cpu")
    assert code == 0, err
    for path in (tmp_path / "masks").rglob("*.png"):
        with Image.open(path) as mask:
            assert min(mask.size) > 48


def test_a_prediction_does_not_depend_on_its_neighbours(classified, photographs, cli, tmp_path):
    """Neither its label nor its features: alone, among small ones, among large and long ones."""
    run, _ = classified("run")
    folder = photographs("many", 16)
    Image.new("RGB", (2000, 40), "red").save(folder / "a" / "0-long.png")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    def embedded(images):
        out = tmp_path / "f.npz"
        code, _, err = cli(
            "embed",
            run / "backbone.safetensors",
            images,
            "--out",
            out,
            "--cpu",
            "--precision",
            "fp32",
            "--overwrite",
        )
        assert code == 0, err
        with np.load(out) as file:
            return dict(zip(file["filenames"].tolist(), file["features"], strict=True))

    def labelled(images):
        out = tmp_path / "p.csv"
        code, _, err = cli("predict", run, images, "--out", out, "--cpu", "--overwrite")
        assert code == 0, err
        with out.open(newline="") as file:
            return {line["filename"]: line["label"] for line in csv.DictReader(file)}

    features, labels = embedded(f"flat_folder:{folder}"), labelled(f"flat_folder:{folder}")
    assert sorted(features) == sorted(labels) == names
    for name in names[::4]:
        alone = tmp_path / f"alone-{name.replace('/', '-')}"
        (alone / name).parent.mkdir(parents=True)
        os.link(folder / name, alone / name)
        np.testing.assert_allclose(
            embedded(f"flat_folder:{alone}")[name], features[name], rtol=1e-5, atol=1e-6
        )
        assert labelled(f"flat_folder:{alone}")[name] == labels[name]


def test_a_probe_of_the_run_is_that_of_evaluate(photographs, cli, tmp_path):
    data = photographs("data", 24)
    code, _, err = cli("train", data, "--probe", data, "--canvas", 24, *ON_TINY, "--out", tmp_path / "ssl")
    assert code == 0, err
    last = json.loads((tmp_path / "ssl" / "scores.jsonl").read_text().splitlines()[-1])
    numbers = measured(cli, tmp_path / "ssl", data, tmp_path, "--probe", "knn")
    assert numbers["knn"] == last["probe_knn"]


def test_files_of_version_0_1_0_say_nothing_of_these(classified, cli, tmp_path):
    run, val = classified("run")
    before = measured(cli, run, val, tmp_path)
    for name in ("model.safetensors", "backbone.safetensors"):
        header = read_header(run / name)
        metadata = json.loads(header["about"])
        for key in ("canvas", "precision", "metric_options"):
            metadata.pop(key, None)
        texts = {"format": header["format"], "about": json.dumps(metadata)}
        save_file(load_file(run / name), run / name, metadata=texts)
    assert measured(cli, run, val, tmp_path) == before
    assert "canvas" not in ssl_seg.load(run)[1]
    assert torch.is_grad_enabled()
