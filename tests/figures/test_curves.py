"""Curves of runs, one plot per number."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ssl_seg.figures import curves
from ssl_seg.figures.curves import draw_curves, plotted_scores
from ssl_seg.figures.palette import PALETTE
from ssl_seg.figures.style import figure, figure_style

TRAIN = [
    {"epoch": e, "step": 9 * e, "seconds": 1.0, "rank": 9.0, "probe_knn": e / 9, "loss": 1 / e}
    for e in (1, 2, 3)
]
CLASSIFY = [{"epoch": e, "accuracy": 0.5, "val_top1": e / 9, "loss": 2.0, "loss_aux": 1.0} for e in (1, 2)]


def colours(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return {"#" + bytes(pixel).hex() for pixel in np.unique(pixels, axis=0)}


def test_panels_are_losses_scores_probes_and_health():
    assert plotted_scores({"a": TRAIN, "b": CLASSIFY}) == [
        "loss",
        "loss_aux",
        "val_top1",
        "probe_knn",
        "rank",
        "accuracy",
    ]


def test_what_is_no_number_is_no_panel():
    lines = [
        {"epoch": 1, "loss": math.nan, "name": "x", "ok": True, "none": None, "val_top1": 1, "list": [1]}
    ]
    assert plotted_scores({"a": lines}) == ["val_top1"]
    assert plotted_scores({"a": [{"loss": 1.0}], "b": []}) == []


def drawn(runs, key):
    with figure_style():
        axes = figure(3, 3).subplots()
        curves._plot(axes, runs, key)
    return axes


def test_a_plot_has_the_numbers_of_the_runs_in_their_colours():
    lost = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": math.nan}, {"epoch": 4, "loss": 1.0}]
    axes = drawn({"a": TRAIN, "b": CLASSIFY, "c": lost}, "loss")
    assert [line.get_color() for line in axes.lines] == list(PALETTE[:3])
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[1, 1], [2, 1 / 2], [3, 1 / 3]],
        [[1, 2], [2, 2]],
        [[1, 3], [4, 1]],
    ]
    assert axes.get_title(loc="left") == "loss"


def test_a_run_without_the_number_keeps_its_colour_for_itself():
    axes = drawn({"a": TRAIN, "b": CLASSIFY}, "val_top1")
    assert [len(line.get_xydata()) for line in axes.lines] == [0, 2]
    assert axes.lines[1].get_color() == PALETTE[1]


def test_small_changes_are_drawn_small():
    low, high = drawn({"a": [{"epoch": e, "spread": 0.99 + e / 1e4} for e in range(9)]}, "spread").get_ylim()
    assert high - low == pytest.approx(0.1, rel=0.05) and (low + high) / 2 == pytest.approx(0.99, abs=0.001)
    low, high = drawn({"a": [{"epoch": e, "top1": e / 9} for e in range(9)]}, "top1").get_ylim()
    assert low < 0 and 0.9 < high < 1
    low, high = drawn({"a": [{"epoch": 1, "zero": 0.0}]}, "zero").get_ylim()
    assert low < 0 < high


def test_the_files_are_the_same_bytes_again_and_hold_no_foreign_text(tmp_path):
    runs = {"_a $x^$ <script>--> \ud800 漢": TRAIN, "b": CLASSIFY, "": TRAIN[:1]}
    once = draw_curves(tmp_path / "new" / "a", runs)
    again = draw_curves(tmp_path / "new" / "b", runs)
    assert [path.name for path in once] == ["a.png", "a.svg"]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
    tags = {each.tag.rpartition("}")[2] for each in ElementTree.parse(once[1]).getroot().iter()}
    assert not tags & {"text", "script"}
    assert set(PALETTE[:2]) <= colours(once[0])


@pytest.mark.parametrize("count", [1, 13])
def test_one_run_or_many(tmp_path, count):
    runs = {f"a run with a rather long name {index}": TRAIN for index in range(count)}
    with Image.open(draw_curves(tmp_path / "a", runs)[0]) as image:
        assert image.width == 1560
