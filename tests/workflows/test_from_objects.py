"""Whole runs of objects: the same folders and results as those of names."""

import signal
import tomllib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ssl_seg
from ssl_seg import (
    BYOL,
    MLP,
    Arrays,
    ClassificationTask,
    DeepLabV3,
    Linear,
    Model,
    SegmentationTask,
    TimmBackbone,
)
from ssl_seg.errors import DataError, Stopped, UsageError, WeightsError
from ssl_seg.testing import TinyBackbone

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 40, 48, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
MASKS = RANDOM.integers(0, 3, (12, 40, 48))
SMALL = {"epochs": 1, "batch_size": 4, "cpu": True, "precision": "fp32", "progress": False}


@pytest.fixture
def small(tmp_path):
    return {**SMALL, "image_size": 32, "cache": str(tmp_path / "cache")}


def byol(backbone):
    torch.manual_seed(0)
    return BYOL(backbone, hidden=16, dimensions=8)


def linear(backbone, classes=3):
    torch.manual_seed(0)
    return Model(backbone, Linear(backbone.channels, backbone.strides, classes))


def settings_of(run):
    return tomllib.loads((run.folder / "run.toml").read_text())


def test_pretraining_is_that_of_names(small, tmp_path, capsys):
    """The same network and images give the same weights, whichever door they come through."""
    from ssl_seg.datasets.demo import demo

    words = {key: value for key, value in small.items() if key != "progress"}
    option = ["ssl.hidden=16", "ssl.dimensions=8"]
    named = ssl_seg.train(
        "demo:12", backbone="test_resnet", option=option, out=tmp_path / "named", progress=False, **words
    )
    torch.manual_seed(0)
    method = BYOL(TimmBackbone("test_resnet"), hidden=16, dimensions=8)
    run = ssl_seg.pretrain(method, demo("12", ""), out=str(tmp_path / "objects"), **small)
    assert capsys.readouterr() == ("", "")
    one, two = (load_file(each.folder / "backbone.safetensors") for each in (named, run))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    timed = ("seconds", "images_per_second", "energy_wh")
    lines = [{k: v for k, v in each.scores[0].items() if k not in timed} for each in (named, run)]
    assert lines[0]["loss"] == lines[1]["loss"] and lines[0].keys() == lines[1].keys()
    theirs, ours = settings_of(named), settings_of(run)
    assert theirs["record"]["data"] == ours["record"]["data"]
    assert (ours["ssl"], ours["backbone"], ours["data"]) == ("byol", "test_resnet", "DemoDataset(12)")
    assert {k: v for k, v in ours.items() if k not in ("data", "record", "o")} == {
        k: v for k, v in theirs.items() if k not in ("data", "record", "o")
    }
    assert type(run) is type(named)


def test_pretraining_then_classification(small, tmp_path):
    probe = Arrays(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), LABELS)
    method = byol(TimmBackbone("test_resnet", stem="standard"))
    run = ssl_seg.pretrain(method, Arrays(IMAGES), probe=probe, out=tmp_path / "run", **small)
    assert 0 <= run.scores[-1]["probe_knn"] <= 1
    assert all(
        torch.equal(a, b.cpu())
        for a, b in zip(run.backbone.parameters(), method.backbone.parameters(), strict=True)
    )
    before = {name: tensor.clone() for name, tensor in run.backbone.state_dict().items()}
    model = linear(run.backbone)
    val = Arrays(IMAGES[:6], LABELS[:6], name="val")
    fine = ssl_seg.finetune(
        model, Arrays(IMAGES, LABELS), val, out=tmp_path / "fine", freeze=True, allow_overlap=True, **small
    )
    assert fine.result["images"] == 6 and set(fine.result["last"]) >= {"top1", "mean_class"}
    assert all(torch.equal(before[name], tensor) for name, tensor in fine.backbone.state_dict().items())
    loaded, metadata = ssl_seg.load(fine.folder)
    assert metadata["task"] == "classify" and metadata["classes"] == ["0", "1", "2"]
    views = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(views), fine.model(views))
    assert (fine.folder / "val_predictions.csv").read_text().splitlines()[1].startswith("val-00000,0,")


