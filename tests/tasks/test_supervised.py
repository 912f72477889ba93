"""The average of a model's weights: as PyTorch averages, evaluated and kept, exact where nothing moves."""

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel

from ssl_seg.base import Model
from ssl_seg.errors import UsageError
from ssl_seg.heads.linear import Linear
from ssl_seg.tasks.classification import ClassificationTask
from ssl_seg.tasks.segmentation import SegmentationTask
from ssl_seg.tasks.supervised import ModelAverage
from ssl_seg.testing import TinyBackbone

SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu"]


def new_model():
    torch.manual_seed(0)
    backbone = TinyBackbone()
    return Model(backbone, Linear(backbone.channels, backbone.strides, 5))


def shaken(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor))
            else:
                tensor.add_(1)


def test_it_is_pytorchs_average():
    model = new_model()

    def lerp(averages, tensors, steps):
        share = 1 - min(0.3, (1 + float(steps)) / (10 + float(steps)))
        for average, tensor in zip(averages, tensors, strict=True):
            average.lerp_(tensor, share) if average.is_floating_point() else average.copy_(tensor)

    ours, theirs = ModelAverage(model, 0.3), AveragedModel(model, multi_avg_fn=lerp, use_buffers=True)
    theirs.n_averaged += 1  # its first update is a copy
    for step in range(6):
        shaken(model, step)
        ours.update(model)
        theirs.update_parameters(model)
    for name, tensor in theirs.module.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-6)


def test_what_does_not_move_stays_bit_for_bit():
    module = ClassificationTask(new_model(), freeze_backbone=True, ema=0.9)
    frozen = copy.deepcopy(module.model.backbone.state_dict())
    for step in range(5):
        shaken(module.model.head, step)
        module.after_step(0.0)
    assert all(torch.equal(t, frozen[n]) for n, t in module.evaluated.backbone.state_dict().items())
    head, average = (next(model.head.parameters()) for model in (module.model, module.evaluated))
    assert not torch.equal(head, average) and not average.requires_grad


@pytest.mark.parametrize("task", [ClassificationTask, SegmentationTask])
def test_without_it_the_model_itself_is_evaluated(task):
    module = task(new_model())
    assert module.evaluated is module.model and module.average is None
    module.after_step(0.5)
    with pytest.raises(UsageError, match="between 0 and 1, got 1"):
        task(new_model(), ema=1.0)


@pytest.mark.parametrize("command", ["classify", "segment"])
def test_the_average_is_measured_and_kept(cli, tmp_path, command):
    data = ["demo:16", "--val", "demo:8", *SHORT, "--epochs", 2]

    def run(name, *words):
        code, _, err = cli(command, *data, *words, "--out", tmp_path / name)
        assert code == 0, err
        return tmp_path / name

    plain, averaged = run("plain"), run("averaged", "--ema", 0.9)
    one, two = (load_file(folder / "model.safetensors") for folder in (plain, averaged))
    assert one.keys() == two.keys()
    assert any(not torch.equal(one[name], two[name]) for name in one)
    code, _, err = cli("evaluate", averaged, "demo:8", "--cpu", "--out", tmp_path / "scores.json")
    assert code == 0, err
    key = "top1" if command == "classify" else "miou"
    last = json.loads((averaged / "result.json").read_text())["last"][key]
    assert json.loads((tmp_path / "scores.json").read_text())[key] == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("command", ["classify", "segment"])
def test_a_stopped_run_has_the_average_of_an_undisturbed_one(cli, tmp_path, command):
    words = [command, "demo:16", *SHORT, "--epochs", 2, "--ema", 0.9, "--save-every", 1]
    assert cli(*words, "--out", tmp_path / "whole")[0] == 0
    assert cli(*words, "--out", tmp_path / "cut")[0] == 0
    shutil.rmtree(max((tmp_path / "cut" / "checkpoints").iterdir()))
    assert max((tmp_path / "cut" / "checkpoints").iterdir()).name > "step-000000"
    (tmp_path / "cut" / "status.json").unlink()
    code, _, err = cli(command, "--resume", "--out", tmp_path / "cut")
    assert code == 0, err
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
