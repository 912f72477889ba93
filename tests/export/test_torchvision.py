"""What torchvision's own networks make of exported weights."""

from functools import partial

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.errors import OutputInUseError, UsageError, WeightsError
from ssl_seg.exporting import torchvision as module
from ssl_seg.exporting.torchvision import to_torchvision
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.linear import Linear
from ssl_seg.weights.backbone_file import load_backbone

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_a_resnet_without_its_classifier(source, tmp_path):
    exported = source("resnet18")
    assert not to_torchvision(exported, tmp_path / "w.pth").includes_head
    net = torchvision.models.resnet18()
    net.fc = nn.Identity()
    net.load_state_dict(torch.load(tmp_path / "w.pth"))
    theirs = net.eval()(IMAGES)
    ours = exported.backbone(IMAGES)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_resnet_with_its_classifier(source, tmp_path):
    exported = source("resnet18", head=Linear, classes=5)
    assert to_torchvision(exported, tmp_path / "w.pth").includes_head
    net = torchvision.models.resnet18(num_classes=5)
    net.load_state_dict(torch.load(tmp_path / "w.pth"))
    torch.testing.assert_close(net.eval()(IMAGES), exported.model(IMAGES), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_vgg_without_its_classifier(source, tmp_path):
    exported = source("vgg11_bn", head=Linear, classes=5)
    made = to_torchvision(exported, tmp_path / "w.safetensors")
    assert not made.includes_head and "not exported" in made.notes[0]
    state = load_file(tmp_path / "w.safetensors")
    assert all(name.startswith("features.") for name in state)
    net = torchvision.models.vgg11_bn()
    net.classifier = nn.Identity()
    net.load_state_dict(state)
    torch.testing.assert_close(
        net.eval().features(IMAGES), exported.backbone(IMAGES)[-1], rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("aux", [False, True])
def test_deeplabv3_whole(source, tmp_path, aux):
    head = partial(DeepLabV3, aux=aux)
    exported = source("resnet50", head=head, classes=4, output_stride=8, metadata={"task": "segment"})
    made = to_torchvision(exported, tmp_path / "w.pth")
    assert made.includes_head and f"aux_loss={aux}" in made.code
    net = torchvision.models.segmentation.deeplabv3_resnet50(
        weights_backbone=None, num_classes=4, aux_loss=aux
    )
    net.load_state_dict(torch.load(tmp_path / "w.pth"))
    torch.testing.assert_close(net.eval()(IMAGES)["out"], exported.model(IMAGES), rtol=1e-5, atol=1e-5)
    match = load_backbone(tmp_path / "w.pth", TimmBackbone("resnet50", output_stride=8))
    assert match.matched == match.num_tensors and match.prefix == "backbone."


@torch.no_grad()
def test_deeplabv3_with_the_rates_of_small_crops(source, tmp_path):
    head = partial(DeepLabV3, rates=(1, 2, 3))
    exported = source("resnet50", head=head, classes=4, output_stride=8, metadata={"task": "segment"})
    made = to_torchvision(exported, tmp_path / "w.pth")
    assert made.includes_head
    exec(f"import torch, torchvision\n{made.code}", scope := {})  # noqa: S102
    torch.testing.assert_close(
        scope["net"].eval()(IMAGES)["out"], exported.model(IMAGES), rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
def test_an_excluded_class_is_never_predicted(source, tmp_path):
    metadata = {"task": "segment", "exclude": ["class 2"]}
    exported = source("resnet50", head=DeepLabV3, classes=4, output_stride=8, metadata=metadata)
    exported.head.classifier[-1].bias[2] = 100.0  # it would win everywhere
    assert to_torchvision(exported, tmp_path / "w.pth").includes_head
    net = torchvision.models.segmentation.deeplabv3_resnet50(
        weights_backbone=None, num_classes=4, aux_loss=False
    )
    net.load_state_dict(torch.load(tmp_path / "w.pth"))
    said = net.eval()(IMAGES)["out"].argmax(1)
    assert not (said == 2).any() and torch.equal(said, exported.model(IMAGES).argmax(1))


def test_the_code_that_is_told_runs(source, tmp_path):
    for name, exported in (
        ("a.pth", source("resnet18")),
        ("b.safetensors", source("resnet18", head=Linear, classes=3)),
    ):
        made = to_torchvision(exported, tmp_path / name)
        exec(f"import torch, torchvision, safetensors.torch\n{made.code}", scope := {})  # noqa: S102
        assert scope["net"](IMAGES).shape[0] == 2


def test_the_way_back(source, tmp_path):
    exported = source("resnet18", head=Linear, classes=3)
    for name in ("w.pth", "w.safetensors"):
        to_torchvision(exported, tmp_path / name)
        backbone = TimmBackbone("resnet18")
        match = load_backbone(tmp_path / name, backbone)
        assert match.matched == match.num_tensors == len(exported.backbone.state_dict())
        assert all(
            torch.equal(t, backbone.state_dict()[k]) for k, t in exported.backbone.state_dict().items()
        )


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("test_resnet", {}, "no network named test_resnet"),
        ("efficientnet_b0", {}, "has other tensors or tensor names"),
        ("resnet18", {"stem": "small"}, "has no torchvision counterpart"),
        ("resnet18", {"output_stride": 8}, "supports output stride 32 only"),
    ],
)
def test_what_torchvision_does_not_have_is_refused(source, tmp_path, name, options, reason):
    with pytest.raises(UsageError, match=reason) as refused:
        to_torchvision(source(name, **options), tmp_path / "w.pth")
    assert refused.value.next
    assert list(tmp_path.iterdir()) == []


def test_equal_names_are_not_believed(source, tmp_path, monkeypatch):
    def other(*exported, **named):
        return 0.01

    monkeypatch.setattr(module, "_distance", other)
    with pytest.raises(WeightsError, match="outputs in"):
        to_torchvision(source("resnet18"), tmp_path / "w.pth")
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_written(source, tmp_path):
    with pytest.raises(UsageError, match="expected --out with suffix .pth"):
        to_torchvision(source("resnet18"), tmp_path / "w.onnx")
    (tmp_path / "w.pth").write_text("mine")
    with pytest.raises(OutputInUseError):
        to_torchvision(source("resnet18"), tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_text() == "mine"
