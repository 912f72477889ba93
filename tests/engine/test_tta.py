"""Test-time augmentation against probabilities that are averaged by hand."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from ssl_seg.base import Model
from ssl_seg.engine.tta import ONCE, Averaged, passes_of
from ssl_seg.errors import UsageError
from ssl_seg.heads.fcn32s import FCN32s
from ssl_seg.heads.linear import Linear
from ssl_seg.testing import TinyBackbone

WANTED = {
    None: [(1.0, False)],
    "flips": [(1.0, False), (1.0, True)],
    "scales": [(0.75, False), (1.0, False), (1.25, False)],
    "flips,scales": [(s, f) for s in (0.75, 1.0, 1.25) for f in (False, True)],
}


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def seen(images, scale, flipped):
    height, width = (int(side * scale + 0.5) for side in images.shape[-2:])
    scaled = interpolate(images, (height, width), mode="bilinear", antialias=True) if scale != 1 else images
    return scaled.flip(-1) if flipped else scaled


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("names", WANTED)
@torch.no_grad()
def test_labels(images, names, temperature):
    torch.manual_seed(1)
    backbone = TinyBackbone()
    model = Model(backbone, Linear(backbone.channels, backbone.strides, 5)).eval()
    by_hand = [softmax(model(seen(images, *one)).numpy() / temperature) for one in WANTED[names]]
    found = Averaged(model, passes_of(names), temperature)(images).softmax(dim=1)
    np.testing.assert_allclose(found.numpy(), np.mean(by_hand, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("excluded", [(), (2,)])
@pytest.mark.parametrize("names", WANTED)
@torch.no_grad()
def test_pixels(images, names, excluded):
    torch.manual_seed(1)
    backbone = TinyBackbone()
    head = FCN32s(backbone.channels, backbone.strides, 4, width=8)
    model = Model(backbone, head, excluded=excluded).eval()
    for parameter in head.parameters():  # it begins with zeros
        torch.nn.init.normal_(parameter, std=0.3)
    maps = []
    for scale, flipped in WANTED[names]:
        logits = model(seen(images, scale, flipped)).numpy()
        probabilities = torch.from_numpy(softmax(logits)[..., ::-1].copy() if flipped else softmax(logits))
        maps.append(probabilities if scale == 1 else interpolate(probabilities, (32, 48), mode="bilinear"))
    found = Averaged(model, passes_of(names))(images).softmax(dim=1)
    np.testing.assert_allclose(
        found.numpy(), np.mean([m.numpy() for m in maps], axis=0), rtol=1e-4, atol=1e-6
    )
    assert (found[:, list(excluded)] == 0).all()


def test_the_scales_are_what_the_backbone_takes(images):
    class Sixteen(TinyBackbone):
        side_multiple = 16

        def forward(self, images):
            sizes.append(tuple(images.shape[-2:]))
            return super().forward(images)

    sizes = []
    backbone = Sixteen()
    Averaged(Model(backbone, Linear(backbone.channels, backbone.strides, 2)), passes_of("scales"))(images)
    assert sizes == [(32, 32), (32, 48), (48, 64)]


def test_names():
    assert passes_of(None) == passes_of("") == ONCE
    assert passes_of("scales, flips,flips") == passes_of("flips,scales")
    with pytest.raises(UsageError, match="no test-time augmentation 'flip'; did you mean 'flips'"):
        passes_of("flip")
