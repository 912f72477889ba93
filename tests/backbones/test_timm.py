"""timm's models as backbones, against timm and torchvision themselves."""

import importlib

import pytest
import timm
import torch
import torchvision

from ssl_seg.augment.recipes import SMALL_CROP, View
from ssl_seg.backbones.timm import TimmBackbone, backbones, early_options
from ssl_seg.errors import UsageError
from ssl_seg.nn.layers import global_pool, make_ema_copy
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import check_backbone
from ssl_seg.utils.options import check_options

# timm's own miniatures: every family of layers, and yet small
FAST = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "test_nfnet", "test_byobnet"]
REAL = [
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "vgg16",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "mobilenetv2_050",
    "mobilenetv3_small_100",
    "regnety_002",
    "densenet121",
    "pvt_v2_b0",
    "xcit_nano_12_p16_224",
]


@pytest.mark.parametrize("name", FAST)
def test_a_miniature_keeps_the_contract(name):
    check_backbone(load_plugins().registry.factory("backbones", name))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_timm_model_keeps_the_contract(name):
    check_backbone(backbones()[name])


@pytest.mark.slow
def test_resnet_with_a_small_stem_keeps_the_contract():
    check_backbone(lambda: TimmBackbone("resnet18", stem="small"), size=32)


# --- what comes behind the last stage --------------------------------------------------------------

# what no map comes from is left out: timm's layers behind the pooling, or of the class token alone
LEFT_OUT = {
    "test_resnet": [],
    "test_efficientnet": [],
    "test_convnext": ["head.norm"],
    "test_mambaout": ["head.norm", "head.pre_logits.fc"],
    "test_vit": [],
    "mobilenetv3_small_050": ["conv_head"],
    "mobilenetv4_conv_small_035": ["conv_head", "norm_head"],
    "ghostnet_050": ["conv_head"],
    "vgg11": ["pre_logits.fc1", "pre_logits.fc2"],
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_would_never_learn_is_left_out(name):
    backbone = TimmBackbone(name)
    whole = set(timm.create_model(name, num_classes=0).state_dict())
    assert list(dict.fromkeys(key.rpartition(".")[0] for key in backbone.idle)) == LEFT_OUT[name]
    assert set(backbone.state_dict()) == whole - set(backbone.idle)
    maps = backbone.train()(images(2, 160))
    torch.stack([map.float().square().mean() for map in maps]).sum().backward()
    assert [key for key, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_efficientnet", "test_convnext", "test_byobnet", "mobilenetv2_035", "ghostnet_050"]
    + [
        pytest.param(n, marks=pytest.mark.slow)
        for n in ("efficientnet_b0", "fastvit_t8", "rexnet_100", "densenet121")
    ],
)
def test_the_deepest_map_is_timms_features(name):
    """So a published network, frozen, gives the features it was published for."""
    published = lively(timm.create_model(name))
    backbone = TimmBackbone(name).eval()
    state = published.state_dict()
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()}, strict=True)
    with torch.no_grad():
        expected = published.forward_features(images(2, 96))
        torch.testing.assert_close(backbone(images(2, 96))[-1], expected, rtol=1e-5, atol=1e-5)
    assert backbone.channels[-1] == published.num_features == expected.shape[1]


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "test_resnet", "test_mambaout"])
def test_a_network_of_the_first_version_can_still_be_made(name):
    """All of timm's tensors, the map of the last stage; and the same first weights from the same seed."""
    torch.manual_seed(0)
    early = TimmBackbone(name, idle_layers=True).eval()
    torch.manual_seed(0)
    now = TimmBackbone(name)
    after = torch.rand(())
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=0)
    assert torch.equal(torch.rand(()), after), "looking for idle layers draws no number"
    assert list(early.state_dict()) == list(net.state_dict())
    for key, tensor in now.state_dict().items():
        assert torch.equal(tensor, early.state_dict()[key]), key
    how = {"norm": True, "output_fmt": "NCHW", "intermediates_only": True}
    with torch.no_grad():
        for map, expected in zip(
            early(images()), early.net.forward_intermediates(images(), **how), strict=True
        ):
            assert torch.equal(map, expected)
    idle = {key for key in now.idle if key in early.state_dict()} | {
        key for key in early.state_dict() if now.whole and key.startswith(("conv_head", "bn2"))
    }
    assert set(early.idle) == idle
    assert early_options(name, {}) == ({"idle_layers": "true"} if idle else {})
    assert early_options(name, {"idle_layers": "false"}) == early_options("mine.py:Tiny", {}) == {}


# --- ResNets: the names and numbers of torchvision ------------------------------------------------

