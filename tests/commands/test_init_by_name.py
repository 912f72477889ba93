"""Training that starts from published weights, which lie in the cache of huggingface_hub."""

import hashlib
import json
import tomllib

import pytest
import timm
import torch
from safetensors.torch import load_file, save

import ssl_seg
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


def test_from_weights_to_an_export(cli, tmp_path, weights, monkeypatch):
    """Training goes on from published weights, a classifier from that, and timm loads what is exported."""
    monkeypatch.chdir(tmp_path)
    small = ("--image-size", 32, *SHORT)
    for words in (
        ("train", "demo:16", "--init", NAME, *small, "--out", "ssl"),
        ("classify", "demo:16", "--val", "demo:16", "--init", "ssl", *small, "--out", "classes"),
        ("segment", "demo_masks:8", "--val", "demo_masks:4", "--init", NAME, *small, "--out", "masks"),
        ("export", "classes", "--to", "timm", "--out", "timm"),
        ("classify", "demo:16", "--init", "local-dir:timm", "--freeze", *small, "--out", "again"),
        ("export", NAME, "--to", "hub", "--out", "copy"),
    ):
        code, _, err = cli(*words)
        assert code == 0, err
    net = timm.create_model("local-dir:timm", pretrained=True)
    assert net.pretrained_cfg["mean"] == [0.5, 0.5, 0.5]
    assert read_metadata(tmp_path / "again")["mean"] == [0.5, 0.5, 0.5]
    theirs = load_file(weights / "model.safetensors")
    copied = load_file(tmp_path / "copy" / "model.safetensors")
    assert copied and all(torch.equal(copied[name], theirs[name]) for name in copied)


def test_a_published_backbone_is_evaluated(cli, tmp_path, weights):
    code, out, err = cli(
        "evaluate", NAME, "demo:96", "--train", "demo:64", "--probe", "knn", "--cpu", "--allow-overlap"
    )
    assert code == 0, err
    assert "knn" in out
    code, _, err = cli("embed", NAME, "demo:4", "--out", tmp_path / "f.npz", "--cpu")
    assert code == 0, err
    backbone, about = ssl_seg.load(NAME)
    assert about["license"] == "apache-2.0" and backbone.channels[-1] == 96


def test_python_and_a_study_take_the_same_names(tmp_path, weights, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ssl_seg.train(
        "demo:16", init=NAME, image_size=32, batch_size=8, epochs=1, cpu=True, out="a", progress=False
    )
    assert run.backbone.channels[-1] == 96
    (tmp_path / "s.toml").write_text(
        f"""out = "out"
report = false
[stages.fine]
command = "classify"
train = "demo:16"
val = "demo:16"
init = "{NAME}"
freeze = true
epochs = 1
batch_size = 8
cpu = true
"""
    )
    code, _, err = cli("study", "s.toml")
    assert code == 0, err
    assert 'weights = "timm:test_resnet.r160_in1k"' in next(tmp_path.glob("out/*/run.toml")).read_text()


def test_the_network_is_asked_for_nothing_unless_a_name_needs_it(cli, tmp_path, weights, monkeypatch):
    asked = []

    def refused(*given, **_):
        asked.append(given)
        raise OSError("no network")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    small = ("--image-size", 32, *SHORT)
    run = tmp_path / "run"
    assert cli("train", "demo:16", "--backbone", "test_resnet", *small, "--out", run)[0] == 0
    assert cli("classify", "demo:16", "--init", run, "--freeze", *small, "--out", tmp_path / "c")[0] == 0
    assert cli("train", "demo:16", "--init", NAME, *small, "--out", tmp_path / "cached")[0] == 0
    masks, heads = tmp_path / "m", ("--head", "fcn32s", "-o", "head.width=8")
    scenes = ("demo_masks:8", "--val", "demo_masks:4", "--allow-overlap")
    for words in (
        ("segment", *scenes, "--init", run, *heads, *small, "--out", masks),
        ("predict", tmp_path / "c", "demo:4", "--cpu", "--out", tmp_path / "p.csv"),
        ("predict", masks, "demo_masks:4", "--cpu", "--out", tmp_path / "p"),
        ("evaluate", masks, "demo_masks:4", "--cpu"),
        ("embed", run, "demo:4", "--cpu", "--out", tmp_path / "f.npz"),
        ("report", run, tmp_path / "c", masks, "--out", tmp_path / "r.html"),
        ("export", run, "--to", "timm", "--out", tmp_path / "timm"),
    ):
        code, _, err = cli(*words)
        assert code == 0, (words, err)
    assert not asked
    name = "timm:test_vit.r160_in1k"
    code, _, err = cli("train", "demo:16", "--init", name, *small, "--out", tmp_path / "far")
    assert code == 4 and asked
    assert "cannot download model.safetensors of timm/test_vit.r160_in1k: no connection to" in err
    assert "hf download timm/test_vit.r160_in1k --local-dir FOLDER" in err
    assert "Traceback" not in err


def test_what_a_hub_says_does_not_reach_the_terminal_as_it_is(cli, tmp_path, hub, weights):
    state = (weights / "model.safetensors").read_bytes()
    settings = {"input_size": [3, 160, 160], "mean": [0.5] * 3, "std": [0.5] * 3, "license": "\x1b[2Jmit"}
    config = {"architecture": "test_resnet", "pretrained_cfg": settings}
    hub("me/net", {"config.json": json.dumps(config), "model.safetensors": state})
    words = (
        "train",
        "demo:16",
        "--init",
        "hf-hub:me/net",
        "--image-size",
        32,
        *SHORT,
        "--out",
        tmp_path / "run",
    )
    code, _, err = cli(*words)
    assert code == 0, err
    assert "\x1b" not in err and "license of the weights: \\x1b[2Jmit" in err
    hub("me/net", {"config.json": json.dumps(config | {"architecture": "\x1b[2J"})})
    code, _, err = cli(*words[:-1], tmp_path / "run2")
    assert code == 4 and "\x1b" not in err


def test_an_unknown_name_names_the_next_one(cli, tmp_path):
    code, _, err = cli("train", "demo:16", "--init", "timm:test_resnet.r161_in1k", "--out", tmp_path / "run")
    assert code == 2
    assert "did you mean 'test_resnet.r160_in1k'?" in err
    code, _, err = cli("train", "demo:16", "--init", "timm:resnet50.none", "--out", tmp_path / "run2")
    assert code == 2
    assert "timm:resnet50.a1_in1k" in err.splitlines()[-1]
