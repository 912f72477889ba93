"""The parts of real models: nothing is lost, nothing counts twice, and they are what the papers describe."""

import pytest
import torch
from torch import nn
from torchvision.models import ResNet50_Weights, VGG16_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Head, Model
from ssl_seg.figures.architecture.describe import describe
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.fcn32s import FCN32s
from ssl_seg.heads.linear import Linear
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import TinyBackbone

SIZE = (64, 64)


def with_head(backbone, head, classes=7, **options):
    factory = load_plugins().registry.factory("heads", head)
    return Model(backbone, factory(backbone.channels, backbone.strides, classes, **options))


def layers_by_hooks(model, size):
    """The logits, and the multiply-accumulates of convolutions and linear layers, from the shapes as they really run."""
    total = []

    def count(layer, inputs, result):
        per_output = layer.weight[0].numel() if not isinstance(layer, nn.ConvTranspose2d) else None
        if per_output is None:
            total.append(inputs[0].numel() * layer.weight[0].numel())
        else:
            total.append(result.numel() * per_output)

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [part.register_forward_hook(count) for part in model.modules() if isinstance(part, kinds)]
    with torch.no_grad():
        logits = model.eval()(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return logits, sum(total)


HEADS = [
    name for name in load_plugins().registry.names("heads") if name not in ("smp:deeplabv3plus", "fcn32s")
]


@pytest.mark.parametrize("head", HEADS)
def test_the_parts_of_every_head_add_up(head):
    model = with_head(TimmBackbone("resnet10t"), head)
    network = describe(model, SIZE, head)
    assert network.parameters == sum(p.numel() for p in model.parameters())
    logits, layers = layers_by_hooks(model, SIZE)
    # MA-Net compares the 4 places of the deepest map with one another, by 64 channels, and mixes 512
    products = 4 * 4 * (64 + 512) if head == "smp:manet" else 0
    assert network.macs == layers + products
    assert sum(p.layers for p in network.parts()) > 13
    assert network.head[-1][-1].shape == tuple(logits.shape[1:])
    names = [part.name for part in network.parts()]
    assert len(set(names)) == len(names)
    known = {"image", *names}
    assert all(set(part.takes) <= known and part.takes for part in network.parts())
    assert network.unused >= 0


def test_the_two_networks_of_the_course_have_their_published_sizes():
    with torch.device("meta"):  # weights without values are made at once
        vgg = TimmBackbone("vgg16")
        vgg_fcn = Model(vgg, FCN32s(vgg.channels, vgg.strides, 7))
        resnet = TimmBackbone("resnet50", output_stride=8)
        resnet_deeplab = Model(resnet, DeepLabV3(resnet.channels, resnet.strides, 21, aux=True))
    fcn = describe(vgg_fcn, (224, 224), "fcn")
    assert [part.what for part in fcn.stages] == [f"{n} × conv 3×3" for n in (2, 2, 3, 3, 3)] + ["MaxPool2d"]
    assert [part.shape for part in fcn.stages] == [
        (64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14), (512, 7, 7)
    ]  # fmt: skip
    dense = 25088 * 4096 + 4096 * 4096 + 4096 * 1000
    published = VGG16_Weights.DEFAULT.meta["_ops"] * 1e9
    assert sum(part.macs for part in fcn.stages) == pytest.approx(published - dense, rel=1e-3)
    assert sum(p.parameters for p in fcn.stages) == VGG16_Weights.DEFAULT.meta["num_params"] - dense - 9192
    assert [(p.label, p.what, p.shape, p.parameters) for column in fcn.head for p in column] == [
        ("fc6", "conv 7×7", (4096, 7, 7), 7 * 7 * 512 * 4096 + 4096),
        ("fc7", "conv 1×1", (4096, 7, 7), 4096 * 4096 + 4096),
        ("score", "conv 1×1", (7, 7, 7), 4096 * 7 + 7),
        ("upsampling", "×32", (7, 224, 224), 0),
    ]

    deeplab = describe(resnet_deeplab, (520, 520), "deeplab")
    auxiliary = 65 * 65 * (9 * 1024 * 256 + 256 * 21)  # torchvision runs it in evaluation too
    published = DeepLabV3_ResNet50_Weights.DEFAULT.meta
    assert deeplab.macs == pytest.approx(published["_ops"] * 1e9 - auxiliary, rel=1e-4)
    assert deeplab.parameters == published["num_params"]
    assert deeplab.unused == 9 * 1024 * 256 + 2 * 256 + 256 * 21 + 21
    what = ["conv 7×7", *(f"{n} × Bottleneck" for n in (3, 4, 6, 3))]
    assert [part.what for part in deeplab.stages] == what
    assert [part.dilation for part in deeplab.stages] == [1, 1, 1, 2, 4]
    assert [part.stride for part in deeplab.stages] == [2, 4, 8, 8, 8]
    assert [len(column) for column in deeplab.head] == [5, 1, 1, 1, 1]
    assert [part.dilation for part in deeplab.head[0]] == [1, 12, 24, 36, 1]
    assert [part.kind for part in deeplab.head[0]] == ["layer"] * 4 + ["pooling"]
    assert deeplab.head[0][4].what == "image pooling"
    assert deeplab.head[0][4].shape == (256, 1, 1)
    assert [column[0].label for column in deeplab.head[1:]] == [
        "project",
        "classifier.1",
        "classifier.4",
        "upsampling",
    ]
    assert deeplab.head[-1][0].what == "×8"


def test_resnet50_alone_has_its_published_number():
    with torch.device("meta"):
        backbone = TimmBackbone("resnet50")
    network = describe(backbone, (224, 224), "resnet50")
    published = ResNet50_Weights.DEFAULT.meta
    assert network.macs == pytest.approx(published["_ops"] * 1e9 - 2048 * 1000, rel=1e-3)
    assert network.parameters == published["num_params"] - 2048 * 1000 - 1000
    assert network.head == ()


def test_a_transformer_has_four_stages_of_equal_blocks():
    backbone = TimmBackbone("vit_tiny_patch16_224")
    network = describe(Model(backbone, Linear(backbone.channels, backbone.strides, 3)), (96, 96), "vit")
    assert [part.what for part in network.stages] == ["3 × Block"] * 4
    assert [part.shape for part in network.stages] == [(192, 6, 6)] * 4
    tokens, width = 37, 192  # with the class token
    block = 12 * tokens * width * width + 2 * tokens * tokens * width
    patches = 36 * 3 * 16 * 16 * width
    assert [part.macs for part in network.stages] == [3 * block + patches, *[3 * block] * 3]
    assert len({part.parameters for part in network.stages[1:]}) == 1
    assert [part.takes for part in network.stages] == [("image",), *((f"stage {n}",) for n in (1, 2, 3))]
    assert [column[0].what for column in network.head] == ["global mean", "linear"]
    assert network.head[1][0].takes == ("global mean",)
    assert network.parameters == sum(p.numel() for p in backbone.parameters()) + 192 * 3 + 3


def test_the_order_of_data_is_that_of_the_decoder():
    network = describe(with_head(TimmBackbone("resnet10t"), "smp:unet"), SIZE, "unet")
    blocks = [column[0] for column in network.head if "blocks" in column[0].name]
    assert [part.label for part in blocks] == [f"blocks.{n}" for n in range(5)]
    assert [set(part.takes) for part in blocks] == [
        {"stage 5", "stage 4"},
        {"decoder.blocks.0", "stage 3"},
        {"decoder.blocks.1", "stage 2"},
        {"decoder.blocks.2", "stage 1"},
        {"decoder.blocks.3"},
    ]
    fpn = describe(with_head(TimmBackbone("resnet10t"), "smp:fpn"), SIZE, "fpn")
    blocks = [part for column in fpn.head for part in column if "seg_blocks" in part.name]
    assert [part.takes for part in blocks] == [(f"decoder.p{level}",) for level in (5, 4, 3, 2)]
    assert fpn.head[-2][0].takes == tuple(part.name for part in blocks)


def test_neighbours_that_take_the_same_are_branches():
    pyramid = describe(with_head(TimmBackbone("resnet10t"), "smp:pspnet"), SIZE, "psp").head
    assert [len(column) for column in pyramid] == [4, 1, 1, 1]
    assert [part.what for part in pyramid[0]] == ["image pooling", *(f"pooling {n}×{n}" for n in (2, 3, 6))]
    assert {part.takes for part in pyramid[0]} == {("stage 5",)}
    assert set(pyramid[1][0].takes) == {"stage 5", *(part.name for part in pyramid[0])}


class Unknown(Head):
    """Three children at the top, one of them a block; work of its own between them."""

    def __init__(self, classes=4):
        super().__init__()
        self.inner = nn.ModuleDict({"a": nn.Conv2d(16, 8, 1), "b": nn.Conv2d(8, 8, 3, padding=1)})
        self.norm, self.act = nn.BatchNorm2d(8), nn.ReLU()
        self.scale = nn.Parameter(torch.ones(8, 8))
        self.block = Block()
        self.out = nn.Conv2d(8, classes, 1)

    def forward(self, features, size):
        x = self.inner["b"](self.inner["a"](features[-1]))
        x = self.act(self.norm(x))
        x = torch.einsum("bchw,cd->bdhw", x, self.scale)
        return self.out(self.block(x))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + self.two(self.one(x))


def test_an_unknown_head_is_its_children_and_what_lies_between_counts_with_the_one_before():
    model = Model(TinyBackbone(), Unknown())
    network = describe(model, (32, 32), "unknown")
    assert [[part.label for part in column] for column in network.head] == [
        ["a"],
        ["b"],
        ["block"],
        ["out"],
    ]
    b, block = network.head[1][0], network.head[2][0]
    assert b.parameters == 8 * 8 * 9 + 8 + 16 + 64  # with the norm and the function's weights
    assert b.macs == 64 * (8 * 8 * 9 + 64)
    assert (block.what, block.layers) == ("2 × conv 3×3", 2)
    assert network.parameters == sum(p.numel() for p in model.parameters())
    assert network.unused == 0


class NormFirst(Head):
    """Norms of both maps, then a layer for each."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(16)])
        self.low, self.high, self.out = nn.Conv2d(8, 4, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, features, size):
        low, high = (norm(each) for norm, each in zip(self.norms, features, strict=True))
        return self.out(self.low(low) + nn.functional.interpolate(self.high(high), low.shape[2:]))


def test_a_norm_that_follows_no_part_counts_with_the_one_it_feeds():
    network = describe(Model(TinyBackbone(), NormFirst()), (32, 32), "norm first")
    parts = {part.label: part for column in network.head for part in column}
    assert {name: part.parameters for name, part in parts.items() if part.parameters} == {
        "low": 2 * 8 + 8 * 4 + 4,
        "high": 2 * 16 + 16 * 4 + 4,
        "out": 4 * 3 + 3,
    }
    assert [parts[name].takes for name in ("low", "high", "out")] == [
        ("stage 1",),
        ("stage 2",),
        ("low", "high"),
    ]


class Functional(Head):
    """No children at all."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16, 4))

    def forward(self, features, size):
        return torch.einsum("bchw,cd->bdhw", features[-1], self.weight)


def test_a_head_without_children_is_one_part():
    network = describe(Model(TinyBackbone(), Functional()), (32, 32), "functional")
    assert [[(p.label, p.parameters, p.macs) for p in column] for column in network.head[:1]] == [
        [("head", 64, 64 * 64)]
    ]
    assert network.head[0][0].takes == ("stage 2",)


class Nothing(Head):
    def forward(self, features, size):
        return features[-1]


def test_a_head_that_computes_nothing_has_no_part_but_the_resize():
    network = describe(Model(TinyBackbone(), Nothing()), (32, 32), "nothing")
    assert network.head == ()
    assert network.macs == describe(TinyBackbone(), (32, 32), "alone").macs


class Shared(Head):
    """Two layers with one weight, on the same features."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.b.weight = self.a.weight

    def forward(self, features, size):
        x = features[-1].mean((2, 3))
        return self.out(self.a(x) + self.b(x))


def test_a_shared_weight_counts_once_and_ties_nothing_together():
    model = Model(TinyBackbone(), Shared())
    network = describe(model, (32, 32), "shared")
    assert [[part.label for part in column] for column in network.head] == [["a", "b"], ["out"]]
    assert [part.parameters for part in network.head[0]] == [16 * 16 + 16, 16]
    assert [part.macs for part in network.head[0]] == [16 * 16, 16 * 16]
    assert [part.takes for part in network.head[0]] == [("stage 2",), ("stage 2",)]
    assert network.parameters == sum(p.numel() for p in model.parameters())


class Plain(Head):
    """A classifier as many are written; with `whole`, its answer for every pixel."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole
        self.net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, features, size):
        logits = self.net(features[-1])
        return logits[:, :, None, None].expand(-1, -1, *size) if self.whole else logits


