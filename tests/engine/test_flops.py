"""The operations of a training step against a count by hand."""

import pytest
import torch
from torch import nn

from ssl_seg.augment.recipes import View
from ssl_seg.augment.views import augment
from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.engine.device import Device
from ssl_seg.engine.flops import training_flops
from ssl_seg.methods.moco_v2 import MoCoV2
from ssl_seg.testing import TinyBackbone


class OneConv(Backbone):
    channels, strides = (4,), (1,)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)

    def forward(self, images):
        return [self.conv(images)]


class Method(SSLMethod):
    views = (View(),)

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(4, 5, bias=False)

    def training_step(self, views):
        return {"loss": self.head(self.backbone.summary(views[0])).square().mean()}


def views_of(method, images=16, size=8):
    return augment(torch.zeros(images, 3, size, size, dtype=torch.uint8), method.views, seed=0, size=size)


def test_forward_and_backward_are_counted_by_image():
    method = Method(OneConv())
    conv, linear = 8 * 8 * 4 * 3 * 9, 4 * 5  # multiplications of one image
    # the images need no gradient: the convolution goes back once, to its weights, the linear layer twice
    expected = 2 * (2 * conv + 3 * linear)
    assert training_flops(method, views_of(method), Device(cpu=True)) == expected


def test_method_and_random_numbers_stay_as_they_are():
    method = MoCoV2(TinyBackbone(), queue=32).train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    state = torch.get_rng_state()
    assert training_flops(method, views_of(method, size=32), Device(cpu=True)) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())


def test_a_method_that_cannot_be_copied_has_no_number():
    class Stubborn(Method):
        def __deepcopy__(self, memo):
            raise TypeError("no copies of me")

    method = Stubborn(OneConv())
    assert training_flops(method, views_of(method), Device(cpu=True)) is None


@pytest.mark.parametrize("images", [1, 3])
def test_of_a_small_batch_all_images_are_counted(images):
    method = Method(OneConv())
    many = training_flops(method, views_of(method), Device(cpu=True))
    assert training_flops(method, views_of(method, images), Device(cpu=True)) == many
