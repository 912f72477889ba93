"""Every promise about faults names a test that is there."""

import ast
import re

import pytest

from .pages import DOCS, ROOT

SECTION = (DOCS / "faults.md").read_text().partition("## Guarantees")[2]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", SECTION)
ROWS = [line for line in SECTION.splitlines() if line.startswith("|")][2:]


def test_every_promise_names_its_test():
    assert len(ROWS) == len(NAMED) > 15
    assert len(set(NAMED)) == len(NAMED)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_promise_is_shown(file, test):
    tree = ast.parse((ROOT / "tests" / file).read_text())
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert test in found
    marks = {ast.unparse(each).partition("(")[0] for each in found[test].decorator_list}
    assert marks <= {"pytest.mark.parametrize"}, "it does not run with the others, everywhere"