RESNETS = [
    pytest.param("resnet18", torchvision.models.resnet18),
    pytest.param("resnet50", torchvision.models.resnet50, marks=pytest.mark.slow),
]


def images(count=2, size=64):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def lively(module):
    """Running statistics and norms that differ from their start, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.ndim == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module.eval()


@pytest.mark.parametrize(("name", "build"), RESNETS)
def test_a_resnet_has_torchvisions_names_and_features(name, build):
    theirs, ours = lively(build(weights=None)), TimmBackbone(name).eval()
    state = {key: tensor for key, tensor in theirs.state_dict().items() if not key.startswith("fc.")}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state, strict=True)
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(global_pool(ours(images())), theirs(images()), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_resnet_loads_into_timm(name):
    ours, theirs = lively(TimmBackbone(name)), timm.create_model(name, num_classes=0).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    with torch.no_grad():
        pooled = theirs.forward_head(theirs.forward_features(images()), pre_logits=True)
        torch.testing.assert_close(global_pool(ours(images())), pooled, atol=1e-6, rtol=1e-5)


def test_the_levels_of_a_resnet_are_torchvisions_layers():
    theirs, ours = lively(torchvision.models.resnet18(weights=None)), TimmBackbone("resnet18").eval()
    state = theirs.state_dict()
    ours.load_state_dict({key: state[key] for key in ours.state_dict()})
    layers = ["relu", "layer1", "layer2", "layer3", "layer4"]
    extract = torchvision.models.feature_extraction.create_feature_extractor(theirs, layers)
    with torch.no_grad():
        for map, expected in zip(ours(images()), extract(images()).values(), strict=True):
            torch.testing.assert_close(map, expected, atol=1e-5, rtol=1e-4)
    assert ours.channels == [64, 64, 128, 256, 512]
    assert ours.strides == [2, 4, 8, 16, 32]


# --- names inside a larger module -----------------------------------------------------------------


def test_names_hold_inside_a_method_and_in_a_copy():
    backbone = TimmBackbone("test_resnet")
    module = torch.nn.ModuleDict({"backbone": backbone, "target": make_ema_copy(backbone)})
    names = list(backbone.state_dict())
    assert list(module.state_dict()) == [f"{part}.{n}" for part in ("backbone", "target") for n in names]
    assert not any(name.startswith("net.") for name in names)
    fresh = torch.nn.ModuleDict(
        {"backbone": TimmBackbone("test_resnet"), "target": TimmBackbone("test_resnet")}
    )
    fresh.load_state_dict(module.state_dict())
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name


def test_a_state_with_wrong_names_is_refused():
    backbone = TimmBackbone("test_resnet")
    state = backbone.state_dict()
    key, tensor = state.popitem()
    with pytest.raises(RuntimeError, match="Missing key"):
        backbone.load_state_dict(state)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        backbone.load_state_dict(state | {key: tensor, "fc.weight": tensor})


# --- options --------------------------------------------------------------------------------------


def test_a_small_stem_has_a_quarter_of_the_strides_and_the_same_names():
    standard, small = TimmBackbone("resnet18"), TimmBackbone("resnet18", stem="small")
    assert small.strides == [1, 1, 2, 4, 8]
    assert small.channels == standard.channels
    assert list(small.state_dict()) == list(standard.state_dict())
    assert small.state_dict()["conv1.weight"].shape == (64, 3, 3, 3)
    assert [tuple(map.shape[2:]) for map in small.eval()(images(1, 32))] == [
        (32, 32),
        (32, 32),
        (16, 16),
        (8, 8),
        (4, 4),
    ]


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "resnet18d"])
def test_only_a_plain_resnet_has_a_small_stem(name):
    with pytest.raises(UsageError, match=f"stem=small requires a ResNet .*; '{name}' has none"):
        TimmBackbone(name, stem="small")


def test_the_stem_is_an_option_with_two_values():
    factory = backbones()["resnet18"]
    assert check_options(factory, "backbone resnet18", {"stem": "small"}) == {"stem": "small"}
    with pytest.raises(UsageError, match="stem"):
        check_options(factory, "backbone resnet18", {"stem": "tiny"})


@pytest.mark.parametrize("size", [48, 64, 96])
def test_a_transformer_takes_any_size_its_patches_divide(size):
    backbone = TimmBackbone("test_vit")
    maps = backbone(images(1, size))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, size // s, size // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


def test_the_last_map_of_a_transformer_is_the_normalised_one():
    backbone = lively(TimmBackbone("test_vit"))
    with torch.no_grad():
        tokens = backbone.net.forward_features(images())[:, backbone.net.num_prefix_tokens :]
        torch.testing.assert_close(backbone(images())[-1].flatten(2).transpose(1, 2), tokens)


@pytest.mark.slow
def test_a_plain_transformer_gives_four_evenly_spaced_levels():
    backbone = TimmBackbone("vit_tiny_patch16_224").eval()
    assert backbone.strides == [16] * 4 and backbone.channels == [192] * 4
    whole = backbone.net.forward_intermediates(
        images(), norm=True, output_fmt="NCHW", intermediates_only=True
    )
    for map, index in zip(backbone(images()), (2, 5, 8, 11), strict=True):
        torch.testing.assert_close(map, whole[index])


# --- output stride, for segmentation ---------------------------------------------------------------


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_the_deepest_map_has_the_output_stride_asked_for(name, stride):
    plain, dilated = TimmBackbone(name), TimmBackbone(name, output_stride=stride)
    assert dilated.strides == [min(own, stride) for own in plain.strides]
    assert [tuple(map.shape[1:]) for map in dilated.eval()(images(1, 96))] == [
        (c, 96 // s, 96 // s) for c, s in zip(plain.channels, dilated.strides, strict=True)
    ]
    dilated.load_state_dict(plain.state_dict(), strict=True)


def test_a_dilated_network_sees_as_far_as_a_strided_one():
    """On an image that varies slowly, the map at stride 8 holds that at stride 32 in every fourth cell."""
    plain, dilated = lively(TimmBackbone("test_resnet")), TimmBackbone("test_resnet", output_stride=8).eval()
    dilated.load_state_dict(plain.state_dict())
    wave = torch.linspace(0, 3.14, 512).sin()
    slow = (wave[:, None] * wave[None, :]).expand(1, 3, -1, -1)
    with torch.no_grad():
        coarse, fine = plain(slow)[-1][..., 6:10, 6:10], dilated(slow)[-1][..., 24:40:4, 24:40:4]
    assert (coarse - fine).abs().mean() < 0.02 * coarse.abs().mean()


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "dilate"), [(8, [False, True, True]), (16, [False, False, True])])
def test_a_dilated_resnet_is_torchvisions(stride, dilate):
    theirs = lively(torchvision.models.resnet50(weights=None, replace_stride_with_dilation=dilate))
    ours = TimmBackbone("resnet50", output_stride=stride).eval()
    ours.load_state_dict({k: t for k, t in theirs.state_dict().items() if not k.startswith("fc.")})
    layers = ["relu", "layer1", "layer2", "layer3", "layer4"]
    extract = torchvision.models.feature_extraction.create_feature_extractor(theirs, layers)
    with torch.no_grad():
        for map, expected in zip(ours(images(1, 96)), extract(images(1, 96)).values(), strict=True):
            torch.testing.assert_close(map, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("name", "stride"), [("test_vit", 8), ("densenet121", 16), ("test_resnet", 4)])
def test_a_network_that_cannot_be_dilated_so_says_so(name, stride):
    with pytest.raises(UsageError, match=f"'{name}' does not support output stride {stride}"):
        TimmBackbone(name, output_stride=stride)


def test_a_small_stem_has_no_output_stride():
    with pytest.raises(UsageError, match="stem=small divides all strides by 4"):
        TimmBackbone("resnet18", stem="small", output_stride=8)


def test_the_output_stride_is_an_option():
    factory = backbones()["resnet18"]
    for text, value in (("8", 8), ("none", None)):
        assert check_options(factory, "", {"output_stride": text}) == {"output_stride": value}
    with pytest.raises(UsageError, match="output_stride"):
        check_options(factory, "", {"output_stride": "small"})


# --- VGG -------------------------------------------------------------------------------------------


def test_a_vgg_is_its_features_alone(monkeypatch):
    """No map comes from the classifier's wide layers: they would train on nothing."""
    small = [4, "M", 4, "M", 6, "M", 6, "M", 8, "M"]
    monkeypatch.setitem(importlib.import_module("timm.models.vgg").cfgs, "vgg11", small)
    backbone = TimmBackbone("vgg11")
    assert backbone.strides == [1, 2, 4, 8, 16, 32] and backbone.channels == [4, 4, 6, 6, 8, 8]
    assert all(name.startswith("features.") for name in backbone.state_dict())
    theirs = torchvision.models.vgg.make_layers(small).eval()
    backbone.load_state_dict({f"features.{name}": t for name, t in theirs.state_dict().items()}, strict=True)
    torch.testing.assert_close(backbone(images())[-1], theirs(images()))
    backbone(images())[-1].sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


