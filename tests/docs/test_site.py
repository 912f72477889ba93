"""The built site: no warning, no broken link, nothing from elsewhere."""

import importlib.util
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from importlib.util import find_spec
from urllib.parse import unquote

import pytest

from .pages import DOCS, PAGES, ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("zensical") is None, reason="zensical builds the site: install the group docs"
    ),
]


class Page(HTMLParser):
    """What a page loads, links to, and can be linked at."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.ids, self.title = [], [], set(), ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._inside = tag
        self.ids |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])

    def handle_data(self, data):
        if self._inside == "title":
            self.title += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site, and what the builder said."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(DOCS, tree / "docs")
    (tree / "benchmarks").mkdir()
    for name in ("mkdocs.yml", "CHANGELOG.md", "benchmarks/RESULTS.md"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "site", done.stdout + done.stderr


@pytest.fixture(scope="module")
def pages(site):
    return {
        path: Page(path.read_text()) for path in sorted(site[0].rglob("*.html")) if path.name != "404.html"
    }


def test_the_builder_warns_of_nothing(site):
    assert "warning" not in site[1].lower() and "error" not in site[1].lower(), site[1]


def test_every_document_is_a_page_with_a_title(site, pages):
    wanted = {(site[0] / path.relative_to(DOCS)).with_suffix(".html") for path in PAGES}
    assert wanted <= pages.keys()
    assert all(page.title.strip() for page in pages.values())


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for path, page in pages.items():
        for target in page.loads:
            assert not target.startswith(("http:", "https:", "//")), f"{path.name} loads {target}"
            assert (path.parent / unquote(target.partition("?")[0])).exists(), f"{path.name} lacks {target}"
    for style in site[0].rglob("*.css"):
        text = style.read_text()
        assert "url(http" not in text and "url(//" not in text and "@import" not in text, style.name


def test_no_link_is_broken(site, pages):
    count = 0
    for path, page in pages.items():
        for target in page.links:
            if target.startswith(("http:", "https:", "mailto:")):
                continue
            file, _, anchor = target.partition("#")
            other = (path.parent / unquote(file)).resolve() if file else path
            other = other / "index.html" if other.is_dir() else other
            assert other in pages, f"{path.name}: {target}"
            # the theme itself links to places that it makes with a script
            assert not anchor or unquote(anchor) in pages[other].ids or anchor.startswith("__"), target
            count += 1
    assert count > 500


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    place = ROOT / "tests" / "report" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser_of_the_site", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.chromium():
        pytest.skip("there is no chromium")
    with module.Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


FOUND = """(() => {
  const all = root => [...root.querySelectorAll('*')].flatMap(e => e.shadowRoot ? [e.shadowRoot] : []);
  return all(document).map(root => root.textContent).join(' ');
})()"""


def test_pages_opened_as_files_ask_nobody_and_can_be_searched(site, browser):
    browser.fresh()
    browser.open(site[0] / "index.html")
    browser.run("document.querySelector('.md-search__button').click()")
    browser.ask("Input.insertText", text="effective rank")
    end = time.monotonic() + 30
    while "effective_rank" not in (found := browser.run(FOUND)) and time.monotonic() < end:
        time.sleep(0.2)
    assert "effective_rank" in found
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []


# what the theme itself lays over a page or beside it
OWN = (
    ".md-header, .md-tabs, .md-sidebar, .md-search, .md-top, .md-footer, .md-clipboard, .headerlink, .md-skip"
)
HIDE = f"document.head.insertAdjacentHTML('beforeend', '<style>{OWN} {{ display: none !important }}</style>')"


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_cut_or_overlaps(site, browser, pages, width):
    browser.fresh()
    browser.size(width, 900, phone=width < 400)
    wrong = {}
    for path in pages:
        browser.open(path)
        browser.run(HIDE)
        found = browser.measure(scrolls=True)
        if found["cut"] or found["over"] or browser.run("document.documentElement.scrollWidth") > width:
            wrong[path.relative_to(site[0]).as_posix()] = found
    assert wrong == {}
    assert browser.problems == []


@pytest.mark.parametrize("name", ["index", "data", "faults", "reference/components", "reference/commands"])
def test_a_page_with_its_tables_and_code_fits_a_phone(site, browser, name):
    browser.fresh()
    browser.size(390, 844, phone=True)
    browser.open(site[0] / f"{name}.html")
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.problems == []
