"""`classify`, `evaluate`, `predict` and `embed`, run whole on small data."""

import csv
import json
import shlex
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, confusion_matrix

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import run_inference
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.code_names import TypedName
from ssl_seg.workflows.classify import CLASSIFICATION

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SHORT = ["--image-size", 16, "--batch-size", 8, "--epochs", 3, "--cpu"]
NET = ["--backbone", f"{TINY}:TinyBackbone"]  # code is named anew for every command
ON_TINY = [*NET, *SHORT]


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tensors(path):
    return load_file(path)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def run(cli, tmp_path):
    """Runs `classify` on painted scenes: `run("name", flags...)` -> its folder."""

    def go(name, *flags, train="demo:40", val="demo:24"):
        out = tmp_path / name
        code, _, err = cli("classify", train, "--val", val, *ON_TINY, *flags, "--out", out)
        assert code == 0, err
        return out

    return go


def test_the_folder_tells_the_same_story_everywhere(run):
    out = run("a")
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    result = json.loads((out / "result.json").read_text())
    predictions = rows_of(out / "val_predictions.csv")
    truth, said = ([row[key] for row in predictions] for key in ("label", "predicted"))
    assert len(predictions) == result["images"] == 24
    assert result["last"]["top1"] == pytest.approx(accuracy_score(truth, said)) == scores[-1]["val_top1"]
    best = max(scores, key=lambda line: line["val_top1"])
    assert result["best"]["epoch"] == best["epoch"] and result["best"]["top1"] == best["val_top1"]
    with (out / "confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    names = header[1:]
    assert [[int(n) for n in row[1:]] for row in rows] == confusion_matrix(truth, said, labels=names).tolist()
    assert json.loads((out / "status.json").read_text())["state"] == "finished"
    assert {"val_top1", "val_top5", "val_mean_class", "loss", "accuracy"} <= scores[0].keys()
    assert (out / "figures" / "views.png").exists()


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_features_are_kept_at_the_first_middle_and_last_epoch(run, head):
    out = run("a", "--head", head, "--keep-features", 16)
    first, last = (np.load(out / "features" / f"epoch-000{epoch}.npz") for epoch in (1, 3))
    assert len(first["features"]) == len(set(first["filenames"].tolist())) == 16
    for name in ("filenames", "targets", "classes"):
        assert np.array_equal(first[name], last[name])
    assert not np.allclose(first["features"], last["features"])
    assert len(list((out / "features").glob("*.npz"))) == 3
    model = load_file(out / "model.safetensors")
    name = max(name for name in model if name.startswith("head.") and model[name].ndim == 2)
    assert last["features"].shape[1] == model[name].shape[1], "what the last layer takes"
    assert np.asarray(Image.open(out / "features" / "thumbnails.jpg")).shape == (32, 16 * 32, 3)
    assert not (run("b", "--keep-features", 0) / "features").exists()


HEADS = """
import torch
from torch import nn
from ssl_seg import Head, global_pool

class Base(Head):
    def __init__(self, channels, strides, classes):
        super().__init__()
        self.layer = self.make(channels[-1], classes)

class Convolution(Base):
    make = staticmethod(lambda width, classes: nn.Conv2d(width, classes, 1))
    def forward(self, features, size):
        return self.layer(features[-1]).mean((2, 3))

class Prototypes(Base):
    make = staticmethod(lambda width, classes: nn.Identity())
    def forward(self, features, size):
        torch.manual_seed(0)
        return global_pool(features) @ torch.randn(features[-1].shape[1], self.classes)
    def __init__(self, channels, strides, classes):
        super().__init__(channels, strides, classes)
        self.classes = classes

class Twice(Base):
    make = staticmethod(lambda width, classes: nn.Linear(width, classes))
    def forward(self, features, size):  # its rows are no images
        both = self.layer(global_pool(features).repeat_interleave(2, 0))
        return both[::2] + both[1::2]

class Tokens(Base):
    make = staticmethod(lambda width, classes: nn.Linear(width, classes))
    def forward(self, features, size):
        return self.layer(features[-1].flatten(2).transpose(1, 2)).mean(1)
"""


@pytest.mark.parametrize("head", ["Convolution", "Prototypes", "Twice", "Tokens"])
def test_features_of_any_head_are_kept(run, tmp_path, cli, head):
    """Where the last layer is no linear one, takes a map or tokens, or where there is none."""
    (tmp_path / "heads.py").write_text(HEADS)
    out = run("a", "--head", f"{tmp_path / 'heads.py'}:{head}", "--keep-features", 16, "--epochs", 1)
    features = np.load(out / "features" / "epoch-0001.npz")["features"]
    assert features.shape == (16, 16) and features.dtype == np.float32
    backbone = load_plugins().registry.build("backbones", TypedName(NET[1])).eval()
    backbone.load_state_dict(load_file(out / "backbone.safetensors"))
    dataset = load_plugins().registry.build("datasets", "demo", "40", "train")
    image_cache = open_image_cache(dataset, 32, tmp_path / "cache")
    rows = torch.linspace(0, len(image_cache) - 1, 16).round().long()
    how = {"size": 16, "rows": rows}
    maps = [
        found[-1]
        for found, _ in run_inference(backbone, image_cache, Device(cpu=True, precision="fp32"), **how)
    ]
    np.testing.assert_allclose(features, torch.cat(maps).mean((2, 3)).numpy(), atol=2e-2, rtol=2e-2)


def test_evaluate_and_predict_agree_with_the_run(run, cli, tmp_path):
    out = run("a")
    result = json.loads((out / "result.json").read_text())
    for which in ("last", "best"):
        code, text, _ = cli(
            "evaluate", out, "demo:24", *NET, "--which", which, "--out", tmp_path / "n.json", "--cpu"
        )
        assert code == 0 and "top1" in text
        numbers = json.loads((tmp_path / "n.json").read_text())
        assert numbers["top1"] == pytest.approx(result[which]["top1"])
    code, _, err = cli("predict", out, "demo:24", *NET, "--out", tmp_path / "p.csv", "--cpu")
    assert code == 0, err
    said = rows_of(tmp_path / "p.csv")
    assert list(said[0]) == ["id", "filename", "label", "confidence"]
    assert [r["label"] for r in said] == [r["predicted"] for r in rows_of(out / "val_predictions.csv")]


def test_frozen_features_once_or_every_epoch_is_the_same_training(run, monkeypatch):
    pooled = run("pooled", "--freeze", "--augment", "none")
    monkeypatch.setattr("ssl_seg.heads.linear.Linear.pools", False)
    live = run("live", "--freeze", "--augment", "none")
    one, two = tensors(pooled / "model.safetensors"), tensors(live / "model.safetensors")
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-4, rtol=1e-4)
    first, second = (json.loads((out / "result.json").read_text())["last"]["top1"] for out in (pooled, live))
    assert abs(first - second) <= 1 / 24


