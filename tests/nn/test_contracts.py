"""What is seen to of a plugin's backbone."""

import copy

import pytest
import torch
from torch import nn

from ssl_seg.base import Backbone
from ssl_seg.errors import PluginError
from ssl_seg.nn.contracts import made_by
from ssl_seg.testing import TinyTokens
from ssl_seg.utils.foreign import Owner


def made(factory):
    return made_by(Owner("theirs 1.0"), "backbones", factory, (), {})


class Plain(nn.Module):
    channels, strides = (8,), (2,)

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images):
        return [self.one(images)]


def test_a_module_without_a_summary_has_the_mean_of_its_map_and_so_has_its_copy():
    backbone, images = made(Plain), torch.randn(2, 3, 8, 8)
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        other.one.weight.zero_()
    for each in (backbone, other):
        assert torch.equal(each.summary(images), each(images)[0].mean(dim=(2, 3)))
    assert not torch.equal(other.summary(images), backbone.summary(images))


class Named(Plain):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)


class NamedBackbone(Named, Backbone):
    pass


class Negative(TinyTokens):
    def __init__(self):
        super().__init__()
        self.patch = -1


@pytest.mark.parametrize("factory", [Named, NamedBackbone, Negative])
def test_patch_is_a_number_and_no_layer(factory):
    with pytest.raises(PluginError, match="`patch` must be the side of a token's patch"):
        made(factory)


class Odd(TinyTokens):
    def tokens(self, images, **options):
        return super().tokens(images, **options)[:, 1:]


def test_tokens_of_another_number_are_the_plugins_fault():
    images, keep = torch.randn(2, 3, 8, 8), torch.tensor([[0, 3]] * 2)
    backbone = made(TinyTokens)
    assert backbone.tokens(images).shape == (2, 5, 16)
    assert backbone.tokens(images, keep=keep).shape == (2, 3, 16)
    for options, shape in (({}, (2, 5, 16)), ({"keep": keep}, (2, 3, 16))):
        with pytest.raises(PluginError, match=r"tokens returns a float32 tensor .*; expected .*") as caught:
            made(Odd).tokens(images, **options)
        assert str(shape) in caught.value.what and "theirs 1.0" in caught.value.what
