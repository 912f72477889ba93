"""What the author of a study writes stands in the report, and nothing in it acts."""

import json
import shutil

import pytest
from markdown_it import MarkdownIt

from ssl_seg.errors import DataError
from ssl_seg.reporting.build import build
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.page import page
from ssl_seg.reporting.prose import prose, prose_markdown

TEXT = {
    "title": "Homework 1",
    "authors": ["Ada & Co", "B. <b>Bold</b>"],
    "question": "Which network is better?",
    "introduction": "# Setting\n\nTwo *networks* on <tiles>.",
    "training": "Both converged.",
    "discussion": "The second one, because of its **context**.",
}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a <svg onload=alert(1)> b",
    "[x](javascript:alert(1)) [y](data:text/html,<script>) <javascript:alert(1)> [z](vbscript:x)",
    '[x](http://e.com "onmouseover=alert(1)")',
    "![x](http://e.com/p.png)",
    "```html\n<script>\n```",
    "</div></section><h1>owned</h1>",
]
TAGS = {"h4", "p", "a", "strong", "em", "code", "pre", "br"}


@pytest.fixture
def written(study, tmp_path):
    """A study with its author's words."""
    folder = tmp_path / "out"
    shutil.copytree(study, folder)
    about = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(about | {"report": TEXT}))
    return folder


def test_the_page_has_the_words_where_they_belong(reader, written):
    text = page(build([written]))
    read = reader.Reader(text)
    assert "<title>Homework 1</title>" in text
    assert "Ada & Co, B. <b>Bold</b>" in read.texts
    assert "Which network is better?" in read.texts
    assert "<h4>Setting</h4>\n<p>Two <em>networks</em> on &lt;tiles&gt;.</p>" in text
    order = [
        "<h2>Introduction",
        "Two <em>",
        "<h2>Summary",
        "<h2>Training<",
        "Both converged.",
        "<h2>Discussion",
    ]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert '<a href="#discussion">' in text


def test_markdown_has_them_too(written, tmp_path):
    write_markdown(build([written]), tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    order = [
        "# Homework 1",
        "## Introduction",
        "#### Setting",
        "&lt;tiles>",
        "## Training",
        "Both converged.",
    ]
    places = [text.index(word) for word in [*order, "## Discussion", "**context**", "## Training health"]]
    assert places == sorted(places)
    assert "html_block" not in {token.type for token in MarkdownIt().parse(text)}


def test_a_title_that_is_typed_comes_first(written):
    assert build([written], "Typed").title == "Typed"


def test_of_several_studies_no_author_speaks(written, study):
    assert build([written, study]).collected.text.sections == {}


@pytest.mark.parametrize("wrong", [{"titel": "x"}, {"authors": "x"}, {"discussion": 3}, "text"])
def test_a_damaged_table_is_named(written, wrong):
    about = json.loads((written / "study.json").read_text())
    (written / "study.json").write_text(json.dumps(about | {"report": wrong}))
    with pytest.raises(DataError, match=r"study\.json is corrupt"):
        build([written])


def test_pictures_are_their_descriptions():
    assert str(prose("A ![chart](http://e.com/p.png) here")) == "<p>A chart here</p>\n"
    tokens = MarkdownIt().parse(
        prose_markdown("![x](http://e.com/p.png)\n\n![y][r]\n\n[r]: http://e.com/q.png")
    )
    assert "image" not in {child.type for token in tokens for child in token.children or ()}


def test_markdown_keeps_code_and_lowers_every_kind_of_heading():
    code = "```python\n# no heading\nif a < b:\n```"
    assert prose_markdown(code) == code
    headings = prose_markdown("# One\n\nTwo\n===\n\n### Three\n\n#### Four #5")
    levels = [token.tag for token in MarkdownIt().parse(headings) if token.type == "heading_open"]
    assert levels == ["h4", "h4", "h6", "h6"] and headings.endswith("###### Four #5")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_it_acts(reader, text):
    read = reader.Reader(str(prose(text)))
    assert {tag for tag, _ in read.elements} <= TAGS
    for _, attributes in read.elements:
        assert attributes.keys() <= {"href", "title", "class"}
        assert attributes.get("href", "http:").startswith("http")
    kinds = {token.type for token in MarkdownIt().parse(prose_markdown(text))}
    assert "html_block" not in kinds