def test_a_frozen_backbone_is_handed_on_as_it_came(run):
    given = run("a")
    out = run("b", "--init", given, "--freeze", "--passes", "2")
    assert same(tensors(given / "backbone.safetensors"), tensors(out / "backbone.safetensors"))
    other = run("c", "--init", given)
    assert not same(tensors(given / "backbone.safetensors"), tensors(other / "backbone.safetensors"))


def test_init_gives_backbone_size_and_weights(cli, tmp_path):
    code, _, err = cli(
        "train",
        "demo:32",
        "--backbone",
        "test_resnet",
        "-o",
        "ssl.hidden=16",
        *SHORT,
        "--out",
        tmp_path / "ssl",
    )
    assert code == 0, err
    common = ["classify", "demo:40", "--init", tmp_path / "ssl", "--epochs", 1, "--batch-size", 8, "--cpu"]
    code, _, err = cli(*common, "--freeze", "--out", tmp_path / "c")
    assert code == 0 and "matched" in err
    assert same(
        tensors(tmp_path / "ssl" / "backbone.safetensors"), tensors(tmp_path / "c/backbone.safetensors")
    )
    text = (tmp_path / "c" / "run.toml").read_text()
    assert 'backbone = "test_resnet"' in text and "image_size = 16" in text
    code, _, err = cli(*common, "--image-size", 32, "--out", tmp_path / "d")
    assert code == 4 and "trained at 16 px" in err and "--any-size" in err
    code, _, err = cli(*common, "--image-size", 32, "--any-size", "--out", tmp_path / "d")
    assert code == 0, err
    code, _, err = cli(*common, "--backbone", "resnet18", "--out", tmp_path / "e")
    assert code == 4 and "matched" in err


