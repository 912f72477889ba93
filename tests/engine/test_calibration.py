"""Calibration against torchmetrics, and against logits whose true temperature is known."""

import json

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassCalibrationError

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.engine.calibration import (
    SampledPixels,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    normalized_entropy,
)


def sampled(count, classes, factor, seed=0):
    """Logits whose softmax is the truth, times a factor: the temperature that undoes it is the factor."""
    chance = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, classes, generator=chance)
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=chance)[:, 0]
    return factor * logits, targets


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize(
    ("count", "classes", "factor"), [(1, 3, 1), (50, 2, 3), (2000, 10, 0.5), (999, 7, 2)]
)
def test_the_error_is_that_of_torchmetrics(count, classes, factor, bins):
    logits, targets = sampled(count, classes, factor)
    probabilities = logits.double().softmax(dim=1)
    theirs = MulticlassCalibrationError(classes, n_bins=bins, norm="l1")(probabilities, targets)
    assert expected_calibration_error(probabilities, targets, bins) == pytest.approx(float(theirs), abs=1e-6)


def test_a_certain_model():
    certain = torch.eye(2)[[0, 1, 1, 1]]
    assert expected_calibration_error(certain, torch.tensor([0, 1, 1, 0])) == 0.25
    assert expected_calibration_error(certain, torch.tensor([0, 1, 1, 1])) == 0.0


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_what_was_done(factor):
    logits, targets = sampled(20_000, 6, factor)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(factor, rel=0.05)
    losses = [cross_entropy(logits.double() / t, targets) for t in (found, 0.99 * found, 1.01 * found)]
    assert losses[0] == min(losses), "no neighbour is better"


def test_an_excluded_class_changes_nothing():
    logits, targets = sampled(500, 4, 2.0)
    wider = torch.cat([logits, torch.full((500, 1), -torch.inf)], dim=1)
    assert fit_temperature(wider, targets) == pytest.approx(fit_temperature(logits, targets), rel=1e-6)


def test_what_does_not_determine_a_temperature_is_left_as_it_is():
    logits, targets = sampled(500, 4, 2.0)
    assert fit_temperature(logits[:9], targets[:9]) == 1.0
    assert fit_temperature(logits, logits.argmax(dim=1)) == 1.0, "all are right: the loss falls until T is 0"


def test_what_is_fitted_on_is_not_reported_on():
    logits, targets = sampled(4000, 5, 3.0)
    for_fit = torch.arange(4000) % 2 == 0
    found = calibrate(logits, targets, for_fit)
    assert json.loads(json.dumps(found)) == found
    assert found["temperature"] == fit_temperature(logits[for_fit], targets[for_fit])
    assert found["fitted_on"] == found["measured_on"] == 2000
    rest = logits[~for_fit].double()
    before = expected_calibration_error(rest.softmax(dim=1), targets[~for_fit])
    after = expected_calibration_error((rest / found["temperature"]).softmax(dim=1), targets[~for_fit])
    assert (found["ece"], found["ece_scaled"]) == (before, after) and after < before / 3
    assert found["nll_scaled"] < found["nll"]
    others = targets.clone()
    others[~for_fit] = 0
    assert calibrate(logits, others, for_fit)["temperature"] == found["temperature"]
    assert calibrate(logits, targets, torch.ones(4000, dtype=torch.bool)) == {}


def test_entropy():
    even, certain = torch.full((1, 4), 0.25), torch.eye(4)[:1]
    assert normalized_entropy(torch.cat([even, certain]), 4).tolist() == pytest.approx([1.0, 0.0])
    half = torch.tensor([[[0.5]], [[0.5]], [[0.0]]])[None]
    assert normalized_entropy(half, 2).item() == pytest.approx(1.0), "an excluded class does not count"


def test_pixels_are_drawn_from_those_with_a_class_that_counts():
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 8, 9, generator=chance)
    targets = torch.randint(0, 3, (4, 8, 9), generator=chance)
    targets[:, ::2] = IGNORE_INDEX
    targets[2] = IGNORE_INDEX
    sampled = SampledPixels(4, 3, [1], torch.device("cpu"))
    for first in (0, 2):  # in batches
        batch = slice(first, first + 2)
        sampled.add(logits[batch], targets[batch].to(torch.uint8), torch.arange(4)[batch])
    sampled.gather()
    found, truth, for_fit = sampled.of_images()
    assert len(found) == 3 * 1024 and set(truth.tolist()) == {0, 2}
    assert for_fit.sum() == 1024, "image 2 has no pixel"
    for image, rows in ((0, slice(0, 1024)), (1, slice(1024, 2048)), (3, slice(2048, 3072))):
        places = {
            tuple(logits[image, :, y, x].tolist()): targets[image, y, x].item()
            for y in range(8)
            for x in range(9)
        }
        assert [places[tuple(values.tolist())] for values in found[rows]] == truth[rows].tolist()
        assert len({tuple(values.tolist()) for values in found[rows]}) > 15, "all over the image"


def test_the_pixels_of_many_images_stay_small():
    assert SampledPixels(5000, 20, [], torch.device("cpu"))._logits.numel() < 1 << 23
