"""What one pass records, held against formulas, which are not those of torch's counter that it uses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_seg.base import Backbone, Head, Model
from ssl_seg.errors import UsageError
from ssl_seg.figures.architecture.trace import trace
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.testing import TinyBackbone


class One(Backbone):
    """A backbone of one map, which is what a function makes of the image."""

    def __init__(self, function, channels, stride=1):
        super().__init__()
        self.channels, self.strides, self.function = [channels], [stride], function

    def forward(self, images):
        return [self.function(images)]


class Last(Head):
    def forward(self, features, size):
        return features[-1]


def recorded(function, channels, size=(8, 8)):
    return trace(Model(One(function, channels), Last()), size)


def macs(found):
    return sum(operation.macs for operation in found.operations)


class Weighted(nn.Module):
    """A product of a matrix and a vector, which torch's counter leaves out."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return (images[0].flatten(1).T @ self.weight).view(1, 1, 8, 8)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        # weights per output channel x output channels x places
        (nn.Conv2d(3, 6, 3), 27 * 6 * 36),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1), 27 * 6 * 16),
        (nn.Conv2d(3, 6, 3, padding=2, dilation=2), 27 * 6 * 64),
        (nn.Conv2d(3, 6, (1, 5), groups=3), 5 * 6 * 8 * 4),
        # every input place is multiplied with every weight
        (nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1), 3 * 16 * 6 * 64),
        (nn.ConvTranspose2d(3, 6, 2, stride=2, groups=3), 3 * 4 * 2 * 64),
        (nn.Sequential(nn.Flatten(2), nn.Linear(64, 5), nn.Unflatten(2, (1, 5))), 3 * 64 * 5),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), 0),
        (Weighted(), 3 * 64),
    ],
)
def test_macs_of_a_layer_are_those_of_its_formula(layer, expected):
    assert macs(recorded(layer, 6)) == expected


class Attention(nn.Module):
    """Over places, by torch's module or by its function; one that looks at a value really runs."""

    def __init__(self, channels, module, looks):
        super().__init__()
        self.first, self.looks = nn.Conv2d(3, channels, 1), looks
        self.own = nn.MultiheadAttention(channels, 2, batch_first=True) if module else None

    def forward(self, images):
        x = self.first(images).flatten(2).transpose(1, 2)
        if self.looks:
            assert x.mean().item() < 1e9
        if self.own is not None:
            x = self.own(x, x, x, need_weights=False)[0]
        else:
            x = F.scaled_dot_product_attention(x, x, x)
        return x.transpose(1, 2).unflatten(2, (8, 8))


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize(("module", "projections"), [(False, 0), (True, 4)])
def test_attention_counts_both_of_its_products_however_it_is_written(module, projections, looks):
    tokens, channels = 64, 6
    first, products = 3 * channels * tokens, 2 * tokens * tokens * channels
    found = recorded(Attention(channels, module, looks), channels)
    assert macs(found) == first + products + projections * channels * channels * tokens
    assert torch.backends.mha.get_fastpath_enabled()


def test_shapes_are_those_of_a_real_pass():
    model, size = Model(TinyBackbone(), DeepLabV3([8, 16], [2, 4], 5, rates=(2, 4), width=6)), (40, 32)
    found = trace(model, size)
    maps = model.backbone(torch.zeros(1, 3, *size))
    assert [shape for _, shape in found.maps] == [tuple(each.shape[1:]) for each in maps]
    assert found.shapes["head"] == (5, 40, 32)
    assert found.shapes["head.classifier.0.convs.3"] == (6, 1, 1)
    assert {operation.dilation for operation in found.operations} == {1, 2, 4}


def test_nothing_is_computed_and_the_model_is_as_before():
    model = Model(TinyBackbone(), DeepLabV3([8, 16], [2, 4], 5))
    model.backbone.two.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    ran = []
    model.backbone.one[0].register_forward_hook(lambda _, inputs, result: ran.append(result.device.type))
    trace(model, (64, 64))
    assert ran == ["meta"]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    own = len(model.backbone.one[0]._forward_hooks)
    assert own == 1
    assert not any(module._forward_pre_hooks for module in model.modules())


class Curious(TinyBackbone):
    """Looks at a value, which only a real pass has."""

    def forward(self, images):
        first, second = super().forward(images)
        return [first, second * (1 + float(second.mean().item() > 1e9))]


def test_a_model_that_looks_at_values_really_runs():
    sizes = {"size": (32, 32)}
    plain = trace(Model(TinyBackbone(), Last()), **sizes)
    curious = trace(Model(Curious(), Last()), **sizes)
    assert macs(curious) == macs(plain) > 0
    assert [shape for _, shape in curious.maps] == [shape for _, shape in plain.maps]
    total = sum(parameter.numel() for parameter in Curious().parameters())
    assert sum(operation.parameters for operation in curious.operations) == total


def test_an_error_of_the_model_comes_out_and_leaves_no_hook():
    class Small(TinyBackbone):
        def forward(self, images):
            raise UsageError("too small")

    model = Model(Small(), Last())
    with pytest.raises(UsageError, match="too small"):
        trace(model, (32, 32))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Twice(nn.Module):
    """One convolution, used two times; and one that is not used."""

    def __init__(self):
        super().__init__()
        self.same, self.idle = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.same(self.same(images))


def test_parameters_count_once_and_only_where_they_are_used():
    found = recorded(Twice(), 3)
    assert [operation.parameters for operation in found.operations if operation.layer == "conv 3×3"] == [
        84,
        0,
    ]
    assert sum(operation.parameters for operation in found.operations) == 84
    assert macs(found) == 2 * 81 * 64


class Pieces(nn.Module):
    """Fills a map piece by piece, in place."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, images):
        whole = images.new_zeros(len(images), 4, *images.shape[2:])
        whole[:, :2] = self.left(images)
        whole[:, 2:] = self.right(images)
        return whole.permute(0, 1, 3, 2)


def test_what_is_written_in_place_is_needed_too():
    found = recorded(Pieces(), 4)
    behind = found.behind(found.maps[0][0])
    scopes = {found.operations[index].scope for index in behind}
    assert {"backbone.function.left", "backbone.function.right"} <= scopes
    assert 0 in behind


class Fixed(TinyBackbone):
    """Its second map is a weight, whatever the image; a layer that is made on the way has no name."""

    def __init__(self):
        super().__init__()
        self.map = nn.Parameter(torch.ones(1, 16, 4, 4))

    def forward(self, images):
        return [nn.ReLU()(super().forward(images)[0]), self.map]


def test_a_map_that_nothing_makes_and_a_module_without_a_name_are_no_trouble():
    found = trace(Model(Fixed(), Last()), (32, 32))
    assert found.maps[1] == (0, (16, 4, 4))
    assert found.shapes["backbone"] == (8, 16, 16)
