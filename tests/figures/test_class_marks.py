"""A class has one color and marker in all figures of a run."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_hex

from ssl_seg.figures import confusion, tsne_picture
from ssl_seg.figures.class_marks import class_marks
from ssl_seg.figures.tsne import TSNEMap
from ssl_seg.results.confusion import Confusion

NAMES = [f"class {index}" for index in range(30)]


def figures_of(monkeypatch, module):
    drawn = []
    monkeypatch.setattr(module, "save", lambda fig, stem: drawn.append(fig) or [])
    return drawn


def names_and_colors(legend):
    return {
        text.get_text().strip(): to_hex(handle.get_color())
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        if handle.get_marker()
    }


@pytest.mark.parametrize("count", [3, 9, 30])
def test_maps_and_confusion_of_a_classifier_agree(tmp_path, monkeypatch, count):
    names = NAMES[:count]
    marks = class_marks(tmp_path, names)
    assert len(set(marks)) == count
    drawn = figures_of(monkeypatch, tsne_picture)
    targets = np.arange(300) % count
    maps = [TSNEMap(1, np.random.default_rng(0).normal(size=(300, 2)), 0.5, None)]
    tsne_picture.draw_maps(tmp_path / "t", maps, targets, names)
    legend = names_and_colors(drawn[0].legends[0])
    assert len(legend) == min(count, 12 if count > 20 else count)
    for name, color in legend.items():
        assert color == marks[names.index(name)][0]

    drawn = figures_of(monkeypatch, confusion)
    counts = np.eye(count, dtype=np.int64) + 1
    confusion.draw_confusion(tmp_path / "c", Confusion(names, names, counts), marks)
    axes = drawn[0].axes[0]
    shown = [(to_hex(line.get_color()), line.get_marker()) for line in axes.lines]
    assert shown == marks * 2, "one for each row, and one for each column"
    assert axes.get_xlim() == (-0.5, count - 0.5) and axes.get_ylim() == (count - 0.5, -0.5)


@pytest.mark.parametrize(
    "colors", [[10**9], [[0, 0]], [[0, 0, 256]], [["a", 0, 0]], 7, [[0, 0, 0], [0, 0, 0]]]
)
def test_damaged_colors_are_none(tmp_path, colors):
    (tmp_path / "masks.json").write_text(json.dumps({"classes": ["a"], "colours": colors}))
    assert class_marks(tmp_path, ["a"]) == class_marks(tmp_path / "nowhere", ["a"])
