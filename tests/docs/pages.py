"""The documents as text: their blocks, headings and links."""

import re
import unicodedata
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path):
    return path.relative_to(ROOT).as_posix()


def prose(text):
    """Without blocks of code, code in lines, and comments."""
    text = re.sub(r"<!--.*?-->", "", _FENCE.sub("", text), flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def marked(kind):
    """Every block behind a comment `<!-- kind: VALUE -->` or `<!-- kind -->`: page, value, block."""
    pattern = re.compile(rf"^<!-- {kind}(?:: (\S+))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(path, match[1], match[2]) for path in PAGES for match in pattern.finditer(path.read_text())]


def anchors(text):
    """The ids of all headings, made as Python-Markdown makes them."""
    found = []
    for heading in re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        count = sum(re.fullmatch(rf"{re.escape(slug)}(_\d+)?", other) is not None for other in found)
        found.append(f"{slug}_{count}" if count else slug)
    return found


def links(text):
    """Targets of all links and images in the prose."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def command_words(text):
    """Every `ssl-seg ...` in a text as a tuple of the plain words that follow."""
    return [
        tuple(re.findall(r"[a-z-]+", found)) for found in re.findall(r"ssl-seg((?: [a-z][a-z-]*)+)", text)
    ]
