"""The package that people copy, and what becomes of it beside packages that are broken."""

import re
from pathlib import Path

import pytest
import torch
from ssl_seg_template import TemplateMethod

from ssl_seg.base import Backbone

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "plugins" / "ssl-seg-template"
FILE = FOLDER / "src" / "ssl_seg_template.py"


def files_of(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and "cache" not in str(path))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def quoted():
    """The plugin as docs/write-a-plugin.md shows it."""
    text = (ROOT / "docs" / "write-a-plugin.md").read_text()
    return re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[1]


def test_it_is_what_new_plugin_writes(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_seg.workflows.plugin_skeleton.find_spec", lambda name: None)  # it is on our path
    code, _, err = cli("new-plugin", "template", "--out", tmp_path / "made")
    assert code == 0, err
    assert files_of(tmp_path / "made") == files_of(FOLDER)


def test_the_documents_quote_it():
    assert quoted() == FILE.read_text()


def test_it_has_at_most_twenty_lines():
    assert len([line for line in quoted().splitlines() if line.strip()]) <= 20


def test_its_loss_is_the_one_of_lightly():
    from lightly.loss import BarlowTwinsLoss

    class Points(Backbone):
        channels = (8,)

        def forward(self, points):
            return [points[:, :, None, None]]

    generator = torch.Generator().manual_seed(0)
    one = torch.randn(16, 8, generator=generator)
    two = one + 0.5 * torch.randn(16, 8, generator=generator)
    method = TemplateMethod(Points(), width=6)
    ours = method.training_step([one, two])["loss"]
    theirs = BarlowTwinsLoss()(*(method.projector[:-1](points) for points in (one, two)))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-3)  # they divide by n, without BatchNorm's 1e-5


def test_from_the_documents_alone_beside_two_broken_ones_it_trains(package, cli, tmp_path, monkeypatch):
    """Its text is copied from docs/write-a-plugin.md; one package raises at import, one names a module that is not there."""
    package("copied", quoted().replace("template", "copied"))
    package("raises", "raise RuntimeError('no licence server')")
    package("points-nowhere", "", entry="nowhere = no_such_module")
    monkeypatch.chdir(tmp_path)
    small = ("--image-size", 16, "--batch-size", 16, "--epochs", 1, "--cpu", "--backbone", "test_resnet")
    code, _, err = cli("train", "demo:32", "--ssl", "copied", *small, "--out", "run")
    assert code == 0, err
    assert (tmp_path / "run" / "backbone.safetensors").is_file()
    notes = sorted(line for line in err.splitlines() if line.startswith("note: "))
    assert len(notes) == 2
    gone = "ModuleNotFoundError: No module named 'no_such_module'"
    assert notes[0] == f"note: plugin 'nowhere' of points-nowhere 1.2 is disabled: {gone}"
    assert notes[1] == "note: plugin 'raises' of raises 1.2 is disabled: RuntimeError: no licence server"
