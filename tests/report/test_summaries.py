"""The sentence above a table."""

import numpy as np

from ssl_seg.reporting.summaries import summarize
from ssl_seg.results.runs import StageScores
from ssl_seg.results.tables import Table


def row(name, last, correct):
    images = [(f"{i}.jpg", "cat") for i in range(len(correct[0]))]
    return StageScores(name, name, len(last), last, last, images, np.array(correct, np.int64))


def test_the_highest_mean_is_not_said_to_be_ahead_where_the_test_says_the_opposite():
    """A's second seed makes its mean the highest; on the seed that both have, B is ahead of it."""
    rows = [
        row("A", {0: 0.1, 1: 1.0}, [[1] * 2 + [0] * 18, [1] * 20]),
        row("B", {0: 0.5}, [[1] * 10 + [0] * 10]),
        row("C", {1: 0.0}, [[0] * 20]),
    ]
    text = summarize(Table(rows, "val_top1"))
    assert text.startswith("A has the highest top-1 accuracy: 0.55 ± 0.64 (3 stages).")
    assert "Over the shared seeds, B is higher." in text
    assert "Significant against C (p < 0.05, Holm-corrected)." in text
