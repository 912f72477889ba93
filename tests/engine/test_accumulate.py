"""A batch in parts: where it is the whole batch, it is exactly; where it is not, that is said."""

import pytest
import torch
from torch import nn

from ssl_seg.base import Head, Model
from ssl_seg.engine.accumulation import shares
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.simclr import SimCLR
from ssl_seg.tasks.segmentation import SegmentationTask
from ssl_seg.testing import TinyBackbone
from ssl_seg.workflows.optimization import warn_of_accumulation


class Pixels(Head):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(16, 4, 1)

    def forward(self, features, size):
        return nn.functional.interpolate(self.net(features[1]), size)


def gradients(module, parts):
    module.zero_grad()
    for part, share in zip(parts, shares(module, parts), strict=True):
        (module(part)["loss"] * share).backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
@pytest.mark.parametrize("excluded", [(), (1,)])
def test_every_labelled_pixel_counts_the_same_however_a_batch_is_cut(weights, excluded):
    torch.manual_seed(0)
    module = SegmentationTask(Model(TinyBackbone(), Pixels(), excluded=excluded), weights=weights).eval()
    images, masks = torch.randn(6, 3, 16, 16), torch.randint(0, 4, (6, 16, 16))
    masks[:2], masks[2, 3:] = 255, 255
    whole = gradients(module, [[images, masks]])
    for count in (2, 3, 6):
        parts = [list(part) for part in zip(images.chunk(count), masks.chunk(count), strict=True)]
        for one, two in zip(gradients(module, parts), whole, strict=True):
            torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
    nothing = [[images, torch.full_like(masks, 255)]] * 2
    assert shares(module, nothing) == [0.5, 0.5]


class Silent(nn.Module):
    pass


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (BYOL(TinyBackbone(), hidden=8), ["BatchNorm"]),
        (SimCLR(TinyBackbone(), hidden=8), ["compares images", "BatchNorm"]),
        (Silent(), ["does not say"]),
    ],
)
def test_what_is_not_the_whole_batch_is_said(module, said, caplog):
    warn_of_accumulation(1, module, "it")
    assert not caplog.text
    warn_of_accumulation(2, module, "it")
    assert all(text in caplog.text for text in said)
    assert caplog.text.count("WARNING") == 1