# --- the table of names ---------------------------------------------------------------------------


def test_the_names_are_timms():
    table = backbones()
    assert list(table) == timm.list_models()
    assert len(table) == len(timm.list_models())
    assert "resnet50" in table
    assert "resnet5O" not in table
    with pytest.raises(KeyError):
        table["resnet5O"]


def test_the_weights_depend_on_the_seed_alone():
    def build(seed):
        torch.manual_seed(seed)
        return TimmBackbone("test_resnet").state_dict()

    one, again, other = build(0), build(0), build(1)
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("resnet18", 1),
        ("convnext_atto", 32),
        ("vgg11_bn", 1),
        ("pvt_v2_b0", 1),
        ("swin_tiny_patch4_window7_224", 4),
        ("vit_tiny_patch16_224", 16),
        ("vit_small_patch14_reg4_dinov2", 14),
        ("hrnet_w18_small", 32),
    ],
)
def test_small_crops_have_sides_that_the_network_takes(name, multiple):
    """At every image size of which its own is a multiple; without a multiple some crops would be refused."""
    with torch.device("meta"), torch.no_grad():
        backbone = TimmBackbone(name).eval()
        assert backbone.side_multiple == multiple
        sides = {View(zoom=SMALL_CROP).side(size, multiple) for size in range(multiple * 4, 260, multiple)}
        sides = sorted(side for side in sides if side >= 32)
        for side in sides[:: 1 + len(sides) // 20]:  # a network that takes any side is asked for some of many
            backbone(torch.zeros(1, 3, side, side))
        if multiple > 1:
            side = 27 if "convnext" in name else 55  # of images of 64 and of 128 px
            with pytest.raises(Exception):  # noqa: B017  each family refuses in its own way
                backbone(torch.zeros(1, 3, side, side))


@pytest.mark.parametrize(("name", "size"), [("mixer_s32_224", 64), ("beit_base_patch16_224", 96)])
def test_a_size_the_network_does_not_take_is_a_usage_error(name, size):
    with pytest.raises(UsageError, match=f"{name}' does not support {size} x {size} images") as caught:
        TimmBackbone(name)(torch.zeros(1, 3, size, size))
    assert "--image-size" in caught.value.next


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_checkpointing_changes_neither_maps_nor_gradients(name):
    torch.manual_seed(0)
    plain, saving = TimmBackbone(name), TimmBackbone(name, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(4, 3, 64, 64)
    kept = [saved_bytes(backbone.train(), images) for backbone in (plain, saving)]
    assert kept[1] < 0.8 * kept[0], "less is kept for the backward pass"
    for one, two in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def saved_bytes(backbone, images):
    """Bytes that a forward pass keeps for the backward pass, which is run."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        maps = backbone(images)
    torch.stack([one.square().mean() for one in maps]).sum().backward()
    return sum(sizes.values())


def test_stochastic_depth_skips_blocks_in_training_alone():
    backbone = TimmBackbone("test_vit", drop_path=0.9)
    images = torch.randn(4, 3, 32, 32)
    backbone.eval()
    plain = TimmBackbone("test_vit").eval()
    plain.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(backbone(images), plain(images))
    torch.manual_seed(0)
    assert not torch.equal(backbone.train()(images)[-1], backbone(images)[-1])


def test_sizes_of_positions_and_patches_are_timms_and_survive_saving():
    backbone = TimmBackbone("test_vit", img_size=64, patch_size=8)
    assert backbone.net.pos_embed.shape[1] - backbone.net.num_prefix_tokens == 64
    assert (backbone.strides[-1], backbone.side_multiple) == (8, 8)
    name, options = backbone.built_as
    again = load_plugins().registry.build("backbones", name, options=options)
    again.load_state_dict(backbone.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(again.eval()(images)[-1], backbone.eval()(images)[-1])
    arguments = backbone.timm_call[1]
    theirs = timm.create_model(name, num_classes=0, **arguments)
    theirs.load_state_dict(backbone.state_dict())
    assert "drop_path_rate" not in TimmBackbone("test_vit", drop_path=0.1).timm_call[1]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("test_resnet", {"img_size": 64}, "'test_resnet' does not support img_size=64"),
        ("vgg11", {"drop_path": 0.1}, "'vgg11' does not support drop_path_rate=0.1"),
        ("vgg11", {"checkpointing": True}, "'vgg11' does not support checkpointing"),
        ("test_vit", {"patch_size": 0}, "'test_vit' does not support patch_size=0"),
    ],
)
def test_an_option_that_timms_network_has_not_is_refused(name, options, said):
    with pytest.raises(UsageError, match=said):
        TimmBackbone(name, **options)