@pytest.mark.parametrize("whole", [False, True])
def test_what_a_head_does_without_weights_is_not_a_part_but_for_the_last_resize(whole):
    network = describe(Model(TinyBackbone(), Plain(whole)), (32, 32), "plain")
    parts = [(part.label, part.kind, part.what, part.shape) for column in network.head for part in column]
    resize = ("upsampling", "upsampling", "×32", (3, 32, 32))
    assert parts == [("net.3", "layer", "linear", (3,)), resize][: 2 if whole else 1]
    assert network.head[0][0].takes == ("stage 2",)


class Inner(nn.Module):
    """Used by a method of its own, never called."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8)

    def decode(self, x):
        return self.norm(self.conv(x))


class ByMethod(Head):
    def __init__(self):
        super().__init__()
        self.inner, self.middle, self.last = Inner(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, features, size):
        return self.last(self.middle(self.inner.decode(features[-1])))


def test_a_module_that_is_used_without_being_called_has_the_shape_of_its_last_layer():
    network = describe(Model(TinyBackbone(), ByMethod()), (32, 32), "by method")
    assert [(part.name, part.shape[0]) for part in network.parts()[2:5]] == [
        ("inner", 8),
        ("middle", 8),
        ("last", 3),
    ]


class Fixed(TinyBackbone):
    """Its second map is a weight, whatever the image."""

    def __init__(self):
        super().__init__()
        self.map = nn.Parameter(torch.ones(1, 16, 8, 8))

    def forward(self, images):
        return [super().forward(images)[0], self.map]


def test_a_stage_for_which_nothing_runs_is_empty():
    network = describe(Fixed(), (32, 32), "fixed")
    assert [(part.kind, part.what, part.layers) for part in network.stages][1] == ("stage", "conv 3×3", 1)
    assert network.parameters == sum(p.numel() for p in Fixed().parameters())
