"""From settings to optimizer and record."""

import pytest
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.commands.settings import plan_of
from ssl_seg.engine.optim import parameter_groups, undecayed
from ssl_seg.engine.run_dir import Run
from ssl_seg.utils.toml import read_toml

SUITS = {"optimizer": "adamw", "lr": 0.1, "weight_decay": 0.3, "warmup": 0.0}
GIVEN = {"epochs": 2, "batch_size": 8, "schedule": "cosine", "clip": 0.0, "save_every": 0}


class RunOf(Run):
    """A run with this record, resumed if there is one."""

    def __init__(self, record):
        self.resume, self.settings = record is not None, lambda: {"record": record}


def decaying(optimizer, module):
    names = {id(p): name for name, p in module.named_parameters()}
    return [
        names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]
    ]


@pytest.mark.parametrize(
    ("record", "old"),
    [({}, True), ({"no_weight_decay": []}, False), (None, False)],
    ids=["0.1.0", "new", "fresh"],
)
def test_a_run_of_the_first_version_goes_on_with_its_own_groups(record, old):
    """The optimizer's state is in the order of the groups: in another order it would be of other parameters."""
    module = TimmBackbone("test_vit")
    run = RunOf(record)
    _, optimizer = plan_of(dict(GIVEN), module, SUITS, 3, run)
    expected = parameter_groups(module, 0.3, spared=() if old else undecayed(module))
    for mine, theirs in zip(optimizer.param_groups, expected, strict=True):
        assert [id(p) for p in mine["params"]] == [id(p) for p in theirs["params"]]
    assert ("net.cls_token" in decaying(optimizer, module)) == old


def test_the_record_names_what_does_not_decay(cli, tmp_path):
    flags = ["--backbone", "test_vit", "--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]
    code, _, err = cli("classify", "demo:12", *flags, "--keep-features", 0, "--out", tmp_path / "r")
    assert code == 0, err
    found = read_toml(tmp_path / "r" / "run.toml")["record"]["no_weight_decay"]
    assert "model.backbone.net.cls_token" in found and "model.backbone.net.pos_embed" in found


def test_of_a_rate_of_nothing_the_backbones_is_no_multiple():
    module = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    run = RunOf(None)
    plan, optimizer = plan_of(
        {**GIVEN, "backbone_lr": 1e-3}, module, SUITS | {"lr": 0.0}, 3, run, "backbone."
    )
    scales = {
        name: group["scale"]
        for name, parameter in module.named_parameters()
        for group in optimizer.param_groups
        if any(parameter is member for member in group["params"])
    }
    assert scales == {"backbone.weight": 1.0, "backbone.bias": 1.0, "head.weight": 0.0, "head.bias": 0.0}
    assert plan.rate(0) == pytest.approx(1e-3)
