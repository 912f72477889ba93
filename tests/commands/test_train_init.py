"""Pre-training that starts from weights."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ssl_seg.weights.backbone_file import read_metadata, save_backbone

SHORT = ["--image-size", 32, "--batch-size", 8, "--epochs", 1, "--cpu"]


@pytest.fixture
def first(cli, tmp_path):
    words = ("train", "demo:16", "--backbone", "test_resnet", *SHORT, "--out", tmp_path / "first")
    code, _, err = cli(*words)
    assert code == 0, err
    return tmp_path / "first"


def test_another_method_goes_on_from_a_run(cli, tmp_path, first):
    words = ("--ssl", "simclr", "--init", first, "--lr", 0, "--probe", "demo:96")
    code, _, err = cli("train", "demo:16", *words, *SHORT, "--out", tmp_path / "second")
    assert code == 0, err
    assert f"{first}: matched" in err
    assert "simclr on test_resnet" in err, "the backbone is that of the weights"
    assert "before training: probe_knn" in err
    one, two = (load_file(run / "backbone.safetensors") for run in (first, tmp_path / "second"))
    weights = [name for name in one if "running" not in name and "batches" not in name]
    assert weights and all(torch.equal(one[name], two[name]) for name in weights), "with a rate of 0"


def test_it_resumes_without_the_weights_being_read_again(cli, tmp_path, first):
    run = tmp_path / "second"
    words = ("train", "demo:16", "--ssl", "simclr", "--init", first, *SHORT, "--out", run)
    assert cli(*words, "--epochs", 2)[0] == 0
    whole = load_file(run / "backbone.safetensors")
    code, _, err = cli("train", "--resume", "--out", run)
    assert code == 0, err
    assert "matched" not in err
    assert all(
        torch.equal(tensor, whole[name]) for name, tensor in load_file(run / "backbone.safetensors").items()
    )
    code, _, err = cli("train", "--resume", "--init", run, "--out", run)
    assert code == 2
    assert f"init: was '{first}', now '{run}'" in err


def test_the_normalization_of_the_weights_is_that_of_the_run(cli, tmp_path, first):
    metadata = read_metadata(first)
    other = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    from ssl_seg import TimmBackbone

    backbone = TimmBackbone("test_resnet")
    known = {
        key: metadata[key] for key in ("backbone", "options", "image_size", "canvas", "precision", "epochs")
    }
    save_backbone(tmp_path / "b.safetensors", backbone, known | other)
    run = tmp_path / "second"
    code, _, err = cli("train", "demo:16", "--init", tmp_path / "b.safetensors", *SHORT, "--out", run)
    assert code == 0, err
    found = read_metadata(run)
    assert (list(found["mean"]), list(found["std"])) == (other["mean"], other["std"])


def test_a_set_of_weights_is_chosen(cli, tmp_path, first):
    sets = {name: load_file(first / "backbone.safetensors") for name in ("student", "teacher")}
    sets["teacher"] = {
        name: value + 1 if value.is_floating_point() else value for name, value in sets["teacher"].items()
    }
    torch.save(sets, tmp_path / "dino.pth")
    words = (
        "train",
        "demo:16",
        "--backbone",
        "test_resnet",
        "--init",
        tmp_path / "dino.pth",
        "--lr",
        0,
        *SHORT,
    )
    for name, prefix, other in (("teacher", (), "student"), ("student", ("--prefix", "student"), "")):
        code, _, err = cli(*words, *prefix, "--out", tmp_path / name)
        assert code == 0, err
        assert f"(prefix '{name}.')" in err
        assert ("passed over: 'student.' (--prefix)" in err) == bool(other)
        found = load_file(tmp_path / name / "backbone.safetensors")["conv1.0.weight"]
        assert torch.equal(found, sets[name]["conv1.0.weight"])
    assert 'prefix = "student"' in (tmp_path / "student" / "run.toml").read_text()
    code, _, err = cli("train", "demo:16", "--prefix", "student", *SHORT, "--out", tmp_path / "none")
    assert code == 2 and "--init FILE --prefix teacher" in err


def test_weights_that_do_not_fit_end_it_before_anything_is_trained(cli, tmp_path, first):
    words = ("--backbone", "resnet18", "--init", first, *SHORT, "--out", tmp_path / "second")
    code, _, err = cli("train", "demo:16", *words)
    assert code == 4
    assert "next: --backbone test_resnet" in err
    assert not (tmp_path / "second" / "scores.jsonl").exists()


def test_a_study_goes_on_from_a_stage(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = """out = "out"
[defaults.train]
data = "demo:16"
image_size = 32
[stages.one]
command = "train"
[stages.two]
command = "train"
ssl = "simclr"
init = "@one"
"""
    (tmp_path / "s.toml").write_text(text)
    code, out, err = cli("study", "s.toml", "--dry-run")
    assert code == 0, err
    assert "two, seed 0" in out


def test_where_training_starts_is_a_row_of_its_own(tmp_path):
    from ssl_seg.results.pretraining import read_rows
    from ssl_seg.study.config import StageConfig

    stages = []
    for name, init in (("a", ""), ("b", 'init = "runs/a"\n')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "scores.jsonl").write_text(json.dumps({"epoch": 1, "probe_knn": 1.0}) + "\n")
        (folder / "run.toml").write_text(f'backbone = "resnet18"\n{init}')
        for file in ("probe_predictions.csv", "probe_untrained.csv"):
            (folder / file).write_text("filename,label,predicted\n1.png,cat,cat\n")
        stages.append((StageConfig(name, name, "train", [0], {}), {0: folder}))
    names = [row.name for row in read_rows(stages, "probe_knn")]
    assert names == ["untrained", "resnet18 from runs/a", "a", "b"]
