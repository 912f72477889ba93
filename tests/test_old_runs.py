"""Runs that version 0.1.0 wrote (their weights replaced by a pattern that packs well) can still be used."""

import csv
import json
import tarfile
from pathlib import Path

import pytest
import torch

import ssl_seg

ARCHIVE = Path(__file__).with_name("golden") / "runs-0.1.0.tar.xz"
CPU = ("--cpu", "--precision", "fp32")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """`train`, `classify` (from train), `segment` (from train), and `stopped`: a train run after its first epoch."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_weights_are_those_of_the_files(runs):
    backbone, metadata = ssl_seg.load("train")
    assert metadata["backbone"] == "test_resnet" and metadata["image_size"] == 32
    weights = [p for p in backbone.parameters() if p.ndim > 1]
    for weight in weights:
        wanted = ((torch.arange(weight.numel()) % 11) - 5).float() * 0.02
        torch.testing.assert_close(weight.flatten(), wanted)
    assert weights
    for run, classes in (("classify", 8), ("segment", None)):
        model, metadata = ssl_seg.load(run)
        assert metadata["task"] == run
        logits = model(torch.zeros(1, 3, 32, 32))
        assert logits.shape[1] == len(metadata["classes"]) and (classes is None or logits.shape[1] == classes)


@pytest.mark.parametrize("words", [("evaluate", "train", "demo:80"), ("evaluate", "classify", "demo:8")])
def test_they_are_measured(cli, runs, words):
    code, shown, err = cli(*words, *CPU)
    assert code == 0, err
    assert "knn" in shown or "top1" in shown


def test_they_predict(cli, runs):
    code, _, err = cli("predict", "classify", "demo:8", "--out", "labels.csv", *CPU)
    assert code == 0, err
    with open("labels.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
    code, _, err = cli("predict", "segment", "demo:4", "--out", "masks", *CPU)
    assert code == 0, err
    assert len(list(Path("masks").rglob("*.png"))) == 4


def test_they_are_started_from(cli, runs):
    words = ("classify", "demo:16", "--init", "train", "--epochs", 1, "--batch-size", 8, "--out", "new", *CPU)
    code, _, err = cli(*words)
    assert code == 0, err
    assert "matched" in err


def test_a_stopped_one_is_resumed(cli, runs):
    code, _, err = cli("train", "--resume", "--out", "stopped")
    assert code == 0, err
    lines = [json.loads(line) for line in Path("stopped/scores.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert json.loads(Path("stopped/status.json").read_text())["state"] == "finished"


def test_a_finished_one_stays_finished(cli, runs):
    before = Path("train/scores.jsonl").read_bytes()
    code, _, err = cli("train", "--resume", "--out", "train")
    assert code == 0, err
    assert Path("train/scores.jsonl").read_bytes() == before


def test_they_are_reported_and_drawn(cli, runs):
    code, _, err = cli("report", "train", "classify", "segment", "--out", "page.html")
    assert code == 0, err
    page = Path("page.html").read_text()
    assert "top1" in page or "top-1" in page
    code, _, err = cli("figure", "curves", "train", "classify")
    assert code == 0, err


def test_they_are_exported(cli, runs):
    code, _, err = cli("export", "train", "--to", "timm", "--out", "exported")
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "sentence", "way"),
    [
        (("demo:8",), "no class of demo:8 has two images", "next: --train DATA"),
        (("demo:16", "--train", "demo:8"), "too few for the logistic regression", "next: --probe knn"),
    ],
)
def test_a_probe_without_images_to_learn_from_is_refused(cli, runs, words, sentence, way):
    code, _, err = cli("evaluate", "train", *words, *CPU)
    assert code == 3, err
    assert sentence in err and way in err
