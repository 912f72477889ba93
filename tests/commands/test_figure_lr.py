"""`ssl-seg figure lr`: the range test of a training command, its rule and its figure."""

import json

import numpy as np
import pytest

from ssl_seg.utils.lr_range import has_diverged, lr_range, rate_at

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--device", "cpu"]


def test_the_suggestion_is_the_steepest_descent():
    rates = [rate_at(step, 101, 1e-6, 1.0) for step in range(101)]
    assert rates[0] == 1e-6 and rates[-1] == pytest.approx(1.0)
    assert np.diff(np.log(rates)) == pytest.approx(np.log(1e6) / 100)
    x = np.log10(rates)
    losses = 2 - 1 / (1 + np.exp(-4 * (x + 3))) + np.exp(6 * (x + 0.5))  # a slope at 1e-3, and an explosion
    noisy = losses + np.random.default_rng(0).normal(0, 0.01, len(losses))
    found = lr_range(rates, list(noisy))
    assert found.suggested == pytest.approx(1e-3, rel=0.5)
    assert 1e-2 < found.lowest < 1e-1
    kernel = np.convolve(noisy, np.ones(found.window) / found.window, mode="valid")
    half = found.window // 2
    assert found.smoothed[half:-half] == pytest.approx(kernel)
    assert lr_range(rates, list(np.linspace(1, 2, 101))).suggested is None


def test_divergence():
    assert not has_diverged([2.0, 1.0, 3.9])
    assert has_diverged([2.0, 1.0, 4.1]) and has_diverged([1.0, float("nan")])
    assert not has_diverged([-2.0, 5.0])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "demo:16", "--ssl", "simclr", "-o", "ssl.hidden=16"],
        ["classify", "demo:16", "--mixup", "0.2"],
        ["segment", "demo_masks:8", "--val", "demo_masks:8", "--allow-overlap"],
    ],
)
def test_each_command_in_one_way(cli, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("figure", "lr", *words, *TINY, "--steps", 20, "--lr-max", "1", "--out", "lr")
    assert code == 0, err
    assert "suggested: --lr" in out or "no suggestion" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "lr.json", "lr.png", "lr.svg"]
    numbers = json.loads((tmp_path / "lr.json").read_text())
    assert len(numbers["lr"]) == len(numbers["loss"]) <= 20
    assert numbers["lr"][0] == 1e-6
    if len(numbers["lr"]) == 20:
        assert numbers["lr"][-1] == pytest.approx(1.0)


def test_what_cannot_be_tested(cli, tmp_path):
    code, _, err = cli("figure", "lr", "classify", "demo:16", *TINY, "--lr-min", "2", "--lr-max", "1")
    assert code == 2 and "--lr-max must be above --lr-min" in err
    code, _, err = cli("figure", "lr", "classify", "demo:16", "--batch-sise", "8")
    assert code == 2 and "--batch-size" in err
