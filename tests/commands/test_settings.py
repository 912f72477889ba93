"""From settings to optimizer and record."""

import json
import re
from dataclasses import asdict

import pytest
from torch import nn

from ssl_seg.augment.recipes import BYOL_VIEWS, TRAIN_VIEWS, View
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.engine.optim import build_param_groups, undecayed
from ssl_seg.engine.run_dir import Run
from ssl_seg.methods.byol import BYOL
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.options import factory_options
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows import pretrain
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig
from ssl_seg.workflows.optimization import configure_optimizer

GIVEN = {
    "epochs": 2,
    "batch_size": 8,
    "optimizer": "adamw",
    "lr": 0.1,
    "weight_decay": 0.3,
    "warmup": 0.0,
    "schedule": "cosine",
    "clip": 0.0,
}


class RunOf(Run):
    """A run with this record, resumed if there is one."""

    def __init__(self, record):
        self.resume, self.settings = record is not None, lambda: {"record": record}


def decaying(optimizer, module):
    names = {id(p): name for name, p in module.named_parameters()}
    return [
        names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]
    ]


@pytest.mark.parametrize(
    ("record", "old"),
    [({}, True), ({"no_weight_decay": []}, False), (None, False)],
    ids=["0.1.0", "new", "fresh"],
)
def test_a_run_of_the_first_version_goes_on_with_its_own_groups(record, old):
    """The optimizer's state is in the order of the groups: in another order it would be of other parameters."""
    module = TimmBackbone("test_vit")
    early = RunOf(record).is_early
    optimizer, _ = configure_optimizer(PretrainConfig(**GIVEN), module, 3, early=early)
    expected = build_param_groups(module, 0.3, spared=() if old else undecayed(module))
    for mine, theirs in zip(optimizer.param_groups, expected, strict=True):
        assert [id(p) for p in mine["params"]] == [id(p) for p in theirs["params"]]
    assert ("net.cls_token" in decaying(optimizer, module)) == old


def test_the_record_names_what_does_not_decay(cli, tmp_path):
    flags = ["--backbone", "test_vit", "--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]
    code, _, err = cli("classify", "demo:12", *flags, "--keep-features", 0, "--out", tmp_path / "r")
    assert code == 0, err
    found = read_toml(tmp_path / "r" / "run.toml")["record"]["no_weight_decay"]
    assert "model.backbone.net.cls_token" in found and "model.backbone.net.pos_embed" in found


def test_of_a_rate_of_nothing_the_backbones_is_no_multiple():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    module = nn.ModuleDict({"model": model})
    config = ClassificationConfig(**{**GIVEN, "lr": 0.0}, backbone_lr=1e-3)
    optimizer, plan = configure_optimizer(config, module, 3)
    scales = {
        name: group["scale"]
        for name, parameter in model.named_parameters()
        for group in optimizer.param_groups
        if any(parameter is member for member in group["params"])
    }
    assert scales == {"backbone.weight": 1.0, "backbone.bias": 1.0, "head.weight": 0.0, "head.bias": 0.0}
    assert plan.lr_at(0) == pytest.approx(1e-3)


SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]


def resolved_in(cli, tmp_path, *words):
    code, _, err = cli(*words, *SMALL, "--out", tmp_path / "r")
    assert code == 0, err
    return read_toml(tmp_path / "r" / "run.toml")["record"]["resolved"]


def options_in(kind, name):
    return {key: p.default for key, p in factory_options(load_plugins().registry.factory(kind, name)).items()}


def test_every_option_of_pre_training_is_recorded_default_or_not(cli, tmp_path):
    found = resolved_in(cli, tmp_path, "train", "demo:12", "--probe", "demo:12", "-o", "ssl.decay=0.9")
    assert found["ssl"] == options_in("ssl", "byol") | {"decay": 0.9}
    assert found["ssl"].keys() > {"decay"}
    assert found["backbone"] == {
        key: "none" if value is None else value
        for key, value in options_in("backbones", "test_resnet").items()
    }
    assert found["data"] == {"format": "demo", **options_in("datasets", "demo")}
    assert found["probe"] == found["data"] | options_in("metrics", "knn")
    views = [View(**recipe) for recipe in found["views"].values()]
    assert [asdict(view) for view in views] == [json.loads(json.dumps(asdict(v))) for v in BYOL_VIEWS]
    page = tmp_path / "r.html"
    assert cli("report", tmp_path / "r", "--out", page)[0] == 0
    text = page.read_text()
    assert '<th scope="row">decay</th><td>0.9</td>' in text and "o.ssl.decay" not in text
    assert re.search(r"solarization, probability</th>\s*<td[^>]*>0</td>\s*<td[^>]*>0\.2</td>", text)


