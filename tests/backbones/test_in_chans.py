"""Networks for images of any number of channels, and weights of three channels in their first layer."""

import pytest
import timm
import torch
from timm.models import adapt_input_conv

from ssl_seg.augment.recipes import BYOL_VIEWS, of_channels
from ssl_seg.augment.views import augment
from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import UsageError
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.distill import Distill
from ssl_seg.methods.mae import MAE
from ssl_seg.methods.simmim import SimMIM
from ssl_seg.methods.spark import SparK
from ssl_seg.registry import Registry
from ssl_seg.weights.backbone_file import load_backbone, save_backbone
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.pixels import with_in_chans


def first_weight(backbone):
    return next(parameter for parameter in backbone.parameters() if parameter.ndim == 4)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_maps_and_the_way_to_make_it_again(channels):
    backbone = TimmBackbone("test_resnet", in_chans=channels)
    assert backbone.in_chans == channels and backbone.built_as[1] == {"in_chans": str(channels)}
    maps = backbone(torch.zeros(2, channels, 32, 32))
    assert [found.shape[1] for found in maps] == list(backbone.channels)
    assert TimmBackbone("test_resnet").built_as[1] == {}


@pytest.mark.parametrize("method", [BYOL, MAE, SimMIM, SparK, Distill])
def test_the_near_infrared_channel_learns(method):
    torch.manual_seed(0)
    name = "test_vit" if method in (MAE, SimMIM) else "test_resnet"
    module = method(TimmBackbone(name, in_chans=4)).train()
    images = torch.randint(0, 256, (4, 4, 64, 64), dtype=torch.uint8)
    options = {"mean": (0.5,) * 4, "std": (0.25,) * 4}
    module.training_step(augment(images, module.views, size=64, **options))["loss"].backward()
    gradient = first_weight(module.backbone).grad
    assert gradient.shape[1] == 4 and all(gradient[:, band].abs().sum() > 0 for band in range(4))


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_of_three_channels_are_adapted_as_timm_does(channels, prefix, tmp_path):
    torch.manual_seed(0)
    source, backbone = TimmBackbone("test_resnet"), TimmBackbone("test_resnet", in_chans=channels)
    path = tmp_path / "x.pth"
    torch.save({prefix + name: tensor for name, tensor in source.state_dict().items()}, path)
    result = load_backbone(path, backbone)
    assert f"for 3 channels were adapted to {channels}" in str(result)
    expected = adapt_input_conv(channels, first_weight(source).detach())
    assert torch.equal(first_weight(backbone), expected)
    others = {
        name: tensor for name, tensor in backbone.state_dict().items() if tensor.shape != expected.shape
    }
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in others.items())


def test_own_weights_of_four_channels_are_loaded_as_they_are(tmp_path):
    source, backbone = (TimmBackbone("test_resnet", in_chans=4) for _ in range(2))
    save_backbone(tmp_path / "x.safetensors", source, {"backbone": "test_resnet"})
    assert "adapted" not in str(load_backbone(tmp_path / "x.safetensors", backbone))
    assert torch.equal(first_weight(source), first_weight(backbone))
    plain = timm.create_model("test_resnet", num_classes=0, in_chans=4)
    plain.load_state_dict(source.state_dict())


def test_a_backbone_without_the_option_is_refused_with_a_way_out():
    class Fixed(torch.nn.Module):
        pass

    registry = Registry()
    config = PretrainConfig(backbone="test_resnet")
    registry.factory = lambda kind, name: Fixed
    with pytest.raises(UsageError, match="takes images of 3 channels, and these have 4") as caught:
        with_in_chans(config, 4, registry)
    assert "timm" in caught.value.next
    assert with_in_chans(config, 3, registry) is config


def test_colours_are_left_out_of_views_of_other_channels():
    views, names = of_channels(BYOL_VIEWS, 4)
    assert names == ["saturation", "hue", "grayscale"]
    assert {(view.saturation, view.hue, view.gray_p) for view in views} == {(0.0, 0.0, 0.0)}
    assert [view.brightness for view in views] == [view.brightness for view in BYOL_VIEWS]
    assert of_channels(BYOL_VIEWS, 3) == (list(BYOL_VIEWS), [])
