"""What timm makes of an exported folder, with nothing of ours."""

import json

import pytest
import timm
import torch

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import OutputInUseError, UsageError, WeightsError
from ssl_seg.exporting import timm as module
from ssl_seg.exporting.timm import to_timm
from ssl_seg.heads.linear import Linear
from ssl_seg.heads.mlp import MLP
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.backbone_file import load_backbone, read_metadata

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_features_are_those_of_the_backbone(source, tmp_path, name):
    exported = source(name)
    made = to_timm(exported, tmp_path / "out")
    assert not made.includes_head
    last = {
        "test_convnext": ["head.norm belongs to timm's classifier and is untrained: use forward_features()"]
    }
    assert made.notes == last.get(name, [])
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    theirs = model.forward_features(IMAGES)
    torch.testing.assert_close(theirs, exported.backbone(IMAGES)[-1], rtol=1e-6, atol=1e-6)
    safetensors_metadata = read_metadata(tmp_path / "out" / "model.safetensors")
    assert safetensors_metadata["untrained"] == exported.backbone.idle, (
        "timm's file has what the backbone lacks"
    )
    for key, tensor in exported.backbone.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)


@torch.no_grad()
def test_a_transformer_takes_the_sizes_it_took(source, tmp_path):
    exported = source("test_vit", size=96)
    to_timm(exported, tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    for size in (96, 64):
        images = torch.randn(2, 3, size, size)
        tokens = model.forward_features(images)[:, model.num_prefix_tokens :]
        ours = exported.backbone(images)[-1].flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens, ours, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_sizes_of_positions_and_patches_come_along_and_what_is_for_training_does_not(source, tmp_path, name):
    options = {"img_size": 64, "drop_path": 0.2, "checkpointing": True}
    options |= {"patch_size": 8} if name == "test_vit" else {}
    exported = source(name, size=64, **options)
    to_timm(exported, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_args"]["img_size"] == 64 and "drop_path_rate" not in config["model_args"]
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    how = {"indices": 1, "norm": True, "output_fmt": "NCHW", "intermediates_only": True}
    theirs = model.forward_intermediates(IMAGES, **how)[-1]
    torch.testing.assert_close(theirs, exported.backbone(IMAGES)[-1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_output_stride_comes_along(source, tmp_path):
    exported = source("resnet18", output_stride=None)
    dilated = source("test_resnet", output_stride=8)
    for name, one in (("plain", exported), ("dilated", dilated)):
        to_timm(one, tmp_path / name)
        model = timm.create_model(f"local-dir:{tmp_path / name}", pretrained=True).eval()
        theirs = model.forward_features(IMAGES)
        assert theirs.shape[-1] == 64 // one.backbone.strides[-1]
        torch.testing.assert_close(theirs, one.backbone(IMAGES)[-1], rtol=1e-6, atol=1e-6)


def test_how_images_go_in_is_what_timms_own_transform_does(source, tmp_path):
    to_timm(source("test_resnet", size=80), tmp_path / "out")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    found = timm.data.resolve_model_data_config(model)
    assert found["mean"] == pytest.approx((0.4, 0.5, 0.6)) and found["std"] == pytest.approx((0.2, 0.25, 0.3))
    assert found["input_size"] == [3, 80, 80] or found["input_size"] == (3, 80, 80)
    assert (found["interpolation"], found["crop_pct"], found["crop_mode"]) == ("bilinear", 1.0, "center")
    transform = str(timm.data.create_transform(**found, is_training=False))
    assert "size=80" in transform and "bilinear" in transform and "CenterCrop" in transform


@torch.no_grad()
def test_a_linear_classifier_is_in_it_with_its_names(source, tmp_path):
    exported = source("test_resnet", head=Linear, classes=3)
    assert to_timm(exported, tmp_path / "out").includes_head
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    torch.testing.assert_close(model(IMAGES), exported.model(IMAGES), rtol=1e-5, atol=1e-5)
    assert list(model.pretrained_cfg["label_names"]) == ["class 0", "class 1", "class 2"]
    other = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=7).eval()
    assert other(IMAGES).shape == (2, 7), "timm itself can give it another classifier"


@pytest.mark.parametrize("name, head", [("test_resnet", MLP), ("test_vit", Linear)])
def test_another_classifier_is_left_out_and_that_is_told(source, tmp_path, name, head):
    made = to_timm(source(name, head=head, classes=3), tmp_path / "out")
    assert not made.includes_head and "not exported" in made.notes[0]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_classes"] == 0


@torch.no_grad()
def test_an_efficientnet_takes_its_classifier_along(source, tmp_path):
    """It sees timm's own features, so timm's classifier is its own."""
    exported = source("test_efficientnet", head=Linear, classes=3)
    assert to_timm(exported, tmp_path / "out").includes_head
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    torch.testing.assert_close(model(IMAGES), exported.model(IMAGES), rtol=1e-5, atol=1e-5)


def test_of_a_run_of_the_first_version_what_never_learnt_is_told(source, tmp_path):
    made = to_timm(source("test_efficientnet", idle_layers=True), tmp_path / "out")
    (note,) = made.notes
    assert note.startswith("conv_head, bn2 is untrained") and "0.1.0" in note
    assert "forward_intermediates(), not forward_features()" in note
    metadata = read_metadata(tmp_path / "out" / "model.safetensors")
    assert metadata["untrained"][:2] == ["conv_head.weight", "bn2.weight"]


@torch.no_grad()
def test_the_weight_file_alone_is_a_checkpoint(source, tmp_path):
    exported = source("test_resnet")
    to_timm(exported, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    model = timm.create_model("test_resnet", num_classes=0, checkpoint_path=str(path)).eval()
    torch.testing.assert_close(
        model.forward_features(IMAGES), exported.backbone(IMAGES)[-1], rtol=1e-6, atol=1e-6
    )


def test_the_way_back(source, tmp_path):
    exported = source("test_resnet", head=Linear, classes=3)
    to_timm(exported, tmp_path / "out")
    match = load_backbone(tmp_path / "out", TimmBackbone("test_resnet"))
    assert match.matched == match.num_tensors == len(exported.backbone.state_dict())
    assert match.metadata["backbone"] == "test_resnet" and match.metadata["mean"] == [0.4, 0.5, 0.6]


@torch.no_grad()
def test_layers_that_were_never_trained_are_told(source, tmp_path):
    exported = source("mobilenetv3_small_050", size=32)
    before = torch.get_rng_state()
    made = to_timm(exported, tmp_path / "out")
    assert torch.equal(torch.get_rng_state(), before), "an export draws no random numbers of others"
    assert "conv_head" in made.notes[0] and "untrained" in made.notes[0]
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = IMAGES[:, :, :32, :32]
    torch.testing.assert_close(
        model.forward_features(images), exported.backbone(images)[-1], rtol=1e-6, atol=1e-6
    )


def test_what_timm_does_not_have_is_refused(source, tmp_path):
    from ssl_seg.exporting.base import ExportModel

    for exported in (source("resnet18", stem="small"), ExportModel(TinyBackbone())):
        with pytest.raises(UsageError, match="not a timm network"):
            to_timm(exported, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_folder_that_computes_something_else(source, tmp_path, monkeypatch):
    written = module.config

    def other(*exported, **named):
        config = written(*exported, **named)
        return config | {"model_args": {"output_stride": 16}}

    monkeypatch.setattr(module, "config", other)
    with pytest.raises(WeightsError, match="outputs in"):
        to_timm(source("test_resnet"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(OutputInUseError, match="already exists"):
        to_timm(source("test_resnet"), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]
    (tmp_path / "out" / "mine").unlink()
    to_timm(source("test_resnet"), tmp_path / "out")
