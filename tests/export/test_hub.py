"""A folder for Hugging Face's hub: what it says and what loads it."""

import json
import re

import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.exporting import hub as module
from ssl_seg.exporting.hub import to_hub
from ssl_seg.exporting.run_record import RunRecord, read_record
from ssl_seg.heads.linear import Linear
from ssl_seg.utils.toml import to_toml
from ssl_seg.weights.backbone_file import load_backbone

HOSTILE = [
    "plain",
    "---",
    "a: b\n---\nlicense: mit",
    'quote " and \\ back',
    "| pipe | <script>alert(1)</script>",
    "[link](http://x) `code` **bold**",
    "é ✓ \u2028 \x07 \x85",
    "!!python/object/apply:os.system",
    "\ud800 half",
]


@pytest.fixture
def run(tmp_path):
    """A run's folder as `segment` leaves it, but for the weights."""
    folder = tmp_path / "my: run"
    folder.mkdir()
    record = {
        "command": "segment",
        "device": "CPU, 2 threads, fp32",
        "versions": {"torch": "2.15.0"},
        "train": {"images": 40, "skipped": 0, "canvas": 64, "fingerprint": "abc123"},
        "val": {"images": 12, "skipped": 0, "canvas": 64, "fingerprint": "def456"},
    }
    settings = {"backbone": "test_resnet", "head": "deeplabv3", "epochs": 5, "lr": 0.0003, "seed": 2}
    settings |= {"train": "/home/somebody/tiles/train", "val": "csv:/home/somebody/tiles/val.csv"}
    settings["o"] = {"head": {"width": "8"}}
    (folder / "run.toml").write_text(to_toml({**settings, "record": record}))
    (folder / "scores.jsonl").write_text('{"epoch": 5, "step": 50, "loss": 0.5, "val_miou": 0.4}\n')
    per_class = {f"iou/{name}": index / 10 for index, name in enumerate(HOSTILE)} | {
        "iou/plain": float("nan")
    }
    result = {
        "images": 12,
        "last": {"epoch": 5, "miou": 0.4, "pixel_accuracy": 0.7, **per_class},
        "best": {"epoch": 3, "miou": 0.45},
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def front_of(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n")
    front, body = text[4:].split("\n---\n", 1)
    return yaml.safe_load(front), body


def test_numbers_come_with_their_epoch_and_images(source, run, tmp_path):
    exported = source(
        "test_resnet",
        head=Linear,
        classes=2,
        metadata={"task": "segment", "head": "deeplabv3", "exclude": ["un|known"]},
    )
    to_hub(exported, tmp_path / "out", record=read_record(run), license="cc-by-4.0")
    front, body = front_of(tmp_path / "out")
    assert front["license"] == "cc-by-4.0" and front["pipeline_tag"] == "image-segmentation"
    assert "after epoch 5 on 12 images (validation: val" in body and "seed 2" in body
    assert "miou excludes un\\|known" in body
    assert "| miou | 0.4000 |" in body and "0.4500" not in body
    for told in ("abc123", "def456", "| 40 |", "0.0003", "torch 2.15.0", "| head.width | 8 |", "fp32"):
        assert told in body
    assert "/home/somebody" not in (tmp_path / "out" / "README.md").read_text(), "paths are nobody's business"
    assert "ssl-seg predict FOLDER IMAGES --out masks" in body
    results = ModelCard.load(tmp_path / "out" / "README.md").data.eval_results
    assert {(r.metric_type, r.metric_value) for r in results} == {("mean_iou", 0.4), ("pixel_accuracy", 0.7)}
    assert {r.dataset_split for r in results} == {"validation"}
    to_hub(exported, tmp_path / "best", record=read_record(run, "best"))
    _, body = front_of(tmp_path / "best")
    assert "after epoch 3" in body and "0.4500" in body and "optimistic" in body


def test_no_name_breaks_the_card(source, run, tmp_path):
    exported = source("test_resnet", head=Linear, classes=len(HOSTILE), metadata={"task": "classify"})
    object.__setattr__(exported, "classes", HOSTILE)
    settings = {name: HOSTILE[2] for name in ("ssl", "backbone", "head", "train", "val", "init", "loss")}
    record = read_record(run)
    record = RunRecord(
        HOSTILE[2], {**record.settings, **settings}, record.environment, 5, record.numbers, "val"
    )
    to_hub(exported, tmp_path / "out", record=record)
    front, body = front_of(tmp_path / "out")
    assert front["license"] == "unknown" and set(front) == {
        "license",
        "library_name",
        "pipeline_tag",
        "tags",
        "model-index",
    }
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE[2]
    assert "<script>" not in body.replace("\\<script", "") and "\n---\n" not in body
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert body.count("# ") - body.count("\\# ") - body.count("## ") == 1
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert list(config["id2label"].values()) == HOSTILE
    assert ModelCard.load(tmp_path / "out" / "README.md").data.license == "unknown"


@torch.no_grad()
def test_a_backbone_loads_in_timm_and_here(source, tmp_path):
    exported = source("test_resnet", metadata={"trained_by": "byol"})
    made = to_hub(exported, tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = exported.sample_images()
    torch.testing.assert_close(
        model.forward_features(images), exported.backbone(images)[-1], rtol=1e-6, atol=1e-6
    )
    match = load_backbone(tmp_path / "out", TimmBackbone("test_resnet"))
    assert match.matched == match.num_tensors and match.unexpected_keys == []
    front, body = front_of(tmp_path / "out")
    assert front["library_name"] == "timm" and "byol" in front["tags"] and "model-index" not in front
    assert "pre-trained with byol (self-supervised)" in body and "Not evaluated" in body
    assert any("hf upload" in note for note in made.notes) and any("license" in note for note in made.notes)


@pytest.mark.parametrize("kind", ["timm", "stem", "model"])
def test_the_python_of_the_card_runs(source, tmp_path, monkeypatch, kind):
    metadata = {"task": "classify", "head": "linear", "head_options": {}, "classes": ["class 0", "class 1"]}
    metadata |= {"image_size": 64}
    exported = {
        "timm": lambda: source("test_resnet"),
        "stem": lambda: source("resnet18", stem="small"),
        "model": lambda: source("test_resnet", head=Linear, classes=2, metadata=metadata),
    }[kind]()
    to_hub(exported, tmp_path / "FOLDER")
    monkeypatch.chdir(tmp_path)
    _, body = front_of(tmp_path / "FOLDER")
    (code,) = re.findall(r"^```python\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
    exec(code, scope := {})  # noqa: S102  it is ours
    loaded = scope["model"]
    own = (exported.model or exported.backbone).state_dict()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.state_dict().items())


def test_what_vgg_lacks_for_timm_keeps_it_out_of_timm(source, tmp_path):
    to_hub(source("vgg11_bn", size=32), tmp_path / "out")
    front, _ = front_of(tmp_path / "out")
    assert front["library_name"] == "ssl-seg"
    assert "architecture" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert all(name.startswith("features.") for name in load_file(tmp_path / "out" / "model.safetensors"))


def test_what_is_read_back_must_be_what_was_written(source, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "read_tensors", lambda path: ({}, {}))
    with pytest.raises(WeightsError, match="verification failed"):
        to_hub(source("test_resnet"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("license", ["MIT", "a b", "mit\nfoo: bar", ""])
def test_a_licence_is_an_identifier(source, tmp_path, license):
    with pytest.raises(UsageError, match="invalid license identifier"):
        to_hub(source("test_resnet"), tmp_path / "out", license=license)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_tells_nothing(tmp_path):
    assert read_record(tmp_path) == RunRecord(tmp_path.name)
