"""How scores are written."""

import math

import pytest

from ssl_seg.results.score_text import format_mean_sd, score_digits, score_name


@pytest.mark.parametrize(
    ("images", "digits"),
    [(None, 3), (1, 2), (100, 2), (101, 3), (406, 3), (10_000, 3), (10_001, 4), (10**9, 4)],
)
def test_digits_follow_the_number_of_images(images, digits):
    assert score_digits(images) == digits


@pytest.mark.parametrize("images", [11, 100, 101, 406, 9_999, 50_000, 900_000])
def test_the_last_digit_is_below_the_standard_error_and_no_more_than_fifty_times(images):
    standard_error = 0.5 / math.sqrt(images)
    assert standard_error / 50 * 0.999 <= 10.0 ** -score_digits(images) <= standard_error / 5 * 1.001


def test_a_deviation_needs_two_values():
    assert format_mean_sd([], 2) == "n/a"
    assert format_mean_sd([0.5], 2) == "0.50"
    assert format_mean_sd([0.25], 3, "+") == "+0.250"
    assert format_mean_sd([0.25, 0.75], 2) == "0.50 ± 0.35"


def test_names_are_those_of_the_field():
    names = {
        "val_miou": "mean IoU",
        "fw_iou": "frequency-weighted IoU",
        "val_mean_class": "mean class accuracy",
    }
    assert {key: score_name(key) for key in names} == names
    assert score_name("val_my_own") == "my_own"
