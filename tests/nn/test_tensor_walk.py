import torch
from torch import nn

from ssl_seg.nn.tensor_walk import iter_tensors


class Box:
    def __init__(self, tensor):
        self.tensor, self.owner = tensor, self  # a circle


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.BatchNorm1d(2)
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("centre", torch.zeros(2))
        self.plain = torch.zeros(3)
        self.nested = {"a": [torch.zeros(4), (Box(torch.zeros(5)),)]}
        self.again = [self.inner, self]
        self.text, self.number, self.nothing = "text", 3, None


def test_every_tensor_is_found_with_its_path():
    found = {path: tensor for _, path, tensor in iter_tensors(Module())}
    inner = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert set(found) == (
        {f"inner.{name}" for name in inner}
        | {"weight", "centre", "plain", "nested.a.0", "nested.a.1.0.tensor"}
        | {f"again.0.{name}" for name in inner}
    )
    assert found["nested.a.1.0.tensor"].shape == (5,)


def test_a_tensor_comes_once_for_each_attribute_it_hangs_on():
    module = Module()
    owners = [name for name, _, tensor in iter_tensors(module) if tensor is module.inner.weight]
    assert sorted(owners) == ["again", "inner"]
