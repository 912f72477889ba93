"""Markdown of a study's author, safe in a page and below the headings of a report."""

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from ssl_seg.results.tables import as_markdown
from ssl_seg.utils.text import strip_unprintable

_CODE = re.compile(r"`([^`\n]+)`")
_HIGHEST = 4  # h1 to h3 are the page's own


def prose(text: str) -> Markup:
    """Return CommonMark text as HTML: tags are shown as text, pictures as their description, script links not made."""
    parser = _parser()
    parser.add_render_rule("image", _description)
    tokens = parser.parse(strip_unprintable(text))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{_level(token)}"
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def code_spans(text: str) -> Markup:
    """Return one of our sentences as HTML: what stands between backticks is code, and all of it is escaped."""
    parts = _CODE.split(strip_unprintable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def code_spans_markdown(text: str) -> str:
    """Return the same for the Markdown report: what stands between backticks is code, the rest is as it reads."""
    parts = _CODE.split(text)
    return "".join(
        f"`{strip_unprintable(part)}`" if index % 2 else as_markdown(part) for index, part in enumerate(parts)
    )


def prose_markdown(text: str) -> str:
    """Return the text for the Markdown report: its headings below the report's own, tags and pictures shown as text.

    What stands in a fenced block of code is left as it is.
    """
    lines = strip_unprintable(text).split("\n")
    tokens = _parser().parse("\n".join(lines))
    fenced = {number for token in tokens if token.type == "fence" for number in range(*token.map or (0, 0))}
    for number in {*range(len(lines))} - fenced:
        lines[number] = lines[number].replace("<", "&lt;").replace("![", "!&#91;")
    for token in tokens:
        if token.type == "heading_open" and token.map:
            _lower(lines, token.map[0], token.map[1], token)
    return "\n".join(lines).strip()


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _level(heading: Token) -> int:
    return min(6, int(heading.tag[1:]) + _HIGHEST - 1)


def _lower(lines: list[str], first: int, end: int, heading: Token) -> None:
    """Give a heading its level in the report; one that was underlined becomes one of `#`."""
    marks = "#" * _level(heading)
    if heading.markup.startswith("#"):
        lines[first] = re.sub(r"#+", marks, lines[first], count=1)
    elif heading.level == 0:
        lines[first:end] = [f"{marks} {' '.join(lines[first : end - 1])}", *[""] * (end - first - 1)]


def _description(renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return str(escape(tokens[index].content))