def test_segmentation(small, tmp_path):
    backbone = TimmBackbone("test_resnet")
    model = Model(backbone, DeepLabV3(backbone.channels, backbone.strides, 3, width=8))
    data, val = Arrays(IMAGES, MASKS), Arrays(IMAGES[:4] + 1, MASKS[:4])
    run = ssl_seg.finetune(model, data, val, out=tmp_path / "run", watch="image-00002", **small)
    assert 0 <= run.result["last"]["miou"] <= 1 and run.model is not model
    assert (run.folder / "masks" / "epoch-0001" / "image-00002.png").exists()
    assert settings_of(run)["record"]["command"] == "segment"


def test_a_task_of_its_own_keeps_its_loss(small, tmp_path):
    backbone = TinyBackbone()
    task = ClassificationTask(linear(backbone), freeze_backbone=True, label_smoothing=0.2)
    config = ssl_seg.ClassificationConfig(lr=0.01, keep_features=0)
    run = ssl_seg.finetune(task, Arrays(IMAGES, LABELS), out=tmp_path / "a", config=config, **small)
    known = settings_of(run)
    assert (known["freeze"], known["label_smoothing"], known["lr"]) == (True, 0.2, 0.01)
    model = Model(backbone, DeepLabV3(backbone.channels, backbone.strides, 3, width=8))
    run = ssl_seg.finetune(
        SegmentationTask(model, loss="dice"), Arrays(IMAGES, MASKS), out=tmp_path / "b", **small
    )
    assert "loss" in run.scores[-1]


@pytest.mark.parametrize("by_task", [False, True])
def test_with_an_average_the_model_that_was_given_is_the_one_that_is_kept(by_task, small, tmp_path):
    model = linear(TimmBackbone("test_resnet"))
    subject = ClassificationTask(model, ema=0.9) if by_task else model
    asked = {} if by_task else {"ema": 0.9}
    run = ssl_seg.finetune(subject, Arrays(IMAGES, LABELS), out=tmp_path / "run", **asked, **small)
    assert settings_of(run)["ema"] == 0.9
    kept = load_file(run.folder / "model.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    momenta = {part.momentum for part in run.model.modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert momenta == {0.1} and all(tensor.requires_grad for tensor in run.model.parameters())


def test_a_setting_that_a_task_decides_is_recorded_as_the_task_has_it(small, tmp_path):
    task = ClassificationTask(linear(TinyBackbone()))
    run = ssl_seg.finetune(task, Arrays(IMAGES, LABELS), out=tmp_path / "run", ema=0.9, **small)
    assert "ema" not in settings_of(run)


def test_a_backbone_without_a_name_stays_usable(small, tmp_path):
    run = ssl_seg.pretrain(byol(TinyBackbone()), Arrays(IMAGES), out=tmp_path / "run", **small)
    assert isinstance(run.backbone, TinyBackbone) and not run.backbone.training
    other = TinyBackbone()
    ssl_seg.load_backbone(run.folder, other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), run.backbone.parameters(), strict=True))
    with pytest.raises(WeightsError, match="no backbone 'TinyBackbone'"):
        ssl_seg.load(run.folder)


