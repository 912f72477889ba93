"""`--metric`: metrics of somebody else's, measured beside a command's own."""

import json
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SHORT = ["--image-size", 32, "--batch-size", 8, "--epochs", 2, "--cpu"]
ERROR_RATE = """
from ssl_seg import Metric


class ErrorRate(Metric):
    def __init__(self, classes):
        self.reset()

    def reset(self):
        self.wrong = self.seen = 0

    def update(self, logits, target):
        self.wrong += int((logits.argmax(dim=1) != target).sum())
        self.seen += target.numel()

    def compute(self):
        return {"error": self.wrong / self.seen}


class Crowded(ErrorRate):
    def compute(self):
        return {"top1": 0.5, "pixel_accuracy": 0.5}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rate.py"
    path.write_text(ERROR_RATE)
    return path


def classify(cli, *flags):
    return cli(
        "classify", "demo:24", "--val", "demo:24", "--backbone", f"{TINY}:TinyBackbone", *SHORT, *flags
    )


def segment(cli, *flags):
    words = ["demo_masks:16", "--val", "demo_masks:8", "--backbone", "test_resnet", "--head", "smp:fpn"]
    return cli("segment", *words, *SHORT, *flags)


@pytest.mark.parametrize(("command", "own"), [(classify, "top1"), (segment, "pixel_accuracy")])
def test_it_is_in_scores_results_and_the_summary(cli, tmp_path, file, command, own):
    out = tmp_path / "run"
    code, said, err = command(cli, "--metric", f"{file}:ErrorRate", "--out", out)
    assert code == 0, err
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    result = json.loads((out / "result.json").read_text())
    assert len(scores) == 2
    for line in scores:
        assert line["val_error"] == pytest.approx(1 - line[f"val_{own}"])
    for epoch in ("last", "best"):
        assert result[epoch]["error"] == pytest.approx(1 - result[epoch][own])
    assert f"error: {result['last']['error']:.4f}" in said + err
    alone = tmp_path / "alone"
    assert command(cli, "--out", alone)[0] == 0
    assert (alone / "model.safetensors").stat().st_size == (out / "model.safetensors").stat().st_size
    plain = [json.loads(line) for line in (alone / "scores.jsonl").read_text().splitlines()]
    assert [line[f"val_{own}"] for line in plain] == [line[f"val_{own}"] for line in scores]


@pytest.mark.parametrize("command", [classify, segment])
def test_a_number_of_a_name_that_is_taken(cli, tmp_path, file, command):
    code, _, err = command(cli, "--metric", f"{file}:Crowded", "--out", tmp_path / "run")
    assert code == 7
    assert "there is one of that name already" in err
    assert not (tmp_path / "run" / "scores.jsonl").exists()


def test_one_that_takes_no_logits(cli, tmp_path):
    code, _, err = classify(cli, "--metric", "knn", "--out", tmp_path / "run")
    assert code == 7
    assert "call fill(features, labels) before update()" in err and "leave 'knn' out" in err
    assert not (tmp_path / "run" / "scores.jsonl").exists()


def test_one_that_there_is_not(cli, tmp_path):
    code, _, err = classify(cli, "--metric", "accuracy,acuracy", "--out", tmp_path / "run")
    assert code == 2
    assert "no metric 'acuracy'; did you mean 'accuracy'?" in err
    assert not (tmp_path / "run").exists()


def test_a_study_looks_for_it_before_anything_runs(cli, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        'out = "runs"\n[stages.A]\ncommand = "classify"\ntrain = "demo:24"\nval = "demo:24"\nmetric = "eror"\n'
    )
    code, _, err = cli("study", study, "--dry-run")
    assert code == 2
    assert "no metric 'eror'" in err and "line 6" in err
