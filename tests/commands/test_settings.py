"""From settings to optimizer and record."""

import json
from dataclasses import asdict

import pytest
from torch import nn

from ssl_seg.augment.recipes import BYOL_VIEWS, TRAIN_VIEWS, View
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.engine.optim import build_param_groups, undecayed
from ssl_seg.engine.run_dir import Run
from ssl_seg.methods.byol import BYOL
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import options_of
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig
from ssl_seg.workflows.optimization import configure_optimizer

GIVEN = {
    "epochs": 2,
    "batch_size": 8,
    "optimizer": "adamw",
    "lr": 0.1,
    "weight_decay": 0.3,
    "warmup": 0.0,
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


SMALL = ["--backbone", "resnet10t", "--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]


def resolved_in(cli, tmp_path, *words):
    code, _, err = cli(*words, *SMALL, "--out", tmp_path / "r")
    assert code == 0, err
    return read_toml(tmp_path / "r" / "run.toml")["record"]["resolved"]


def options_in(kind, name):
    return {key: p.default for key, p in options_of(load_plugins().registry.factory(kind, name)).items()}


def test_every_option_of_pre_training_is_recorded_default_or_not(cli, tmp_path):
    found = resolved_in(cli, tmp_path, "train", "demo:12", "--probe", "demo:12", "-o", "ssl.decay=0.9")
    assert found["ssl"] == options_in("ssl", "byol") | {"decay": 0.9}
    assert found["ssl"].keys() > {"decay"}
    assert found["backbone"] == {**options_in("backbones", "resnet10t"), "output_stride": "none"}
    assert found["data"] == {"format": "demo", **options_in("datasets", "demo")}
    assert found["probe"] == found["data"] | options_in("metrics", "knn")
    views = [View(**recipe) for recipe in found["views"].values()]
    assert [asdict(view) for view in views] == [json.loads(json.dumps(asdict(v))) for v in BYOL_VIEWS]
    page = tmp_path / "r.html"
    assert cli("report", tmp_path / "r", "--out", page)[0] == 0
    text = page.read_text()
    assert "ssl.decay" in text and "views.2.solarize_p" in text and "o.ssl.decay" not in text


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
    found = resolved_in(cli, tmp_path, "segment", *words)
    assert found["head"].keys() == options_in("heads", "fcn32s").keys()
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
