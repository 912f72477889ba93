"""Charts: where a number is drawn, what it says, and that a name cannot leave its place."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ssl_seg.figures.palette import MUTED, SERIES, TEXT
from ssl_seg.reporting.embedding_charts import scatter_plot
from ssl_seg.reporting.svg import Series, interval_chart, line_chart, standalone_svg
from ssl_seg.results.runs import StageScores
from ssl_seg.utils.text import strip_unprintable

SVG = "{http://www.w3.org/2000/svg}"


def row(name, last, published=None, images=0):
    values = dict(enumerate(last))
    return StageScores(
        name, name, len(last), values, values, [("a", "b")] * images, np.zeros(0), "", None, published
    )


def dots(svg):
    """(x, y, what it tells) of every dot."""
    found = re.findall(r'<circle cx="([\d.-]+)%?" cy="([\d.-]+)"[^>]*><title>([^<]*)</title>', svg)
    return [(float(x), float(y), told) for x, y, told in found]


def test_a_curve_is_to_scale():
    values = [0.1, 0.25, 0.4, 0.35]
    svg = line_chart([Series("A, seed 0", 0, list(enumerate(values, start=1)))], "val_top1")
    found = dots(svg)
    assert [told for *_, told in found] == [
        f"A, seed 0\nepoch {epoch}: val_top1 {value:.4f}" for epoch, value in enumerate(values, start=1)
    ]
    xs, ys = np.array([[x, y] for x, y, _ in found]).T
    assert np.diff(xs) == pytest.approx(np.full(3, xs[1] - xs[0]), abs=0.11)
    slope, start = np.polyfit(values, ys, 1)
    assert slope < 0, "up is more"
    assert slope * np.array(values) + start == pytest.approx(ys, abs=0.11)
    ticks = re.findall(r'<text x="46" y="([\d.]+)" text-anchor="end">([\d.]+)</text>', svg)
    assert len(ticks) >= 4
    for y, value in ticks:
        assert slope * float(value) + start == pytest.approx(float(y) - 4, abs=0.2), "the axis is another"


def test_what_is_no_number_is_a_gap():
    line = Series("A", 0, [(1, 0.5), (2, float("nan")), (3, 0.7), (4, float("inf")), (5, 0.9)])
    svg = line_chart([line], "loss")
    assert len(dots(svg)) == 3
    (path,) = re.findall(r'class="line"[^>]* d="([^"]+)"', svg)
    assert path.count("M") == 3
    assert "nan" not in svg
    assert "inf" not in svg
    assert line_chart([Series("A", 0, [(1, float("nan"))])], "loss") == ""
    assert line_chart([], "loss") == ""


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.0, 0.0], [-3.0, 4e9], [1e-12, 2e-12]])
def test_any_range_can_be_drawn(values):
    svg = line_chart([Series("A", 0, list(enumerate(values, start=1)))], "loss")
    ET.fromstring(standalone_svg(svg))
    for x, y, _ in dots(svg):
        assert 0 <= x <= 420
        assert 0 <= y <= 240


def test_a_long_line_keeps_its_points_and_shows_some():
    svg = line_chart([Series("A", 0, [(i, i / 350) for i in range(1, 351)])], "loss")
    found = dots(svg)
    assert len(found) <= 45
    assert found[-1][2].startswith("A\nepoch 350:")
    (path,) = re.findall(r'class="line"[^>]* d="([^"]+)"', svg)
    assert len(re.findall(r"[ML]", path)) == 350


def test_intervals_are_to_scale():
    rows = [row("A", [0.2, 0.4], published=0.6, images=100), row("B", []), row("C", [0.5], images=100)]
    svg = interval_chart(rows, {"A": 0, "B": 1, "C": 2})
    told = {text: x for x, _, text in dots(svg)}
    scale = (told["A\nseed 1: 0.4000"] - told["A\nseed 0: 0.2000"]) / 0.2
    assert told["A\nmean of 2: 0.3000"] == pytest.approx(told["A\nseed 0: 0.2000"] + 0.1 * scale, abs=0.2)
    assert told["C\nmean of 1: 0.5000"] == pytest.approx(told["A\nseed 0: 0.2000"] + 0.3 * scale, abs=0.2)
    low, high = rows[0].interval
    (start, end) = re.findall(r'class="range"[^>]*><line x1="([\d.]+)%" x2="([\d.]+)%"', svg)[0]
    assert float(end) - float(start) == pytest.approx((high - low) * scale, abs=0.2)
    assert f"95% CI {low:.4f} to {high:.4f}" in svg
    assert "published 0.6000" in svg
    assert interval_chart([row("A", [])], {"A": 0}) == ""


def test_a_map_has_every_point_once():
    groups = {0: [(0.0, 0.0), (1.0, 1.0)], 1: [], 2: [(0.5, 0.5)]}
    svg = scatter_plot(groups, "map")
    color_indices = re.findall(r"M([\d.]+) ([\d.]+)h0", svg)
    assert len(color_indices) == 3
    assert float(color_indices[0][0]) < float(color_indices[1][0])
    assert float(color_indices[0][1]) > float(color_indices[1][1]), "y goes up"


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'&]]>", "\x00\x1b\u202e\ud83d", "a\nb"])
def test_a_name_stays_a_name(name):
    rows = [row(name, [0.5], images=4)]
    for svg in (
        line_chart([Series(name, 0, [(1, 0.5)])], name),
        interval_chart(rows, {name: 0}),
        scatter_plot({0: [(0.5, 0.5)]}, name),
    ):
        read = ET.fromstring(standalone_svg(svg))
        kinds = {element.tag.removeprefix(SVG) for element in read.iter()}
        assert kinds <= {"svg", "style", "rect", "path", "line", "text", "g", "circle", "title"}
        assert strip_unprintable(name).split()[0] in "".join(read.itertext()) + read.get("aria-label")


def test_a_file_of_its_own_needs_no_page():
    svg = standalone_svg(line_chart([Series("A", 9, [(1, 0.5), (2, 0.6)])], "loss"))
    assert "var(" not in svg
    assert "stroke-dasharray" in svg, "the second round of colours is dashed"
    assert ET.fromstring(svg).tag == f"{SVG}svg"


def test_colours_stand_out_from_their_ground_and_from_each_other():
    """Three to one against the ground (WCAG 1.4.11), and apart for people without red or green cones."""
    for color_index, ground in ((0, "#fffefb"), (1, "#15181c")):
        colours = [pair[color_index] for pair in SERIES]
        for color in colours:
            a, b = sorted([luminance(color), luminance(ground)])
            assert (b + 0.05) / (a + 0.05) >= 3, color
        for matrix in (np.eye(3), PROTAN, DEUTAN):
            seen = [matrix @ linear(color) for color in colours[:6]]
            for i, one in enumerate(seen):
                assert all(np.abs(one - other).sum() > 0.06 for other in seen[:i]), colours[i]
        for color in (TEXT[color_index], MUTED[color_index]):
            a, b = sorted([luminance(color), luminance(ground)])
            assert (b + 0.05) / (a + 0.05) >= 4.5, color


# what people without long (protan) or middle (deutan) cones see, in linear RGB (Machado et al. 2009)
PROTAN = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
DEUTAN = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])


def linear(color):
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(color):
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])