def test_probes_of_a_backbone(run, cli, tmp_path):
    out = run("a")
    code, text, err = cli("evaluate", out / "backbone.safetensors", "demo:60", *NET, "--cpu")
    assert code == 0, err
    assert "knn" in text and "logistic" in text and "training images         48" in text
    code, text, _ = cli("evaluate", out, "demo:24", *NET, "--train", "demo:40", "--probe", "knn", "--cpu")
    assert code == 0 and "training images         40" in text and "logistic" not in text
    code, _, err = cli("evaluate", out, "demo:24", "--probe", "kn")
    assert code == 2 and "unknown probe 'kn'" in err


def test_embed(run, cli, tmp_path):
    out = run("a")
    code, _, err = cli("embed", out, "demo:10", "--out", tmp_path / "e.npz", *NET, "--cpu")
    assert code == 0, err
    with np.load(tmp_path / "e.npz") as file:
        assert file["features"].shape == (10, 16) and np.isfinite(file["features"]).all()
        assert len(file["filenames"]) == 10 and file["targets"].tolist() == [i % 8 for i in range(10)]
    code, _, err = cli("embed", out, "demo:10", "--out", tmp_path / "e.csv")
    assert code == 2 and "must end in .npz" in err


@pytest.mark.parametrize("frozen", [False, True])
def test_a_stopped_run_goes_on_to_the_same_result(frozen, run, cli, tmp_path, monkeypatch):
    flags = ["--augment", "strong", "--mixup", "0.2", "--label-smoothing", "0.1"]
    if frozen:
        flags = ["--init", run("start"), "--freeze", "--passes", "2"]
    whole = run("whole", *flags)
    from ssl_seg.engine import loop as module

    real = module.MetricLogger.on_step_end

    def stop_at(step):
        done = []

        def counted(self):
            real(self)
            done.append(1)
            if len(done) == step:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(module.MetricLogger, "on_step_end", counted)

    words = ["classify", "demo:40", "--val", "demo:24", *ON_TINY, *flags]
    out = tmp_path / "cut"
    stop_at(7)
    code, _, err = cli(*words, "--out", out)
    assert code == 143 and f"ssl-seg classify {shlex.join(NET)} --resume --out {out}" in err
    monkeypatch.setattr(module.MetricLogger, "on_step_end", real)
    code, _, err = cli("classify", *NET, "--resume", "--out", out)
    assert code == 0, err
    for name in ("model", "best", "backbone"):
        assert same(tensors(whole / f"{name}.safetensors"), tensors(out / f"{name}.safetensors")), name
    for name in ("result.json", "confusion.csv", "val_predictions.csv"):
        assert (whole / name).read_text() == (out / name).read_text()


def test_neither_evaluation_nor_its_batches_change_training(run, cli, tmp_path, monkeypatch):
    measured = run("a")
    code, _, err = cli("classify", "demo:40", *ON_TINY, "--out", tmp_path / "b")
    assert code == 0, err
    assert same(tensors(measured / "model.safetensors"), tensors(tmp_path / "b" / "model.safetensors"))
    assert not (tmp_path / "b" / "result.json").exists()
    whole = [json.loads(line) for line in (measured / "scores.jsonl").read_text().splitlines()]
    from ssl_seg.workflows import classification_validator

    real = classification_validator.run_inference
    monkeypatch.setattr(
        classification_validator, "run_inference", lambda *a, **k: real(*a, batch_size=5, **k)
    )
    small = [json.loads(line) for line in (run("c") / "scores.jsonl").read_text().splitlines()]
    assert [line["val_top1"] for line in small] == [line["val_top1"] for line in whole]


