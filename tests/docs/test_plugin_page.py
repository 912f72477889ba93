"""The parts on the page about plugins keep the contract of their kind."""

import re

import pytest

from ssl_seg import testing

from .pages import DOCS

TEXT = (DOCS / "write-a-plugin.md").read_text()
BLOCKS = [block for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]
CHECKS = {
    "ssl_methods": testing.check_method,
    "backbones": testing.check_backbone,
    "heads": testing.check_head,
    "datasets": lambda factory: testing.check_dataset(factory("", "")),
    "metrics": testing.check_metric,
}


@pytest.mark.parametrize("hook", CHECKS)
def test_the_example_of_a_kind_passes_its_check(hook):
    found = [block for block in BLOCKS if f"def {hook}()" in block]
    assert found, f"no example of {hook}"
    for block in found:
        scope = {"__name__": "page"}
        exec(block, scope)  # noqa: S102  it is ours
        for factory in scope[hook]().values():
            CHECKS[hook](factory)


def test_the_first_example_takes_fewer_than_twenty_lines():
    code = [line for line in BLOCKS[0].splitlines() if line.strip() and not line.startswith("#")]
    assert "def ssl_methods" in BLOCKS[0] and len(code) < 20


def test_the_kit_is_shown_with_these_names():
    names = set(re.findall(r"check_\w+", TEXT.split("## Tests")[1]))
    assert names == {name for name in vars(testing) if name.startswith("check_")}
