"""The package that people copy: its own tests, its metadata, and its loss against another's."""

import ast
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "plugins" / "ssl-seg-template"


def load(path, name):
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def template():
    yield load(FOLDER / "src" / "ssl_seg_template.py", "ssl_seg_template")
    del sys.modules["ssl_seg_template"]


def test_its_own_tests_pass(template):
    tests = load(FOLDER / "tests" / "test_vicreg.py", "ssl_seg_template_tests")
    names = [name for name in vars(tests) if name.startswith("test_")]
    assert len(names) == 2
    for name in names:
        getattr(tests, name)()


def test_its_entry_point_is_its_module(template):
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["ssl_seg"] == {"template": "ssl_seg_template"}
    assert list(template.ssl_methods()) == ["vicreg"]


def test_registering_takes_three_lines(template):
    tree = ast.parse(Path(template.__file__).read_text())
    hooks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    assert [node.end_lineno - node.decorator_list[0].lineno + 1 for node in hooks] == [3]


def test_its_loss_is_the_one_of_lightly(template):
    from lightly.loss import VICRegLoss

    generator = torch.Generator().manual_seed(0)
    one = torch.randn(16, 8, generator=generator)
    two = one + 0.5 * torch.randn(16, 8, generator=generator)

    class Backbone(torch.nn.Module):
        channels = (8,)

        def forward(self, points):
            return [points[:, :, None, None]]

    method = template.VICReg(Backbone(), dimensions=4)
    method.expander = torch.nn.Identity()
    ours = method.training_step([one, two])["loss"]
    assert ours.item() == pytest.approx(VICRegLoss()(one, two).item(), rel=1e-5)
