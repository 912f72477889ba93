"""One run and one class have one color and one marker in figures, on the page, and in its charts."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.markers import MarkerStyle

import ssl_seg.reporting
from ssl_seg.figures.palette import MARKERS, PALETTE, SERIES, SHAPES, css_variables, style_indices
from ssl_seg.figures.style import series_style
from ssl_seg.reporting.embedding_charts import scatter_plot
from ssl_seg.reporting.svg import Series, line_chart, standalone_svg, theme_css

REPORTING = Path(ssl_seg.reporting.__file__).parent


@pytest.mark.parametrize("index", [0, 3, 7, 8, 31])
def test_a_figure_and_the_page_agree(index):
    color, marker = series_style(index)
    chart = standalone_svg(line_chart([Series("A", index, [(1, 0.5), (2, 0.6)])], "loss"))
    assert color in chart and not set(PALETTE) - {color} & set(re.findall(r"#\w{6}", chart))
    assert color in standalone_svg(scatter_plot({0: [], index: [(0.5, 0.5)]}, "t-SNE"))
    variable = f"--k{index % len(SERIES)}"
    assert (
        f"{variable}:light-dark({color}," in theme_css()
        and f".{variable[2:]}{{background:var({variable})}}" in theme_css()
    )
    assert marker == MARKERS[style_indices(index)[1]]


def test_a_shape_of_the_page_is_the_marker_of_figures():
    assert len(SHAPES) == len(MARKERS) and len({style_indices(index) for index in range(100)}) == 80
    for name, corners in zip(MARKERS, SHAPES, strict=True):
        path = MarkerStyle(name).get_path().transformed(MarkerStyle(name).get_transform())
        drawn = [(x, -y) for x, y in path.to_polygons()[0]]
        # it reaches as far as the marker of matplotlib, in proportion, in every direction
        ways = np.stack([np.cos(angles := np.linspace(0, 2 * np.pi, 16, endpoint=False)), np.sin(angles)])
        ours = (np.array(corners) @ ways).max(axis=0) if corners else np.ones(16)
        theirs = (np.array(drawn) @ ways).max(axis=0)
        assert ours / ours.mean() == pytest.approx(theirs / theirs.mean(), abs=0.2), name


def test_no_other_file_has_a_color_of_the_palette():
    for path in [*REPORTING.iterdir(), *(REPORTING.parent / "figures").rglob("*.py")]:
        if path.is_file() and path.name != "palette.py":
            text = path.read_text(encoding="utf-8").lower()
            assert not [c for pair in css_variables().values() for c in pair if c in text], path.name
    used = set(re.findall(r"var\((--\w+)\)", (REPORTING / "style.css").read_text()))
    defined = {*css_variables(), *re.findall(r"(--\w+):", (REPORTING / "style.css").read_text())}
    assert used <= defined
