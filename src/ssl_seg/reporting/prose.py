"""Markdown of a study's author, safe in a page and below the headings of a report."""

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

from ssl_seg.utils.text import strip_unprintable

_HIGHEST = 4  # h1 to h3 are the page's own


def prose(text: str) -> Markup:
    """Return CommonMark text as HTML. Tags are shown as text, script links and pictures are not made."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(strip_unprintable(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + _HIGHEST - 1)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def prose_markdown(text: str) -> str:
    """Return the text for the Markdown report: its headings below the report's own, tags shown as text."""
    lower = re.sub(
        r"^(#{1,3})(?=\s)", lambda found: found[0] + "#" * (_HIGHEST - 1), text, flags=re.MULTILINE
    )
    return strip_unprintable(lower.replace("<", "&lt;")).strip()
