"""`--dry-run`: the run's own path for a few steps, what they say of the whole, and nothing left behind."""

import torch
from torch import nn

import ssl_seg
from ssl_seg.workflows.dry_run import _saved_by

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu", "--epochs", 6]


def test_pretraining_is_tried_and_nothing_is_written(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("train", "demo:40", *TINY, "--probe", "demo:40", "--probe-every", 2, "--dry-run")
    assert (code, out) == (0, ""), err
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    lines = dict(line.split(": ", 1) for line in err.splitlines() if ": " in line)
    assert lines["input"] == "2 of 8 x 3 x 32 x 32"
    assert lines["output of the backbone"].startswith("8 x 32 x 16 x 16")
    assert "(30 steps in 6 epochs: training" in lines["forecast"]
    assert "3 validations of" in lines["forecast"]
    assert "MiB (estimated" in lines["memory"] and "MiB a checkpoint" in lines["disk"]
    assert "finished" not in err and "weights:" not in err and "epoch 2:" not in err


def test_numbers_of_a_classifier(tmp_path):
    small = {"backbone": "test_resnet", "image_size": 32, "batch_size": 8, "cpu": True, "allow_overlap": True}
    run = ssl_seg.classify("demo:40", "demo:24", **small, epochs=3, dry_run=True, out=tmp_path / "run")
    found, backbone = run.forecast, ssl_seg.TimmBackbone("test_resnet")
    assert not run.folder.exists()
    count = sum(each.numel() for each in backbone.parameters())
    head = 8 * (backbone.channels[-1] + 1)
    assert found.parameters == {"in the backbone": count, "in all": count + head, "trained": count + head}
    assert found.inputs == [(8, 3, 32, 32), (8,)] and found.outputs["head"] == [(8, 8)]
    assert (found.steps, found.epochs, found.validations) == (15, 3, 3)
    assert found.validation_seconds > 0 and found.step_seconds > 0 and not found.measured
    # weights, gradients and the two averages of AdamW; beside them BatchNorm's buffers and the activations
    assert 0 <= found.memory - found.activations - 16 * (count + head) < 0.1 * found.memory
    assert found.seconds == found.step_seconds * 15 + found.validation_seconds * 3


def test_segmentation_is_tried_in_micro_batches(cli, tmp_path):
    flags = [*TINY, "--val-every", 4, "--allow-overlap", "--accumulate", 2, "--out", tmp_path / "run"]
    code, _, err = cli("segment", "demo_masks:16", "--val", "demo_masks:8", *flags, "--dry-run")
    assert code == 0, err
    assert not (tmp_path / "run").exists()
    assert "input: 4 x 3 x 32 x 32, 4 x 32 x 32" in err
    assert "output of the head: 4 x " in err
    assert "1 validation of" in err


def test_frozen_features_and_a_fault_of_the_settings(cli, tmp_path):
    data = ["classify", "demo:40", "--val", "demo:24", "--allow-overlap", "--freeze", *TINY, "--dry-run"]
    code, _, err = cli(*data)
    assert code == 0 and "input: 8 x 96, 8" in err, err
    code, _, err = cli(*data, "--early-stop", "val_topp:3")
    assert code == 2 and "did you mean 'val_top" in err
    code, _, err = cli(*data, "--resume", "--out", tmp_path)
    assert code != 0


def test_what_the_backward_pass_needs_is_counted():
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with _saved_by(network) as saved:
        for _ in range(2):  # the first pass counts
            network(torch.ones(5, 4)).sum().backward()
    # the input, and the output of ReLU, which both it and the next layer keep
    assert sum(saved.values()) == 4 * 5 * (4 + 8)
