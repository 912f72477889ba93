"""The example without a command line."""

import ast
import runpy

import torch

from ssl_seg import TimmBackbone, load_backbone

from .pages import ROOT

EXAMPLE = ROOT / "examples" / "own_loop.py"


def test_it_trains_and_its_weights_can_be_used(tmp_path, monkeypatch, photos, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    fresh = TimmBackbone("resnet10t").state_dict()
    torch.manual_seed(0)
    runpy.run_path(str(EXAMPLE))
    losses = [float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6 and all(0 < loss < 8 for loss in losses)  # 24 images, batches of 8, 2 epochs
    trained = TimmBackbone("resnet10t")
    load_backbone(tmp_path / "backbone.pt", trained)
    assert any(not torch.equal(tensor, fresh[name]) for name, tensor in trained.state_dict().items())


def test_it_is_short_and_knows_no_command():
    tree = ast.parse(EXAMPLE.read_text())
    lines = [line for line in EXAMPLE.read_text().splitlines()[2:] if line.strip()]
    assert len(lines) <= 32
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [
        module for module in modules if "commands" in module or "registry" in module or "cli" in module
    ]