def test_a_stopped_run_continues(small, tmp_path):
    """Ctrl-C raises, and says how to resume from Python; then the result is that of a run in one piece."""

    class Interrupted(BYOL):
        def after_step(self, progress):
            super().after_step(progress)
            if progress > 0.4 and not getattr(self, "resumed", False):
                signal.raise_signal(signal.SIGINT)

    def run(method, out, **more):
        return ssl_seg.pretrain(method, Arrays(IMAGES), out=out, **small, **more)

    def made(kind):
        torch.manual_seed(0)
        return kind(TinyBackbone(), hidden=16, dimensions=8)

    whole = run(made(BYOL), tmp_path / "whole")
    cut = tmp_path / "cut"
    with pytest.raises(Stopped) as caught:
        run(made(Interrupted), cut)
    assert caught.value.next == f"ssl_seg.pretrain(..., out={str(cut)!r}, resume=True)"
    again = made(Interrupted)
    again.resumed = True
    resumed = run(again, cut, resume=True)
    one, two = (load_file(each.folder / "backbone.safetensors") for each in (whole, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "no setting 'epoch'; did you mean 'epochs'"),
        ({"backbone": "resnet50"}, "'backbone' is not a setting here"),
        ({"epochs": "many"}, "epochs: .*, got 'many'"),
        ({"schedule": "linear"}, "schedule: .* got 'linear'"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"optimizer": "adamm"}, "no optimizer 'adamm'; did you mean 'adam"),
    ],
)
def test_wrong_settings_are_refused(settings, message, small, tmp_path):
    with pytest.raises(UsageError, match=message):
        ssl_seg.pretrain(byol(TinyBackbone()), Arrays(IMAGES), out=tmp_path / "r", **{**small, **settings})
    assert not list(tmp_path.glob("r/checkpoints/*"))


def test_wrong_objects_are_refused(small, tmp_path):
    out, labelled = tmp_path / "run", Arrays(IMAGES, LABELS)
    with pytest.raises(UsageError, match="a method is needed, got a TinyBackbone"):
        ssl_seg.pretrain(TinyBackbone(), labelled, out=out, **small)
    with pytest.raises(UsageError, match="a model is needed, got a TinyBackbone"):
        ssl_seg.finetune(TinyBackbone(), labelled, out=out, **small)
    with pytest.raises(DataError, match=r"Arrays\(12\) has no labels"):
        ssl_seg.finetune(linear(TinyBackbone()), Arrays(IMAGES), out=out, **small)
    with pytest.raises(DataError, match=r"Arrays\(12\) has no labels"):
        ssl_seg.pretrain(byol(TinyBackbone()), labelled, probe=Arrays(IMAGES), out=out, **small)
    with pytest.raises(DataError, match="has masks, and no label for each image"):
        ssl_seg.finetune(ClassificationTask(linear(TinyBackbone())), Arrays(IMAGES, MASKS), out=out, **small)
    with pytest.raises(UsageError, match="the model predicts 5 classes, and the data have 3"):
        ssl_seg.finetune(linear(TinyBackbone(), 5), labelled, out=out, **small)
    with pytest.raises(UsageError, match="config must be a ClassificationConfig"):
        config = ssl_seg.SegmentationConfig()
        ssl_seg.finetune(linear(TinyBackbone()), labelled, out=out, config=config, **small)


def test_a_model_excludes_what_the_run_excludes(small, tmp_path):
    data = Arrays(IMAGES, MASKS, classes=["sky", "sea", "none"])

    def model(**excluded):
        backbone = TinyBackbone()
        head = DeepLabV3(backbone.channels, backbone.strides, 3, width=8)
        return Model(backbone, head, **excluded)

    with pytest.raises(UsageError, match=r"the model excludes the classes \[\], and the run \[2\]"):
        ssl_seg.finetune(model(), data, out=tmp_path / "a", exclude="none", **small)
    run = ssl_seg.finetune(
        model(excluded=[2]), data, data, out=tmp_path / "b", exclude="none", allow_overlap=True, **small
    )
    assert "iou/none" not in run.result["last"]


def test_names_in_the_record_are_those_of_the_registry(small, tmp_path):
    backbone = TimmBackbone("test_resnet", output_stride=16)
    model = Model(backbone, MLP(backbone.channels, backbone.strides, 3))
    known = settings_of(ssl_seg.finetune(model, Arrays(IMAGES, LABELS), out=tmp_path / "run", **small))
    assert (known["backbone"], known["head"]) == ("test_resnet", "mlp")
    assert known["o"] == {"backbone": {"output_stride": "16"}}
