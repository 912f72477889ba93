"""Files of version 0.1.0 open as the networks that they are of, bit for bit."""

import hashlib
import json
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Model
from ssl_seg.engine.optim import build_param_groups
from ssl_seg.heads.linear import Linear
from ssl_seg.weights.backbone_file import load_backbone, read_metadata, save_backbone
from ssl_seg.weights.load import load
from ssl_seg.weights.model_file import save_model

NETWORKS = ["test_efficientnet", "test_convnext", "test_mambaout"]
SAME = ["test_resnet", "test_vit"]
EARLY = {name: {"idle_layers": "true"} for name in NETWORKS} | {
    "test_resnet": {},
    "test_vit": {"pool": "mean"},
}
IMAGES = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
METADATA = {
    "task": "classify",
    "head": "linear",
    "head_options": {},
    "classes": ["a", "b"],
    "image_size": 160,
}
METADATA |= {"mean": [0.5] * 3, "std": [0.5] * 3, "options": {}}


def early(path):
    """The header as 0.1.0 wrote it."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    metadata = json.loads(header["about"])
    assert metadata.pop("untrained") is not None and header.pop("ssl_seg.digest")
    save_file(load_file(path), path, metadata={**header, "about": json.dumps(metadata)})


@pytest.fixture
def backbone():
    def make(name):
        torch.manual_seed(0)
        return TimmBackbone(name, idle_layers=True).eval()

    return make


@pytest.mark.parametrize("name", NETWORKS + SAME)
def test_a_backbone(tmp_path, backbone, name):
    given, path = backbone(name), tmp_path / "backbone.safetensors"
    save_backbone(path, given, {"backbone": name, "options": {}})
    early(path)
    assert read_metadata(path)["options"] == EARLY[name]
    found, _ = load(path)
    with torch.no_grad():
        assert torch.equal(found.summary(IMAGES), given(IMAGES)[-1].mean(dim=(2, 3)))
        for one, two in zip(found(IMAGES), given(IMAGES), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("name", NETWORKS + SAME)
def test_a_model(tmp_path, backbone, name):
    base = backbone(name)
    model = Model(base, Linear(base.channels, base.strides, 2)).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, {**METADATA, "backbone": name})
    early(path)
    found, _ = load(path)
    with torch.no_grad():
        assert torch.equal(found(IMAGES), model(IMAGES))


@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_today_are_of_todays_networks(tmp_path, name):
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, TimmBackbone(name), {"backbone": name, "options": {}})
    metadata = read_metadata(path)
    assert (metadata["options"], metadata["untrained"]) == ({}, [])
    assert load(path)[0].channels == TimmBackbone(name).channels


def test_what_0_1_0_never_trained_is_left_over_in_todays_network(tmp_path, backbone):
    """ConvNeXt's last norm, where somebody asks for the network of today."""
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, backbone("test_convnext"), {"backbone": "test_convnext", "options": {}})
    match = load_backbone(path, TimmBackbone("test_convnext"))
    assert re.search(r"unexpected: head.norm.bias, head.norm.weight", str(match))


def test_a_run_of_the_first_version_goes_on(cli, tmp_path, monkeypatch):
    """Stopped half way, its EfficientNet ends as if it had never been: with the same layers, groups and weights."""
    flags = [
        "--image-size",
        32,
        "--batch-size",
        4,
        "--epochs",
        2,
        "--cpu",
        "--precision",
        "fp32",
        "--seed",
        3,
    ]
    words = ["train", "demo:8", "--ssl", "simsiam", "-o", "ssl.dimensions=8", "-o", "ssl.bottleneck=4"]
    base = [*words, "--backbone", "test_efficientnet", *flags, "--on-collapse", "ignore"]
    old = ["-o", "backbone.idle_layers=true"]
    monkeypatch.setattr("ssl_seg.workflows.optimization.build_param_groups", all_decaying)
    assert cli(*base, *old, "--out", tmp_path / "whole")[0] == 0
    monkeypatch.undo()
    folder = tmp_path / "whole"
    text = (folder / "run.toml").read_text()
    text = re.sub(r"(?m)^no_weight_decay = .*\n|^\[o.backbone\]\n^idle_layers = .*\n", "", text)
    (folder / "run.toml").write_text(text)
    expected = load_file(folder / "backbone.safetensors")
    (folder / "backbone.safetensors").unlink()
    last = max((folder / "checkpoints").iterdir())
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    without_settings(max((folder / "checkpoints").iterdir()))
    code, _, err = cli("train", "--resume", "--out", folder)
    assert code == 0, err
    found = load_file(folder / "backbone.safetensors")
    assert found.keys() == expected.keys() >= {"conv_head.weight"}
    assert all(torch.equal(found[key], expected[key]) for key in found)
    metadata = read_metadata(folder / "backbone.safetensors")
    assert metadata["options"] == {"idle_layers": "true"} and "conv_head.weight" in metadata["untrained"]


def without_settings(checkpoint):
    """Checkpoints of 0.1.0 hold no copy of the settings."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state["settings"]
    data = json.dumps(state).encode()
    (checkpoint / "state.json").write_bytes(data)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["state.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def all_decaying(module, weight_decay, scales=None, spared=None, declared=()):
    return build_param_groups(module, weight_decay, scales, (), declared)
