"""Training that starts from published weights, which lie in the cache of huggingface_hub."""

import hashlib
import tomllib

import pytest
import timm
import torch
from safetensors.torch import load_file, save

from ssl_seg.weights.backbone_file import read_metadata

NAME = "timm:test_resnet.r160_in1k"
SHORT = ["--batch-size", 8, "--epochs", 1, "--cpu"]
STARTS = {
    "train": ("train", "demo:16", "--image-size", 32, "--lr", 0),
    "classify": ("classify", "demo:16", "--val", "demo:16", "--freeze"),
    "segment": (
        "segment",
        "demo_masks:8",
        "--image-size",
        64,
        "--freeze",
        "--head",
        "fcn32s",
        "-o",
        "head.width=8",
    ),
}


@pytest.fixture
def weights(hub):
    """The folder of `NAME` as timm publishes it."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    return hub("timm/test_resnet.r160_in1k", {"model.safetensors": save(state)})


@pytest.mark.parametrize("command", STARTS)
def test_a_name_of_timm(cli, tmp_path, weights, command):
    run = tmp_path / "run"
    code, _, err = cli(*STARTS[command], "--init", NAME, *SHORT, "--out", run)
    assert code == 0, err
    assert f"{NAME}: matched" in err and "unexpected: fc.weight, fc.bias" in err
    assert "license of the weights: apache-2.0" in err
    theirs, ours = load_file(weights / "model.safetensors"), load_file(run / "backbone.safetensors")
    names = [name for name in ours if "running" not in name and "batches" not in name]
    assert names and all(torch.equal(ours[name], theirs[name]) for name in names)
    metadata = read_metadata(run)
    assert metadata["backbone"] == "test_resnet"
    assert metadata["mean"] == metadata["std"] == [0.5, 0.5, 0.5], "the images are normalized as in timm"
    if command == "classify":
        assert metadata["image_size"] == 160, "the input size of the weights"
    noted = tomllib.loads((run / "run.toml").read_text())["record"]["resolved"]["init"]
    assert noted == {
        "weights": NAME,
        "file": "model.safetensors",
        "revision": weights.name,
        "sha256": hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest(),
        "image_size": 160,
        "license": "apache-2.0",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }


def test_another_image_size_is_asked_for(cli, tmp_path, weights):
    words = ("classify", "demo:16", "--val", "demo:16", "--init", NAME, *SHORT, "--image-size", 32)
    code, _, err = cli(*words, "--out", tmp_path / "run")
    assert code == 4
    assert "trained at 160 px" in err and NAME in err


def test_it_resumes_without_the_weights(cli, tmp_path, hub, weights):
    run = tmp_path / "run"
    assert cli("train", "demo:16", "--image-size", 32, "--init", NAME, *SHORT, "--out", run)[0] == 0
    (weights / "model.safetensors").unlink()
    code, _, err = cli("train", "--resume", "--epochs", 2, "--out", run)
    assert code == 0, err
    assert "matched" not in err


def test_an_unknown_name_names_the_next_one(cli, tmp_path):
    code, _, err = cli("train", "demo:16", "--init", "timm:test_resnet.r161_in1k", "--out", tmp_path / "run")
    assert code == 2
    assert "did you mean 'test_resnet.r160_in1k'?" in err
    code, _, err = cli("train", "demo:16", "--init", "timm:resnet50.none", "--out", tmp_path / "run2")
    assert code == 2
    assert "timm:resnet50.a1_in1k" in err.splitlines()[-1]
