"""Learning rates by layer are those of timm, and reach the optimizer of a run."""

import json

import pytest
import timm
from timm.optim import param_groups_layer_decay

from ssl_seg import TimmBackbone
from ssl_seg.errors import UsageError
from ssl_seg.nn.layer_decay import layer_lr_scales
from ssl_seg.testing import TinyBackbone


@pytest.mark.parametrize("name", ["test_vit", "resnet10t", "convnext_atto", "test_efficientnet"])
def test_factors_are_timms(name):
    ours, net = layer_lr_scales(TimmBackbone(name), 0.5), timm.create_model(name)
    names = {id(parameter): f"net.{name}" for name, parameter in net.named_parameters()}
    groups = param_groups_layer_decay(net, 0.05, layer_decay=0.5)
    theirs = {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}
    assert ours == {name: theirs[name] for name in ours}
    assert len(set(ours.values())) > 3


def test_what_cannot_decay_is_refused():
    with pytest.raises(UsageError, match="above 0 and at most 1, got 1.5"):
        layer_lr_scales(TimmBackbone("test_vit"), 1.5)
    with pytest.raises(UsageError, match="TinyBackbone does not name its layers"):
        layer_lr_scales(TinyBackbone(), 0.5)


def test_a_run_has_these_rates(cli, tmp_path, monkeypatch):
    from ssl_seg.workflows import optimization

    found = {}
    build = optimization.build_param_groups

    def spy(module, *values):
        groups = build(module, *values)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        found.update({names[id(p)]: group["scale"] for group in groups for p in group["params"]})
        return groups

    monkeypatch.setattr(optimization, "build_param_groups", spy)
    words = [
        "demo:8",
        "--backbone",
        "test_vit",
        "--image-size",
        "32",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--cpu",
        "--layer-decay",
        "0.5",
    ]
    rates = ["--lr", 0.01, "--backbone-lr", 0.001]
    code, _, err = cli("classify", *words, *rates, "--out", tmp_path / "run")
    assert code == 0, err
    scales = layer_lr_scales(TimmBackbone("test_vit"), 0.5)
    backbone = {name.removeprefix("model.backbone."): s for name, s in found.items() if "backbone" in name}
    assert backbone == {name: pytest.approx(0.1 * scales[name]) for name in scales}
    assert {s for name, s in found.items() if name.startswith("model.head.")} == {1.0}
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    code, _, err = cli("classify", *words, "--freeze", "--out", tmp_path / "frozen")
    assert code == 2 and "--layer-decay has no effect with --freeze" in err