@pytest.mark.parametrize(
    ("words", "views"),
    [
        ([], [TRAIN_VIEWS["light"]]),
        (["--augment", "none"], []),
        (["--freeze"], []),
        (["--freeze", "--passes", 2], [TRAIN_VIEWS["light"]]),
    ],
    ids=["light", "none", "centre", "passes"],
)
def test_a_classifier_records_the_views_that_it_draws(cli, tmp_path, words, views):
    found = resolved_in(cli, tmp_path, "classify", "demo:12", "--keep-features", 0, *words)
    assert list(found["views"].values()) == [json.loads(json.dumps(asdict(view))) for view in views]
    assert found["head"] == options_in("heads", "linear")
    assert found["train"] == {"format": "demo", **options_in("datasets", "demo")}
    assert found["metric"] == options_in("metrics", "accuracy")


def test_a_segmentation_records_its_options_and_the_scale_of_its_view(cli, tmp_path):
    words = ["demo_masks:4", "--val", "demo_masks:4", "--allow-overlap", "--head", "fcn32s"]
    found = resolved_in(cli, tmp_path, "segment", *words, "-o", "head.width=8")
    assert found["head"] == {**options_in("heads", "fcn32s"), "width": 8}
    assert found["val"]["format"] == "demo_masks" == found["train"]["format"]
    assert found["metric"]["exclude"] == read_toml(tmp_path / "r" / "run.toml")["exclude"]
    assert 0 < found["views"]["1"]["scale"][0] <= found["views"]["1"]["scale"][1] <= 1


def test_a_resumed_run_says_which_default_is_another_by_now(cli, tmp_path, monkeypatch):
    words = ["train", "demo:12", *SMALL, "--out", tmp_path / "r"]
    assert cli(*words)[0] == 0
    assert "not bit-exact" not in cli("train", "--resume", "--out", tmp_path / "r")[2]
    monkeypatch.setitem(BYOL.__init__.__kwdefaults__, "decay", 0.5)
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r")
    assert code == 0, err
    assert "not bit-exact: ssl.decay was 0.99, is 0.5" in err


def test_what_a_recipe_says_of_the_end_and_the_optimizer_is_in_run_toml_and_repeats_and_resumes(
    cli, tmp_path, monkeypatch
):
    recipe = {"lr": 1e-2, "lr_end": 1e-3, "weight_decay": 0.1, "weight_decay_end": 0.4, "betas": (0.9, 0.95)}
    monkeypatch.setattr(BYOL, "recipe", {"optimizer": "adamw", "clip": 3.0, "schedule": "poly", **recipe})
    words = ["train", "demo:12", *SMALL, "-o", "ssl.hidden=8", "--save-every", 1]
    code, _, err = cli(*words, "--epochs", 2, "--lr-end", 0.002, "--out", tmp_path / "r")
    assert code == 0, err
    found = read_toml(tmp_path / "r" / "run.toml")
    assert found["betas"] == "0.9,0.95" and "momentum" not in found
    kept = {
        key: found[key] for key in ("lr", "lr_end", "weight_decay", "weight_decay_end", "clip", "schedule")
    }
    assert kept == {
        "lr": 1e-2,
        "lr_end": 0.002,
        "weight_decay": 0.1,
        "weight_decay_end": 0.4,
        "clip": 3.0,
        "schedule": "poly",
    }
    monkeypatch.setattr(BYOL, "recipe", {"lr": 0.5, "clip": 1.0, "lr_end": 0.1})  # of a later version
    scores = [line_of_scores(tmp_path / "r", epoch) for epoch in (0, 1)]
    code, _, err = cli("train", "--config", tmp_path / "r" / "run.toml", "--out", tmp_path / "again")
    assert code == 0, err
    assert [line_of_scores(tmp_path / "again", epoch) for epoch in (0, 1)] == scores
    assert read_toml(tmp_path / "again" / "run.toml") == found
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r", "--momentum", 0.9)
    assert code == 2 and "momentum: was False, now 0.9" in err


def line_of_scores(run, epoch):
    line = json.loads((run / "scores.jsonl").read_text().splitlines()[epoch])
    return {key: line[key] for key in ("epoch", "loss", "lr") if key in line}


def test_a_resumed_run_is_not_given_what_a_later_recipe_says(cli, tmp_path, monkeypatch):
    words = ["train", "demo:12", *SMALL, "-o", "ssl.hidden=8"]
    assert cli(*words, "--out", tmp_path / "r")[0] == 0
    before = read_toml(tmp_path / "r" / "run.toml")
    monkeypatch.setattr(BYOL, "recipe", {**BYOL.recipe, "lr_end": 1e-4, "weight_decay_end": 1.0})
    seen = []
    real = pretrain.run_pretraining
    monkeypatch.setattr(pretrain, "run_pretraining", lambda *a: (seen.append(a[1]), real(*a)))
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r")
    assert code == 0, err
    assert (seen[0].lr_end, seen[0].weight_decay_end, seen[0].lr) == (None, None, before["lr"])
    assert cli(*words, "--out", tmp_path / "new")[0] == 0
    assert read_toml(tmp_path / "new" / "run.toml")["weight_decay_end"] == 1.0
