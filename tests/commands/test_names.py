"""Names of components: case does not matter, nor whether words are joined by hyphens or underscores."""

import json

import pytest

from ssl_seg.errors import PluginError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import PluginFactories, Registry
from ssl_seg.utils.code_names import FoundName, TypedName
from ssl_seg.utils.entry_points import PluginSource
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows.components import with_canonical_names
from ssl_seg.workflows.config import ClassificationConfig

SMALL = ["--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]


@pytest.mark.parametrize(
    ("kind", "typed", "name"),
    [
        ("ssl", "MoCo-v2", "moco_v2"),
        ("ssl", "BYOL", "byol"),
        ("backbones", "ResNet18", "resnet18"),
        ("backbones", "ViT-Small-patch16_224", "vit_small_patch16_224"),
        ("heads", "FCN32s", "fcn32s"),
        ("heads", "smp:UNet", "smp:unet"),
        ("datasets", "Image-Folder", "image_folder"),
        ("metrics", "kNN", "knn"),
    ],
)
def test_every_kind_is_found(kind, typed, name):
    registry = load_plugins().registry
    assert registry.canonical(kind, TypedName(typed)) == name
    assert registry.providers(kind, typed) == registry.providers(kind, name) != []
    ours, theirs = registry.factory(kind, typed), registry.factory(kind, name)
    assert getattr(ours, "args", ours) == getattr(theirs, "args", theirs)


def with_names(*names_of_plugins):
    registry = Registry()
    for index, names in enumerate(names_of_plugins):
        table = PluginFactories(PluginSource(f"plugin-{index}"), frozenset(names), dict.fromkeys(names, list))
        registry.add("ssl", table)
    return registry


def test_names_of_two_plugins_that_differ_by_a_hyphen_are_an_error_naming_both():
    registry = with_names(["my-method"], ["My_Method", "other"])
    said = "'my-method' or 'My_Method' .ssl. is provided by plugin-0 and plugin-1"
    for typed in ("my-method", "My_Method", "MY-METHOD"):
        with pytest.raises(PluginError, match=said):
            registry.factory("ssl", typed)
        with pytest.raises(PluginError, match=said):
            registry.canonical("ssl", typed)
    assert registry.factory("ssl", "Other")
    assert [line for line in registry.conflicts_and_errors() if "ambiguous" in line] == [
        "'my-method' or 'My_Method' (ssl) is provided by plugin-0 and plugin-1; the name is ambiguous"
    ]


def test_of_two_names_of_one_plugin_the_exact_one_is_meant():
    registry = with_names(["a-b", "a_b"])
    assert registry.canonical("ssl", "a-b") == "a-b" and registry.canonical("ssl", "a_b") == "a_b"
    with pytest.raises(UsageError, match="'A-B' could be 'a-b' or 'a_b'"):
        registry.factory("ssl", "A-B")


def test_a_name_that_nobody_brings_and_code_stay_and_a_typed_name_stays_typed():
    registry = with_names(["x_y"])
    assert registry.canonical("ssl", "nothing") == "nothing"
    assert registry.canonical("ssl", TypedName("./File.py:Mine")) == "./File.py:Mine"
    assert isinstance(registry.canonical("ssl", TypedName("X-Y")), TypedName)
    assert not isinstance(registry.canonical("ssl", "X-Y"), TypedName | FoundName)


def test_what_is_recorded_is_the_registered_name_and_the_run_resumes(cli, tmp_path):
    typed = ["--ssl", "MoCo-v2", "--backbone", "Test_ResNet", "-o", "ssl.queue=8"]
    code, _, err = cli("train", "Demo:12", *typed, *SMALL, "--out", tmp_path / "r")
    assert code == 0, err
    settings = read_toml(tmp_path / "r" / "run.toml")
    assert (settings["ssl"], settings["backbone"]) == ("moco_v2", "test_resnet")
    assert settings["record"]["resolved"]["data"]["format"] == "demo"
    header = (tmp_path / "r" / "backbone.safetensors").read_bytes()
    metadata = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]
    assert "moco_v2" in json.dumps(metadata) and "MoCo" not in json.dumps(metadata)
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r", *typed)
    assert code == 0, err
    code, _, err = cli("train", "--resume", "--out", tmp_path / "r", "--ssl", "MoCo-v3")
    assert code == 2 and "ssl: was 'moco_v2', now 'MoCo-v3'" in err


def test_each_of_several_metrics_is_named():
    config = ClassificationConfig(metric=TypedName("KNN, Mean-IoU"))
    named = with_canonical_names(config, load_plugins().registry)
    assert named == ClassificationConfig(metric="knn,mean_iou") and isinstance(named.metric, TypedName)


def test_a_fine_tuned_model_has_registered_names(cli, tmp_path):
    words = ["--backbone", "Test_ResNet", "--head", "Linear", *SMALL]
    code, _, err = cli(
        "classify", "demo:16", "--val", "demo:8", "--allow-overlap", *words, "--out", tmp_path / "r"
    )
    assert code == 0, err
    settings = read_toml(tmp_path / "r" / "run.toml")
    assert [settings[key] for key in ("backbone", "head")] == ["test_resnet", "linear"]


def test_a_folder_is_not_mistaken_for_a_format(cli, tmp_path, photos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos.rename(tmp_path / "DemoDataset")
    code, _, err = cli("train", "DemoDataset", "--backbone", "test_resnet", *SMALL, "--out", "r")
    assert code == 0, err
    assert read_toml(tmp_path / "r" / "run.toml")["record"]["resolved"]["data"]["format"] == "flat_folder"


def test_list_and_check_take_them(cli):
    assert cli("list", "MoCo-v2")[1].startswith("moco_v2 (ssl, ssl-seg)\n")
    assert cli("list", "Linear")[0] == 0
