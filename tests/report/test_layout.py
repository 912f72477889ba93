"""The page measured in a browser: at any width nothing is cut, and no text lies upon another."""

import pytest

from ssl_seg.reporting.build import build
from ssl_seg.reporting.page import write_page

# What is outside the window or its own box, and what overlaps: of every line of text and every picture that is shown.
MEASURE = """(() => {
  document.querySelectorAll('details').forEach(part => { part.open = true; });
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), boxes = [], cut = [], over = [];
  const seen = e => e.checkVisibility() && !e.closest('script, .skip, title, option, [hidden]');
  const add = (owner, name, rects) => { for (const r of rects) if (r.width > 1 && r.height > 1) boxes.push({ owner, name, r }); };
  for (let node; (node = words.nextNode());) {
    if (!node.data.trim() || !seen(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    add(node.parentElement, node.data.trim().slice(0, 40), range.getClientRects());
  }
  document.querySelectorAll('img, canvas').forEach(e => seen(e) && add(e, e.alt || e.tagName, [e.getBoundingClientRect()]));
  const wide = document.documentElement.clientWidth;
  for (const { owner, name, r } of boxes) {
    if (r.left < -1 || r.right > wide + 1) cut.push(name);
    for (let e = owner; e && e !== document.body; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== 'visible' && e.clientWidth) {
        const box = e.getBoundingClientRect();
        if (r.right > box.right + 1 || r.left < box.left - 1) cut.push(name);
      }
  }
  const drawing = e => e.closest('svg');
  boxes.sort((a, b) => a.r.top - b.r.top);
  boxes.forEach((a, i) => {
    for (let k = i + 1; k < boxes.length && boxes[k].r.top < a.r.bottom - 2; k++) {
      const b = boxes[k], related = a.owner.contains(b.owner) || b.owner.contains(a.owner);
      if (!related && a.r.left < b.r.right - 1 && b.r.left < a.r.right - 1 && a.r.bottom - b.r.top > 3)
        over.push(a.name + ' / ' + b.name);
    }
  });
  return { count: boxes.length, cut: [...new Set(cut)], over: [...new Set(over)] };
})()"""


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
    found = window.run(MEASURE)
    assert found["count"] > 200
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
    assert window.run(MEASURE)[what] != []
