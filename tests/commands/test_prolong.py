"""`train --resume --epochs N`: a run gets more epochs."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from ssl_seg.utils.toml import read_toml

SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu", "--ssl", "simclr"]
CONSTANT = ["--schedule", "constant", "--warmup", 0]


def train(cli, folder, *words):
    code, _, err = cli("train", "demo:16", *SHORT, *words, "--out", folder)
    assert code == 0, err
    return folder


def weights_of(folder):
    return {name: tensor.tolist() for name, tensor in load_file(folder / "backbone.safetensors").items()}


def losses_of(folder):
    return [json.loads(line)["loss"] for line in (folder / "scores.jsonl").read_text().splitlines()]


@pytest.fixture
def finished(cli, tmp_path):
    return train(cli, tmp_path / "run", *CONSTANT, "--epochs", 2)


def test_at_a_constant_rate_it_is_the_longer_run_bit_for_bit(cli, tmp_path, finished):
    whole = train(cli, tmp_path / "whole", *CONSTANT, "--epochs", 4)
    code, _, err = cli("train", "--resume", "--epochs", 4, "--out", finished)
    assert code == 0, err
    assert "prolonged from 2 to 4 epochs: from step 4 on" in err
    assert losses_of(finished) == losses_of(whole)
    assert weights_of(finished) == weights_of(whole)
    settings = read_toml(finished / "run.toml")
    assert (settings["epochs"], settings["record"]["prolonged"]) == (4, [[4, 2, 4]])
    assert json.loads((finished / "status.json").read_text())["state"] == "finished"


def test_a_run_can_be_prolonged_again_and_resumed_without_the_number(cli, monkeypatch, finished):
    monkeypatch.setattr("ssl_seg.engine.flops.training_flops", None)  # counted once, when a run starts
    for epochs in (3, 4):
        code, _, err = cli("train", "--resume", "--epochs", epochs, "--out", finished)
        assert code == 0, err
    assert read_toml(finished / "run.toml")["record"]["prolonged"] == [[4, 2, 3], [6, 3, 4]]
    code, _, err = cli("train", "--resume", "--out", finished)
    assert code == 0, err
    assert len(losses_of(finished)) == 4


def test_killed_before_its_first_step_it_goes_on(cli, tmp_path, finished):
    """`run.toml` has the new number, and the newest checkpoint still the old one."""
    before = shutil.copytree(finished, tmp_path / "before")
    assert cli("train", "--resume", "--epochs", 4, "--out", finished)[0] == 0
    shutil.copy(finished / "run.toml", before / "run.toml")
    code, _, err = cli("train", "--resume", "--out", before)
    assert code == 0, err
    assert weights_of(before) == weights_of(finished)


def test_the_number_alone_may_not_be_edited(cli, finished):
    path = finished / "run.toml"
    path.write_text(path.read_text().replace("epochs = 2", "epochs = 4"))
    code, _, err = cli("train", "--resume", "--out", finished)
    assert code == 4
    assert "epochs: was 2, is 4" in err


@pytest.mark.parametrize("record", ["prolonged = 3", 'prolonged = ["x"]', "prolonged = [[4, 3, 9]]"])
def test_a_damaged_record_is_refused(cli, finished, record):
    path = finished / "run.toml"
    text = path.read_text().replace("epochs = 2", "epochs = 4").replace("[record]", f"[record]\n{record}")
    path.write_text(text)
    code, _, err = cli("train", "--resume", "--out", finished)
    assert code == 4
    assert "epochs: was 2, is 4" in err


def test_fewer_epochs_are_refused_and_so_are_more_of_a_classifier(cli, tmp_path, finished):
    code, _, err = cli("train", "--resume", "--epochs", 1, "--out", finished)
    assert code == 2 and "epochs: was 2, now 1" in err
    words = ("demo:16", "--val", "demo:24", "--allow-overlap", "--epochs", 1, "--out", tmp_path / "c")
    assert cli("classify", *words, *SHORT[:-2])[0] == 0
    code, _, err = cli("classify", "--resume", "--epochs", 2, "--out", tmp_path / "c")
    assert code == 2 and "epochs: was 1, now 2" in err
