"""The page measured in a browser: at any width nothing is cut, and no text lies upon another."""

import pytest

from ssl_seg.reporting.build import build
from ssl_seg.reporting.page import write_page


@pytest.fixture(scope="module")
def window(browser, tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(make, study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    wide = make.write_wide_study(folder / "wide")
    alone = [wide / "classify-10", wide / "segment-90"]
    for name, folders in (("small", [study]), ("wide", [wide]), ("runs", alone)):
        write_page(build(folders), folder / f"{name}.html")
    return folder


@pytest.mark.parametrize("name", ["small", "wide", "runs"])
@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_is_cut_or_overlaps(window, pages, name, width):
    window.size(width)
    window.open(pages / f"{name}.html")
    found = window.measure()
    assert found["count"] > (1200 if name == "wide" else 200)
    assert found["cut"] == []
    assert found["over"] == []
    assert window.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("style", "what"),
    [
        (".cards thead { display: table-header-group } .cards, .cards * { white-space: nowrap; }", "cut"),
        ("figcaption { margin-top: -2rem; }", "over"),
        (".text td { overflow-wrap: normal; max-width: 2rem; white-space: nowrap; }", "over"),
    ],
)
def test_the_measurement_sees_what_is_broken(window, pages, style, what):
    window.size(1440 if what == "over" else 390)
    window.open(pages / "wide.html")
    window.run(f"document.head.insertAdjacentHTML('beforeend', '<style>{style}</style>')")
    assert window.measure()[what] != []
