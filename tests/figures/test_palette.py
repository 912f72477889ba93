"""One run and one class have one color and one marker in figures, on the page, and in its charts."""

import re
from pathlib import Path

import pytest

import ssl_seg.reporting
from ssl_seg.figures.palette import MARKERS, PAGE_MARKERS, PALETTE, SERIES, css_variables
from ssl_seg.figures.style import series_style
from ssl_seg.reporting.svg import Series, line_chart, scatter_plot, standalone_svg, theme_css

REPORTING = Path(ssl_seg.reporting.__file__).parent


@pytest.mark.parametrize("index", [0, 3, 7, 8, 31])
def test_a_figure_and_the_page_agree(index):
    color, marker = series_style(index)
    chart = standalone_svg(line_chart([Series("A", index, [(1, 0.5), (2, 0.6)])], "loss"))
    assert color in chart and not set(PALETTE) - {color} & set(re.findall(r"#\w{6}", chart))
    assert color in standalone_svg(scatter_plot([[]] * index + [[(0.5, 0.5)]], "t-SNE"))
    variable = f"--k{index % len(SERIES)}"
    assert (
        f"{variable}:light-dark({color}," in theme_css()
        and f".{variable[2:]}{{background:var({variable})}}" in theme_css()
    )
    shapes = ["o", "s", "^", "D"]  # circle, square, triangle and diamond, as page.js and style.css draw them
    assert marker == shapes[index // len(SERIES)] and list(MARKERS[:PAGE_MARKERS]) == shapes


def test_no_other_file_has_a_color_of_the_palette():
    for path in [*REPORTING.iterdir(), *(REPORTING.parent / "figures").rglob("*.py")]:
        if path.is_file() and path.name != "palette.py":
            text = path.read_text(encoding="utf-8").lower()
            assert not [c for pair in css_variables().values() for c in pair if c in text], path.name
    used = set(re.findall(r"var\((--\w+)\)", (REPORTING / "style.css").read_text()))
    defined = {*css_variables(), *re.findall(r"(--\w+):", (REPORTING / "style.css").read_text())}
    assert used <= defined
