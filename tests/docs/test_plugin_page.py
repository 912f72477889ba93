"""The examples of the tutorial keep the contracts of their types, and the reference names every check."""

import re

import pytest
import torch

from ssl_seg import Linear, Model, TimmBackbone, save_backbone, testing
from ssl_seg.testing import TinyBackbone

from .pages import DOCS, prose

TEXT = (DOCS / "write-a-plugin.md").read_text()
BLOCKS = [block for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]
METADATA = {"backbone": "resnet10t", "image_size": 32}
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


def test_the_example_of_a_command_passes_its_check_and_exports(tmp_path):
    (block,) = [block for block in BLOCKS if "typer.Typer()" in block]
    scope = {"__name__": "page"}
    exec(block, scope)  # noqa: S102  it is ours
    testing.check_command(scope["app"])
    save_backbone(tmp_path / "backbone.safetensors", TimmBackbone("resnet10t"), METADATA)
    scope["aot"](tmp_path, tmp_path / "out.pt2")
    assert (tmp_path / "out.pt2").stat().st_size > 1e6


def test_the_example_of_a_loss_is_the_cross_entropy_without_focus():
    (block,) = [block for block in BLOCKS if "class FocalTask" in block]
    scope = {"__name__": "page"}
    exec(block, scope)  # noqa: S102  it is ours
    logits, targets = torch.randn(6, 3), torch.arange(6) % 3
    probabilities = logits.softmax(dim=1)[range(6), targets]
    expected = -((1 - probabilities) ** 2 * probabilities.log()).mean()
    assert torch.allclose(scope["focal_loss"](logits, targets), expected)
    model = Model(TinyBackbone(), Linear([8, 16], [2, 4], 3))
    assert scope["FocalTask"](model)((torch.randn(4, 3, 32, 32), torch.arange(4) % 3))["loss"].requires_grad


def test_every_check_is_in_the_tables_and_in_the_example_test():
    checks = {name for name in vars(testing) if name.startswith("check_")}
    text = (DOCS / "plugins.md").read_text()
    types, _, rest = text.partition("## Conformance checks")
    assert set(re.findall(r"`(check_\w+)`", types)) == checks
    assert set(re.findall(r"check_\w+", rest)) == checks


def test_the_two_pages_share_no_paragraph():
    pages = [(DOCS / page).read_text() for page in ("write-a-plugin.md", "plugins.md")]
    sentences = [set(re.split(r"(?<=[.:])\s+", prose(page).replace("\n", " "))) for page in pages]
    assert not {sentence for sentence in sentences[0] & sentences[1] if len(sentence) > 40}