# Labels


@pytest.fixture
def office(tmp_path):
    """`office(name, rows)` writes `name.csv` with the images it names; rows are (filename, label)."""
    random = np.random.default_rng(0)

    def write(name, rows, text=None):
        for filename, _ in rows:
            path = tmp_path / name / filename
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
        lines = [f"{index},{filename},{label}" for index, (filename, label) in enumerate(rows)]
        file = tmp_path / f"{name}.csv"
        file.write_text(text or "id,filename,label\n" + "\n".join(lines) + "\n")
        return file

    return write


def rows(count, labels, prefix=""):
    return [(f"{prefix}{index}.png", labels[index % len(labels)]) for index in range(count)]


def test_classes_are_matched_by_name(office, cli, tmp_path):
    train = office("train", rows(16, ["cat", "dog", "eel"]))
    val = office("val", rows(6, ["eel", "dog"], "v"))
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 0, err
    truth = [row["label"] for row in rows_of(tmp_path / "r" / "val_predictions.csv")]
    assert truth == ["eel", "dog"] * 3
    code, _, err = cli("predict", tmp_path / "r", val, "--out", tmp_path / "p.csv", *NET, "--cpu")
    said = rows_of(tmp_path / "p.csv")
    assert [row["id"] for row in said] == [str(i) for i in range(6)]
    assert [row["filename"] for row in said] == [f"v{i}.png" for i in range(6)]


def test_a_class_that_training_does_not_know(office, cli, tmp_path):
    train, val = office("train", rows(16, ["cat", "dog"])), office("val", rows(4, ["cat", "fox"], "v"))
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3
    assert "class 'fox'" in err and f"{val}, line 3: v1.png" in err and "cat, dog" in err


