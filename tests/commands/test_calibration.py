"""Confidences that can be trusted: what a run records of them, and what `predict` makes of it."""

import csv
import json

import numpy as np
import pytest
from torchmetrics.classification import MulticlassCalibrationError

from ssl_seg.engine.calibration import calibrate

SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu", "--precision", "fp32"]


@pytest.fixture
def seen(monkeypatch):
    """What was given to `calibrate`, by the validator that called it."""
    found = {}
    for kind in ("classification", "segmentation"):

        def spy(*given, kind=kind):
            found[kind] = given
            return calibrate(*given)

        monkeypatch.setattr(f"ssl_seg.workflows.{kind}_validator.calibrate", spy)
    return found


def scaled_error(given, temperature):
    """By torchmetrics, of the samples that are not fitted on."""
    logits, targets, for_fit = given
    probabilities = (logits[~for_fit].double() / temperature).softmax(dim=1)
    metric = MulticlassCalibrationError(logits.shape[1], n_bins=15, norm="l1")
    return float(metric(probabilities, targets[~for_fit]))


@pytest.fixture
def classified(cli, seen, tmp_path):
    words = ["demo:64", "--val", "demo:48", *SMALL, "--epochs", 3]
    code, out, err = cli("classify", *words, "--out", tmp_path / "run")
    assert code == 0, err
    assert "calibration error" in out + err
    return tmp_path / "run"


def test_a_classifier(classified, seen, cli, tmp_path):
    result = json.loads((classified / "result.json").read_text())
    found = result["calibration"]
    logits, targets, for_fit = seen["classification"]
    assert found["epoch"] == result["last"]["epoch"] == 3 and found["unit"] == "images"
    assert found["fitted_on"] + found["measured_on"] == 48 and abs(found["fitted_on"] - 24) <= 4
    assert set(targets[for_fit].tolist()) == set(targets.tolist()) == set(targets[~for_fit].tolist())
    assert found["ece"] == pytest.approx(scaled_error(seen["classification"], 1.0), abs=1e-6)
    assert found["ece_scaled"] == pytest.approx(
        scaled_error(seen["classification"], found["temperature"]), abs=1e-6
    )
    assert found["temperature"] != 1.0

    code, _, err = cli(
        "predict", classified, "demo:48", "--out", tmp_path / "p.csv", "--cpu", "--probabilities"
    )
    assert code == 0, err
    assert f"confidences are calibrated: temperature {found['temperature']:.3f}" in err
    with np.load(tmp_path / "p.npz") as file:
        probabilities = file["probabilities"]
    expected = (logits / found["temperature"]).softmax(dim=1)
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-5)
    record = json.loads((tmp_path / "p.result.json").read_text())
    assert record["temperature"] == found["temperature"]
    with (tmp_path / "p.csv").open(newline="") as file:
        said = [line["label"] for line in csv.DictReader(file)]
    with (classified / "val_predictions.csv").open(newline="") as file:
        assert said == [line["predicted"] for line in csv.DictReader(file)], "no label changes"


@pytest.mark.parametrize(("epoch", "is_used"), [(3, True), (2, False)])
def test_the_temperature_is_that_of_the_epoch_that_is_loaded(
    classified, cli, tmp_path, epoch, is_used, monkeypatch
):
    result = json.loads((classified / "result.json").read_text())
    result["calibration"]["epoch"] = epoch
    best = result["best"]["epoch"]
    (classified / "result.json").write_text(json.dumps(result))
    code, _, err = cli(
        "predict", classified, "demo:8", "--out", tmp_path / "p.csv", "--cpu", "--which", "best"
    )
    assert code == 0, err
    assert ("are calibrated" in err) == (best == epoch)


@pytest.mark.parametrize("value", [0, -1.0, 1e9, "2", None, float("nan")])
def test_a_temperature_that_cannot_be_is_not_used(classified, cli, tmp_path, value):
    result = json.loads((classified / "result.json").read_text())
    result["calibration"]["temperature"] = value
    (classified / "result.json").write_text(json.dumps(result))
    code, _, err = cli("predict", classified, "demo:8", "--out", tmp_path / "p.csv", "--cpu")
    assert code == 0 and "confidences are not calibrated" in err
    assert json.loads((tmp_path / "p.result.json").read_text())["temperature"] == 1.0


def test_a_run_without_a_record(classified, cli, tmp_path):
    (classified / "result.json").unlink()
    code, _, err = cli("predict", classified, "demo:8", "--out", tmp_path / "p.csv", "--cpu")
    assert code == 0 and "calibrated" not in err


def test_masks(cli, seen, tmp_path):
    words = ["demo_masks:8", "--val", "demo_masks:8", "--head", "smp:fpn", *SMALL, "--epochs", 3]
    code, _, err = cli("segment", *words, "--out", tmp_path / "run")
    assert code == 0, err
    found = json.loads((tmp_path / "run" / "result.json").read_text())["calibration"]
    assert found["unit"] == "pixels" and found["fitted_on"] == found["measured_on"] == 4 * 1024
    assert found["ece"] == pytest.approx(scaled_error(seen["segmentation"], 1.0), abs=1e-6)
    by_metric = scaled_error(seen["segmentation"], found["temperature"])
    assert found["ece_scaled"] == pytest.approx(by_metric, abs=1e-6)
    plain = found["temperature"] == 1.0
    words = ("predict", tmp_path / "run", "demo_masks:2", "--cpu", "--probabilities", "--out")
    code, _, err = cli(*words, tmp_path / "masks")
    assert code == 0 and ("are calibrated" in err) != plain
    (tmp_path / "run" / "result.json").unlink()
    assert cli(*words, tmp_path / "raw")[0] == 0
    for path in (tmp_path / "masks" / "probabilities").rglob("*.npz"):
        with np.load(path) as one, np.load(tmp_path / "raw" / path.relative_to(tmp_path / "masks")) as other:
            logits = np.log(np.maximum(other["probabilities"].astype(float), 1e-7)) / found["temperature"]
            expected = np.exp(logits) / np.exp(logits).sum(axis=0)
            np.testing.assert_allclose(one["probabilities"], expected, atol=0.02)
