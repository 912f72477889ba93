"""All pages that are written or refreshed, as they should be."""

import re
from pathlib import Path

from api_page import api_page
from commands_page import commands_page
from components_page import backbones_page, components_page
from notebook_page import notebook_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = ("api", "backbones", "commands", "components", "tour")
_TOUR = "examples/tour.ipynb"
_NOTE = "<!-- written by scripts/reference -->\n"
_QUOTE = re.compile(r"(<!-- whole: (\S+) -->\n```\w+\n)(.*?)(^```$)", re.MULTILINE | re.DOTALL)


def pages() -> dict[Path, str]:
    """Path and text of every such page."""
    tour = notebook_page(ROOT / _TOUR, _TOUR)
    texts = (api_page(), backbones_page(), commands_page(DOCS), components_page(), tour)
    found = {
        DOCS / "reference" / f"{name}.md": f"{_NOTE}{text.rstrip()}\n"
        for name, text in zip(GENERATED, texts, strict=True)
    }
    for path in sorted(DOCS.rglob("*.md")):
        if path not in found and _QUOTE.search(path.read_text()):
            found[path] = quoted(path.read_text())
    return found


def quoted(text: str) -> str:
    """A page whose quotes are what the files say now."""
    return _QUOTE.sub(lambda match: match[1] + (ROOT / match[2]).read_text() + match[4], text)
