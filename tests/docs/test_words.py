"""Pages keep to the field's terms and to American spelling."""

import re

import pytest

from .pages import DOCS, ROOT, name, prose

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
QUAINT = (
    "bit for bit|goes? on|learnt|lies? in|stands? beside|beside it|tells?|told|asked for|looks? at|looked|"
    "what came of|comes? of it|made anew|built anew|nobody|somebody|honest|one for each|picture|mend(ed|s)?"
)
BRITISH = r"\w*colour\w*|neighbour\w*|\w*labelled|normalis\w*|recognis\w*|minimis\w*|grey|centred?|licence"


def found(text):
    return re.findall(rf"\b(?:{QUAINT}|{BRITISH})\b", prose(text), re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_uses_standard_terms(page):
    pattern = re.compile(rf"\b(?:{QUAINT}|{BRITISH})\b", re.IGNORECASE)
    assert [match[0] for match in pattern.finditer(prose(page.read_text()))] == []


def test_other_terms_are_found():
    assert found("It goes on, `told` by the Colour.") != []
    assert found("It resumes, `told` by the color.") == []
