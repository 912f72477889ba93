"""Links between the pages lead somewhere, to the heading."""

import re

import pytest

from .pages import DOCS, PAGES, ROOT, anchors, links, name

OTHERS = [*ROOT.glob("*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/**/*.md")]


def broken(path, text):
    """Links of a page that lead nowhere."""
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        there = other.exists()
        if there and anchor:
            there = anchor in anchors(text if other == path else other.read_text())
        if not there:
            yield target
        elif DOCS in path.parents and DOCS not in other.parents:
            yield f"{target} (outside of the site)"


@pytest.mark.parametrize("path", [*PAGES, *OTHERS], ids=name)
def test_no_link_is_broken(path):
    assert list(broken(path, path.read_text())) == []


def test_a_broken_link_is_found():
    page = DOCS / "index.md"
    text = "# One two\n[a](no.md) [b](#one-two) [c](#three) [d](data.md#no) [e](../README.md) `[f](x.md)`\n"
    assert list(broken(page, text)) == ["no.md", "#three", "data.md#no", "../README.md (outside of the site)"]


def test_anchors_are_made_as_markdown_makes_them():
    text = "# `ssl-seg train`\n## A & B, C?\n## What it is\n```text\n# no\n```\n## What it is\n"
    assert anchors(text) == ["ssl-seg-train", "a-b-c", "what-it-is", "what-it-is_1"]


def test_every_page_can_be_reached_and_says_its_name():
    titles = [path.read_text().removeprefix("<!-- written by scripts/reference -->\n") for path in PAGES]
    for path, text in zip(PAGES, titles, strict=True):
        assert path.name in ("changelog.md", "results.md") or text.startswith("# "), (
            f"{name(path)} has no title"
        )
