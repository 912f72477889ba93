"""What ONNX Runtime makes of an exported file."""

import json

import numpy as np
import pytest
import torch

from ssl_seg.errors import OutputInUseError, UsageError, WeightsError
from ssl_seg.exporting import onnx as module
from ssl_seg.exporting.base import ExportModel
from ssl_seg.exporting.onnx import to_onnx
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.fcn32s import FCN32s
from ssl_seg.heads.linear import Linear
from ssl_seg.testing import TinyBackbone

onnxruntime = pytest.importorskip("onnxruntime")


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@torch.no_grad()
def test_a_classifier_for_batches_of_any_size(source, tmp_path):
    exported = source("test_resnet", head=Linear, classes=3, metadata={"task": "classify", "head": "linear"})
    made = to_onnx(exported, tmp_path / "m.onnx")
    assert made.includes_head and made.max_difference <= 1e-4 and made.notes == []
    runtime = session(tmp_path / "m.onnx")
    for count in (1, 5):
        batch = images(count, 3, 64, 64)
        (logits,) = runtime.run(["logits"], {"images": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), exported.model(batch), rtol=1e-4, atol=1e-4)
    told = runtime.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["class 0", "class 1", "class 2"]
    assert json.loads(told["mean"]) == [0.4, 0.5, 0.6] and json.loads(told["std"]) == [0.2, 0.25, 0.3]
    assert told["image_size"] == "64" and told["task"] == "classify"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "the weights are in the file"


@torch.no_grad()
def test_a_backbone_gives_features_and_its_deepest_map(tmp_path):
    exported = ExportModel(TinyBackbone().eval(), image_size=16)
    assert not to_onnx(exported, tmp_path / "m.onnx").includes_head
    batch = images(4, 3, 16, 16)
    features, deepest = session(tmp_path / "m.onnx").run(["features", "map"], {"images": batch.numpy()})
    maps = exported.backbone(batch)
    torch.testing.assert_close(torch.from_numpy(deepest), maps[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.from_numpy(features), maps[-1].mean((2, 3)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("head", [DeepLabV3, FCN32s])
def test_masks_of_images_of_any_size(source, tmp_path, head):
    colours = [[255, 0, 0], [0, 255, 0]]
    exported = source(
        "test_resnet",
        head=lambda *shape: head(*shape, width=8),
        classes=2,
        metadata={"task": "segment", "colours": colours},
    )
    assert to_onnx(exported, tmp_path / "m.onnx").notes == []
    runtime = session(tmp_path / "m.onnx")
    for shape in ((1, 3, 64, 64), (2, 3, 96, 128), (1, 3, 70, 51)):
        batch = images(*shape)
        (logits,) = runtime.run(None, {"images": batch.numpy()})
        assert logits.shape == (shape[0], 2, *shape[2:])
        torch.testing.assert_close(torch.from_numpy(logits), exported.model(batch), rtol=1e-4, atol=1e-4)
    assert json.loads(runtime.get_modelmeta().custom_metadata_map["colours"]) == colours


@torch.no_grad()
def test_an_excluded_class_is_never_predicted(source, tmp_path):
    exported = source(
        "test_resnet",
        head=lambda *shape: DeepLabV3(*shape, width=8),
        classes=3,
        metadata={"task": "segment", "exclude": ["class 1"]},
    )
    exported.head.classifier[-1].bias[1] = 100.0  # it would win everywhere
    made = to_onnx(exported, tmp_path / "m.onnx")
    assert made.max_difference <= 1e-4 and made.notes == []
    batch = images(2, 3, 70, 51)
    (logits,) = session(tmp_path / "m.onnx").run(None, {"images": batch.numpy()})
    assert not (logits.argmax(1) == 1).any()
    assert np.array_equal(logits.argmax(1), exported.model(batch).argmax(1).numpy())


class _Whole(TinyBackbone):
    """A backbone whose answer depends on whether the size is a multiple of 8, as padding does."""

    def forward(self, batch):
        maps = super().forward(batch)
        return maps if batch.shape[-1] % 8 == 0 else [found + 1 for found in maps]


class _Fixed(TinyBackbone):
    """A backbone whose answer depends on how large an image is."""

    def forward(self, batch):
        maps = super().forward(batch)
        return maps if batch.shape[-1] <= 16 else [found + 1 for found in maps]


@pytest.mark.parametrize(
    ("backbone", "note"),
    [(_Whole, "multiples of"), (_Fixed, "fixed image size: 16 x 16 pixels"), (TinyBackbone, None)],
)
def test_sizes_that_do_not_work_are_told(tmp_path, backbone, note):
    net = backbone().eval()
    head = DeepLabV3(net.channels, net.strides, 2, width=4)
    exported = ExportModel(net, head, image_size=16, classes=["a", "b"], metadata={"task": "segment"})
    made = to_onnx(exported, tmp_path / "m.onnx")
    assert bool(made.notes) == bool(note)
    assert not note or note in made.notes[0]


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "difference", lambda one, other: 0.01)
    with pytest.raises(WeightsError, match="outputs in ONNX Runtime differ"):
        to_onnx(ExportModel(TinyBackbone(), image_size=16), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_requests_that_are_refused_before_anything_is_done(tmp_path, monkeypatch):
    exported = ExportModel(TinyBackbone(), image_size=16)
    with pytest.raises(UsageError, match="expected --out with suffix .onnx"):
        to_onnx(exported, tmp_path / "m.pth")
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(OutputInUseError):
        to_onnx(exported, tmp_path / "m.onnx")
    monkeypatch.setattr(module, "_LARGEST", 100)
    with pytest.raises(UsageError, match="2 GB limit"):
        to_onnx(exported, tmp_path / "n.onnx")
    monkeypatch.setattr("ssl_seg.utils.extras.find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(UsageError, match="requires onnxscript .not installed") as refused:
        to_onnx(exported, tmp_path / "n.onnx")
    assert "ssl-seg[onnx]" in refused.value.next
    assert (tmp_path / "m.onnx").read_text() == "mine"
