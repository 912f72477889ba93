"""smp's decoders as heads, against smp's own models."""

import sys

import pytest
import segmentation_models_pytorch as smp
import torch

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import UsageError
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.fcn32s import FCN32s
from ssl_seg.heads.smp import heads
from ssl_seg.utils.options import check_options, factory_options

CLASSES = 5
NAMES = sorted(heads())
RESNET, TRANSFORMER, DILATED = [2, 4, 8, 16, 32], [4, 8, 16, 32], [2, 4, 8, 8, 8]
SMALL = {"pspnet": 16, "upernet": 16, "segformer": 16, "deeplabv3": 16, "deeplabv3plus": 16, "dpt": 16}


def build(name, channels, strides, **options):
    width = {"width": SMALL[name.removeprefix("smp:")]} if name.removeprefix("smp:") in SMALL else {}
    return heads()[name](channels, strides, CLASSES, **width, **options)


def suited(name):
    """Strides for which the decoder was made."""
    return {"smp:deeplabv3": DILATED, "smp:deeplabv3plus": [2, 4, 8, 16, 16]}.get(name, RESNET)


def maps(strides, size, batch=2, width=8):
    return [torch.randn(batch, width, *(-(-side // stride) for side in size)) for stride in strides]


def test_the_names_are_those_of_all_of_smps_decoders():
    assert NAMES == sorted(f"smp:{name}" for name in smp.MODEL_ARCHITECTURES_MAPPING)


def test_smp_is_imported_only_to_build_one(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("segmentation_models_pytorch")]:
        monkeypatch.setitem(sys.modules, module, None)
    for name, factory in heads().items():
        assert "width" in str(factory_options(factory)), name
        assert factory.__doc__
        with pytest.raises(ImportError):
            factory([8] * 5, suited(name), CLASSES)


DEEP = {
    "smp:deeplabv3": {"encoder_output_stride": 8},
    "smp:deeplabv3plus": {"encoder_output_stride": 16},
    "smp:pan": {"encoder_output_stride": 16},
}
DEEP |= {name: {} for name in NAMES if name not in (*DEEP, "smp:pspnet", "smp:dpt")}
FOUR = {"encoder_depth": 4}  # maps, from stride 2 on
SHALLOW = {
    **{f"smp:{name}": FOUR for name in ("linknet", "pan", "upernet", "segformer")},
    **{
        f"smp:{n}": {**FOUR, "decoder_channels": (128, 64, 32, 16)} for n in ("unet", "unetplusplus", "manet")
    },
    "smp:fpn": {**FOUR, "upsampling": 2},
    "smp:pspnet": {"encoder_depth": 3},
    "smp:deeplabv3plus": {"encoder_output_stride": 8},
}


@pytest.mark.parametrize(("name", "options"), [*DEEP.items(), *SHALLOW.items()])
def test_the_same_as_smps_model(name, options):
    torch.manual_seed(0)
    make = smp.MODEL_ARCHITECTURES_MAPPING[name.removeprefix("smp:")]
    theirs = make("tu-test_resnet", encoder_weights=None, classes=CLASSES, **options).eval()
    images = torch.randn(2, 3, 128, 192)
    with torch.no_grad():
        expected, features = theirs(images), theirs.encoder(images)[1:]
        channels, strides = [x.shape[1] for x in features], [128 // x.shape[2] for x in features]
        ours = heads()[name](channels, strides, CLASSES).eval()
        state = {key: t for key, t in theirs.state_dict().items() if not key.startswith("encoder.")}
        ours.load_state_dict(state, strict=True)
        torch.testing.assert_close(ours(features, (128, 192)), expected, atol=1e-5, rtol=1e-4)


def test_the_same_as_smps_dpt():
    torch.manual_seed(0)
    options = {"decoder_intermediate_channels": (8, 16, 24, 32), "decoder_fusion_channels": 40}
    theirs = smp.DPT(
        "tu-test_vit", encoder_weights=None, classes=CLASSES, decoder_readout="ignore", **options
    ).eval()
    images = torch.randn(2, *theirs.encoder.input_size)
    with torch.no_grad():
        expected, (features, _) = theirs(images), theirs.encoder(images)
        channels = [x.shape[1] for x in features]
        ours = heads()["smp:dpt"](channels, [16] * 4, CLASSES, widths=(8, 16, 24, 32), width=40).eval()
        state = {key: t for key, t in theirs.state_dict().items() if not key.startswith("encoder.")}
        ours.load_state_dict(state, strict=True)
        size = tuple(images.shape[2:])
        torch.testing.assert_close(ours(features, size), expected, atol=1e-5, rtol=1e-4)


def test_fresh_weights_begin_as_smp_begins_them():
    """Kaiming's uniform bound is sqrt(6 / fan_in); torch's own would be a third of its square."""
    head = build("smp:unet", [8] * 5, RESNET)
    conv = head.decoder.blocks[0].conv1[0]
    bound = (6 / (conv.in_channels * 9)) ** 0.5
    assert 0.9 * bound < conv.weight.abs().max() <= bound
    last = head.segmentation_head[0]
    assert last.weight.abs().max() > (1 / (last.in_channels * 9)) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_image_trains(name):
    strides = suited(name)
    head = build(name, [8] * 5, strides)
    logits = head(maps(strides, (64, 64), batch=1), (64, 64))
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("size", [(33, 33), (47, 64), (64, 97), (97, 65), (101, 101), (129, 40), (65, 159)])
@pytest.mark.parametrize("name", ["smp:unet", "smp:fpn", "smp:segformer", "smp:dpt"])
def test_logits_have_the_images_size(name, size):
    head = build(name, [8] * 5, RESNET).eval()
    assert head(maps(RESNET, size, batch=1), size).shape == (1, CLASSES, *size)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("smp:unet", [16] * 4),
        ("smp:unetplusplus", DILATED),
        ("smp:linknet", DILATED),
        ("smp:manet", DILATED),
        ("smp:fpn", DILATED),
        ("smp:fpn", [4, 8]),
        ("smp:upernet", [14] * 4),
        ("smp:deeplabv3plus", RESNET),
        ("smp:deeplabv3plus", [8, 8, 16]),
        ("smp:dpt", [14] * 4),
    ],
)
def test_a_pyramid_that_does_not_suit_is_refused_with_its_strides(name, strides):
    with pytest.raises(UsageError, match=f"head {name} requires .* {', '.join(map(str, strides))}"):
        heads()[name]([8] * len(strides), strides, CLASSES)


@pytest.mark.parametrize("name", ["smp:unet", "smp:upernet", "smp:segformer", "smp:pan", "smp:pspnet"])
def test_dilated_pyramids(name):
    head = build(name, [8] * 5, DILATED).eval()
    assert head(maps(DILATED, (64, 72)), (64, 72)).shape == (2, CLASSES, 64, 72)


def test_options_have_types_and_reach_the_decoder():
    factory = heads()["smp:unet"]
    options = check_options(factory, "head smp:unet", {"widths": "80,64,48,32,16", "attention": "scse"})
    head = factory([8] * 4, TRANSFORMER, CLASSES, **options)
    assert [block.conv1[0].out_channels for block in head.decoder.blocks] == [80, 64, 48, 32, 16]
    assert any("cSE" in name for name, _ in head.named_modules())
    assert [b.conv1[0].out_channels for b in factory([8] * 3, [4, 8, 16], CLASSES).decoder.blocks] == [
        *(128, 64, 32, 16)
    ]
    with pytest.raises(UsageError, match="smp:unet requires 5 widths"):
        factory([8] * 4, TRANSFORMER, CLASSES, widths=(8, 4))


# --- every backbone with every head ---------------------------------------------------------------

ALL = [*NAMES, "fcn32s", "deeplabv3"]
FAST = ["test_resnet", "test_convnext", "test_vit", "test_efficientnet"]
REAL = [
    *("resnet18", "vgg11_bn", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"),
    *("efficientnet_b0", "mobilenetv2_050", "mobilenetv3_small_100", "regnety_002", "densenet121"),
    *("pvt_v2_b0", "xcit_nano_12_p16_224", "inception_v4", "hrnet_w18_small"),
]
TRANSFORMERS = {"smp:dpt", "smp:pspnet", "smp:deeplabv3", "fcn32s", "deeplabv3"}


def works_with(backbone, size):
    """The heads that give logits on a backbone; the others refuse it with its strides."""
    backbone = backbone.eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, size, size))
        levels = (backbone.channels, backbone.strides)
        for name in ALL:
            try:
                if name == "fcn32s":
                    head = FCN32s(*levels, CLASSES, width=8)
                elif name == "deeplabv3":
                    head = DeepLabV3(*levels, CLASSES, width=8)
                else:
                    head = build(name, *levels)
            except UsageError as error:
                assert ", ".join(map(str, backbone.strides)) in error.what
                continue
            logits = head.eval()([x.clone() for x in features], (size, size))
            assert logits.shape == (1, CLASSES, size, size) and torch.isfinite(logits).all(), name
            yield name


@pytest.mark.parametrize("name", FAST)
def test_miniatures_with_every_head(name):
    found = set(works_with(TimmBackbone(name), 64))
    assert found == (TRANSFORMERS if name == "test_vit" else set(ALL) - {"smp:deeplabv3plus"})


def test_a_dilated_backbone_suits_deeplabv3plus():
    found = set(works_with(TimmBackbone("test_resnet", output_stride=16), 64))
    assert set(ALL) - found == {"smp:unetplusplus", "smp:linknet", "smp:manet", "smp:fpn"}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_backbones_with_every_head(name):
    found = set(works_with(TimmBackbone(name), 224))
    plain = name.startswith(("vit", "xcit"))
    assert found == (TRANSFORMERS if plain else set(ALL) - {"smp:deeplabv3plus"})