@pytest.mark.parametrize(
    ("text", "sentence", "where"),
    [
        ("id,filename,label\n0,0.png,a\n0,1.png,b\n", "duplicate id '0' (first in line 2", "line 3"),
        ("id,filename,label\n0,0.png,a\n1,0.png,b\n", "0.png (first in line 2", "line 3"),
        ("id,filename,label\n0,0.png,a\n1,none.png,b\n", "image not found", "line 3"),
        ("id,filename,label\n0,0.png,\n", "empty label", "line 2"),
        ("id,file_name,label\n0,0.png,a\n", "did you mean 'file_name'", "line 1"),
    ],
)
def test_trouble_in_a_csv_file_is_found_before_the_first_step(text, sentence, where, office, cli, tmp_path):
    train = office("train", rows(16, ["a", "b"]), text)
    code, _, err = cli("classify", train, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and sentence in err and where in err
    assert not list((tmp_path / "r").glob("checkpoints/*"))


def test_fewer_images_than_a_batch(office, cli, tmp_path):
    train = office("train", rows(5, ["a", "b"]))
    code, _, err = cli("classify", train, *ON_TINY, "--out", tmp_path / "r")
    assert code == 2 and "fewer images (5) than the batch size (8" in err


def test_an_empty_class_folder_is_named(cli, tmp_path):
    (tmp_path / "d" / "full").mkdir(parents=True)
    (tmp_path / "d" / "hollow").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "d" / "full" / "a.png")
    code, _, err = cli("classify", tmp_path / "d", *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and "hollow" in err


def test_words_that_do_not_go_together(cli, tmp_path):
    code, _, err = cli("classify", "demo:40", "--freeze", "--mixup", "0.2", "--out", tmp_path / "r")
    assert code == 2 and "--mixup" in err
    code, _, err = cli("classify", "demo:40", "--head", "linaer", "--out", tmp_path / "r")
    assert code == 2 and "did you mean 'linear'" in err
    code, _, err = cli("classify")
    assert code == 2 and "no TRAIN" in err
    code, _, err = cli("predict", tmp_path / "nothing", "demo:4", "--out", tmp_path / "p.csv")
    assert code == 4


@pytest.mark.parametrize("words", [("train",), ("classify",), ("segment",)])
def test_an_optimizer_without_a_rate_is_refused_before_images_are_read(words, cli, tmp_path):
    """Not given another optimizer's: SimSiam, classify and segment say nothing of LARS."""
    more = ["--ssl", "simsiam"] if words == ("train",) else ["--val", "nowhere"]
    flags = ["--backbone", "test_resnet", "--optimizer", "lars", "--cpu", "--out", tmp_path / "r"]
    code, _, err = cli(*words, "nowhere", *more, *flags)
    assert code == 2 and "has no learning rate for lars, only for adamw, adam, sgd" in err
    assert "next: --lr" in err


def test_a_backbone_learns_although_the_head_does_not(run):
    """`--lr 0` is a rate, and the backbone's is no multiple of it."""
    start = load_file(run("start", "--epochs", 1, "--lr", 0) / "model.safetensors")
    moved = load_file(run("a", "--epochs", 1, "--lr", 0, "--backbone-lr", "1e-3") / "model.safetensors")
    learnt = {
        name.partition(".")[0]
        for name in start
        if name.endswith(("weight", "bias")) and not torch.equal(start[name], moved[name])
    }
    assert learnt == {"backbone"}


@pytest.mark.parametrize(
    ("name", "freeze", "lr"),
    [
        ("test_resnet", False, 3e-3),
        ("test_vit", False, 1e-3),
        ("vgg11", False, 1e-3),
        ("test_resnet", True, 1e-2),
    ],
)
def test_the_learning_rate_suits_the_norms_of_the_backbone(name, freeze, lr):
    """Without BatchNorm a rate of 3e-3 would throw a trained network out of its way."""
    assert CLASSIFICATION.recipe_for(TimmBackbone(name), freeze=freeze)["lr"] == lr


def test_a_run_records_its_learning_rate(run):
    settings = tomllib.loads((run("a", "--epochs", 1) / "run.toml").read_text())
    assert settings["lr"] == 3e-3


def test_what_is_doubtful_about_labels_is_said_before_the_first_step(office, cli, tmp_path):
    train, val = office("train", rows(16, ["cat", "dog", "eel"])), office("val", rows(4, ["dog", "eel"], "v"))
    for name, twin in (("3.png", "5.png"), ("4.png", "7.png")):
        (tmp_path / "train" / name).write_bytes((tmp_path / "train" / twin).read_bytes())
    (tmp_path / "val" / "v1.png").write_bytes((tmp_path / "val" / "v0.png").read_bytes())
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 0
    before = err.partition("epochs of")[0]
    assert (
        f"2 of 16 images of {train} are also present under another label: {train}, line 5: 3.png (cat) is"
        in before
    )
    assert f"1 of 16 images of {train} are duplicates within their class: " in before
    assert f"1 of 3 classes have no images in {val} and are not validated: cat" in before
    assert f"2 of 4 images of {val} are also present under another label" in before


@pytest.mark.parametrize("command", ["classify", "train", "evaluate"])
def test_a_single_class_is_refused_wherever_something_learns_from_it(command, run, office, cli, tmp_path):
    one = office("train", rows(16, ["cat"]))
    words = {
        "classify": ["classify", one, *ON_TINY, "--out", tmp_path / "r"],
        "train": ["train", "demo:16", "--probe", one, *ON_TINY, "--out", tmp_path / "r"],
        "evaluate": ["evaluate", run("a"), one, "--probe", "knn", "--cpu", *NET]
        if command == "evaluate"
        else [],
    }
    code, _, err = cli(*words[command])
    assert code == 3 and f"all 16 images of {one} have the same class: cat" in err


def test_a_class_in_another_spelling_is_no_other_class(office, cli, tmp_path):
    train, val = office("train", rows(16, ["cat", "dog"])), office("val", rows(4, ["cat", "Dog"], "v"))
    code, _, err = cli("classify", train, "--val", val, *ON_TINY, "--out", tmp_path / "r")
    assert code == 3 and "class 'Dog'" in err and "did you mean 'dog'?" in err
