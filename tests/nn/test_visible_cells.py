"""Networks that see some patches, against dense computations that are masked layer by layer, and NumPy."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import UsageError
from ssl_seg.nn.tiny_backbone import TinyBackbone
from ssl_seg.nn.visible_cells import VisibleCells

KEPT = torch.tensor([[0, 5, 6], [1, 2, 8], [3, 4, 7]])  # of 3 x 3 patches
SEEN = torch.zeros(3, 9).scatter(1, KEPT, 1.0).view(3, 1, 3, 3)


def pictures(size=96, seed=0):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))


def made(name):
    torch.manual_seed(0)
    backbone = TinyBackbone() if name == "tiny" else TimmBackbone(name)
    for part in backbone.modules():  # no layer starts at zero, or it would hide what comes before
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    return backbone.train()


def mask_of(maps):
    times = maps.shape[2] // 3
    return SEEN.repeat_interleave(times, 2).repeat_interleave(times, 3)


def seen_by(backbone, images):
    with VisibleCells(KEPT, 3) as cells:
        maps = backbone(images)
    return [cells.hide(each) for each in maps]


# --- references -------------------------------------------------------------------------------------


def numpy_norm(norm, maps):
    """BatchNorm over visible cells; hidden ones are 0."""
    mask = mask_of(maps)
    values = maps.detach().double().numpy().transpose(0, 2, 3, 1)[mask[:, 0].numpy() > 0]
    weight, bias = (each.detach().double().numpy() for each in (norm.weight, norm.bias))
    scale = weight / np.sqrt(values.var(axis=0) + norm.eps)
    shift = bias - values.mean(axis=0) * scale
    columns = [torch.from_numpy(each).float()[:, None, None] for each in (scale, shift)]
    return (maps * columns[0] + columns[1]) * mask


def masked_resnet(net, x):
    """ResNet-18 layer by layer: the output of every convolution and pooling is multiplied by the mask."""

    def conv(layer, x):
        out = layer(x)
        return out * mask_of(out)

    x = numpy_norm(net.bn1, conv(net.conv1, x * mask_of(x))).relu()
    maps, x = [x], conv(net.maxpool, x)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            shortcut = x
            if block.downsample is not None:
                shortcut = numpy_norm(block.downsample[1], conv(block.downsample[0], x))
            out = numpy_norm(block.bn1, conv(block.conv1, x)).relu()
            x = (numpy_norm(block.bn2, conv(block.conv2, out)) + shortcut).relu()
        maps.append(x)
    return maps


def masked_everywhere(backbone, images):
    """Every layer's output is multiplied by the mask: exact where no layer takes statistics over space."""
    hooks = [
        part.register_forward_hook(lambda _, __, out: out * mask_of(out))
        for part in backbone.modules()
        if isinstance(part, nn.Conv2d | timm.layers.LayerNorm2d)
    ]
    maps = backbone(images * mask_of(images))
    for hook in hooks:
        hook.remove()
    return [each * mask_of(each) for each in maps]


# --- equality ---------------------------------------------------------------------------------------


def test_a_resnet_equals_one_masked_layer_by_layer():
    backbone = made("resnet18")
    expected = masked_resnet(backbone.net, pictures())
    for one, two in zip(seen_by(backbone, pictures()), expected, strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-4)


def test_a_convnext_equals_one_masked_layer_by_layer():
    backbone = made("convnext_atto")
    expected = masked_everywhere(backbone, pictures())
    for one, two in zip(seen_by(backbone, pictures()), expected, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_running_statistics_are_those_of_visible_cells():
    backbone = made("tiny")
    maps = backbone.one[0](pictures(12) * mask_of(pictures(12))).detach()
    seen_by(backbone, pictures(12))
    values = maps.numpy().transpose(0, 2, 3, 1)[mask_of(maps)[:, 0].numpy() > 0].astype(np.float64)
    norm = backbone.one[1]
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * values.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * values.var(axis=0, ddof=1), atol=1e-6)


@pytest.mark.parametrize("layer", ["group", "instance", "mean", "channels last"])
def test_statistics_over_space_are_those_of_visible_cells(layer):
    maps = pictures(6)
    values = maps.flatten(2).gather(2, _positions(maps))[..., None]
    with VisibleCells(KEPT, 3) as cells:
        if layer in ("group", "instance"):
            norm = nn.GroupNorm(3, 3) if layer == "group" else nn.InstanceNorm2d(3)
            found, expected = norm(maps), norm
            found = found.flatten(2).gather(2, _positions(maps))[..., None]
        elif layer == "mean":
            found, expected = maps.mean((2, 3), keepdim=True), lambda x: x.mean((2, 3), keepdim=True)
        else:
            found = maps.permute(0, 2, 3, 1).norm(p=2, dim=(1, 2), keepdim=True)
            expected = lambda x: x.permute(0, 2, 3, 1).norm(p=2, dim=(1, 2), keepdim=True)
    torch.testing.assert_close(found, expected(values))
    assert cells.visible.sum() == 9


def _positions(maps):
    return mask_of(maps).flatten(2).bool().nonzero()[:, 2].view(3, 1, -1).expand(-1, maps.shape[1], -1)


@pytest.mark.parametrize("name", ["tiny", "resnet18", "convnext_atto"])
def test_with_all_patches_visible_it_is_the_network_itself(name):
    backbone = made(name)
    with VisibleCells(torch.arange(9).expand(3, 9), 3):
        seen = backbone(pictures())
    for one, two in zip(seen, backbone(pictures()), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


# --- what is hidden stays hidden --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["tiny", "resnet18", "convnext_atto", "convnextv2_atto", "seresnet18", "poolformer_s12"]
)
def test_hidden_pixels_change_nothing_and_visible_ones_do(name):
    backbone, images = made(name), pictures()
    mask = mask_of(images)
    other = images * mask + 9.0 * (1.0 - mask) * pictures(seed=1)
    for one, two in zip(seen_by(backbone, images), seen_by(backbone, other), strict=True):
        assert torch.equal(one, two)
    moved = images + mask * pictures(seed=1)
    assert not torch.equal(seen_by(backbone, images)[-1], seen_by(backbone, moved)[-1])


def test_no_gradient_reaches_hidden_pixels():
    images = pictures().requires_grad_()
    sum(each.square().sum() for each in seen_by(made("resnet18"), images)).backward()
    touched = images.grad.abs().sum(dim=1, keepdim=True) > 0
    assert not (touched & (mask_of(images) == 0)).any() and touched.any()


# --- refusals, and what is left behind ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_transformers_are_refused(name):
    backbone = TimmBackbone(name)
    with (
        pytest.raises(UsageError, match="a layer compares all patches"),
        VisibleCells(torch.tensor([[0, 3]]), 2),
    ):
        backbone(pictures(64)[:1])


def test_layers_whose_maps_do_not_divide_are_refused():
    with pytest.raises(UsageError, match="a layer has 13 x 13 cells for 3 x 3 patches"):
        seen_by(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3)), pictures(12))


def test_the_network_is_left_as_it_was():
    backbone, fresh = made("resnet18"), made("resnet18")
    with pytest.raises(RuntimeError), VisibleCells(KEPT, 3):
        backbone(pictures())
        raise RuntimeError
    assert [type(part) for part in backbone.modules()] == [type(part) for part in fresh.modules()]
    assert list(backbone.state_dict()) == list(fresh.state_dict())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in backbone.modules())
    fresh.load_state_dict(backbone.state_dict())
    assert torch.equal(backbone.eval()(pictures())[-1], fresh.eval()(pictures())[-1])
