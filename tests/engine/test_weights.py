import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ssl_seg.base import Backbone
from ssl_seg.engine.weights import load_backbone, read_about, save_backbone
from ssl_seg.errors import ResourceError, WeightsError
from ssl_seg.testing import TinyBackbone

ABOUT = {"backbone": "tiny", "options": {"stem": "small"}, "image_size": 64, "mean": [0.1, 0.2, 0.3]}


def backbone(seed):
    torch.manual_seed(seed)
    module = TinyBackbone()
    module(torch.randn(4, 3, 16, 16))  # running statistics that differ from their start
    return module


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, backbone(0), ABOUT)
    return path


def rewrite(path, change):
    """Change the tensors of a file, keep its header."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=header)


def assert_refused(path, sentence):
    """Loading raises with this text, and no tensor of the backbone has moved."""
    module = backbone(1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError, match=sentence) as error:
        load_backbone(path, module)
    assert str(path) in (error.value.where or "")
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    return error.value


def test_a_backbone_comes_back_bit_for_bit(file):
    module = backbone(1)
    assert load_backbone(file, module) == len(module.state_dict()) == 12
    for name, tensor in backbone(0).state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name
        assert tensor.dtype == module.state_dict()[name].dtype


def test_the_header_says_what_it_is(file):
    assert read_about(file) == ABOUT
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["about"]) == ABOUT


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_channels_last_and_tied_weights_can_be_saved(tmp_path, layout):
    class Tied(Backbone):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
            self.two.weight = self.one.weight

    module = Tied().to(memory_format=layout)
    save_backbone(tmp_path / "tied", module, {})
    fresh = Tied()
    load_backbone(tmp_path / "tied", fresh)
    assert torch.equal(fresh.one.weight, module.one.weight)
    assert fresh.two.weight is fresh.one.weight


def test_saving_leaves_one_file(file):
    save_backbone(file, backbone(2), ABOUT)
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]
    module = backbone(1)
    load_backbone(file, module)
    assert torch.equal(module.one[0].weight, backbone(2).one[0].weight)


def test_a_file_that_cannot_be_written_leaves_the_old_one(file, monkeypatch):
    before = file.read_bytes()

    def full(*args, **kwargs):
        args[1].write_bytes(b"half")
        raise RuntimeError("no space left on device")

    monkeypatch.setattr("ssl_seg.engine.weights.save_file", full)
    with pytest.raises(ResourceError, match="no space left"):
        save_backbone(file, backbone(2), ABOUT)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]


def test_a_missing_tensor_is_refused(file):
    rewrite(file, lambda tensors: [tensors.pop("one.0.weight"), tensors.pop("two.1.running_var")])
    error = assert_refused(file, "matched 10 of 12 tensors: 2 missing, 0 left over, 0 of another shape")
    assert "one.0.weight, two.1.running_var" in error.where


def test_a_tensor_too_many_is_refused(file):
    rewrite(file, lambda tensors: tensors.update({"fc.weight": torch.zeros(2)}))
    error = assert_refused(file, "matched 12 of 12 tensors: 0 missing, 1 left over, 0 of another shape")
    assert "fc.weight" in error.where


def test_a_tensor_of_another_shape_is_refused(file):
    rewrite(file, lambda tensors: tensors.update({"two.0.weight": torch.zeros(16, 8, 1, 1)}))
    error = assert_refused(file, "matched 11 of 12 tensors: 0 missing, 0 left over, 1 of another shape")
    assert "two.0.weight" in error.where


def test_a_prefix_matches_nothing(file):
    def prefixed(tensors):
        for name in list(tensors):
            tensors[f"module.{name}"] = tensors.pop(name)

    rewrite(file, prefixed)
    assert_refused(file, "matched 0 of 12 tensors: 12 missing, 12 left over")


def test_a_foreign_safetensors_file_is_refused(file):
    save_file(load_file(file), file)
    assert_refused(file, "not a backbone file of ssl-seg")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00."], ids=["empty", "text", "pickle"])
def test_a_file_of_another_kind_is_refused(file, content):
    file.write_bytes(content)
    assert_refused(file, "cannot read weights")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, kept):
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    assert_refused(file, "cannot read weights")


def test_no_file_is_refused(tmp_path):
    assert_refused(tmp_path / "none.safetensors", "cannot read weights")
