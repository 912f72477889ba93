"""Tiles: every pixel once, and the answer that the whole image gives."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from ssl_seg.augment.views import normalize_images
from ssl_seg.base import Backbone, Head, Model
from ssl_seg.engine.device import Device
from ssl_seg.engine.sliding_window import sliding_window_logits, window_bounds
from ssl_seg.engine.tta import passes_of

HOW = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}


class Near(Backbone):
    """Looks two pixels far."""

    def __init__(self):
        super().__init__()
        self.channels, self.strides = [6], [1]
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))

    def forward(self, images):
        return [self.net(images)]


class PerPixel(Head):
    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(6, 4, 1)

    def forward(self, features, size):
        return self.net(features[-1])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model(Near(), PerPixel())


@pytest.mark.parametrize("length", [1, 31, 32, 33, 56, 57, 100, 257])
@pytest.mark.parametrize("overlap", [0, 1, 8, 31])
def test_spans_cover_an_axis_once(length, overlap):
    found = window_bounds(length, 32, overlap)
    assert found[0][2] == 0 and found[-1][3] == length and found[-1][1] == length
    for start, end, first, last in found:
        assert end - start == min(32, length) and start <= first < last <= end
    for (_, end, _, last), (start, _, first, _) in pairwise(found):
        assert first == last and end - start >= overlap


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("shape", [(40, 75), (17, 90), (33, 33)])
def test_tiles_give_what_the_whole_image_gives(model, shape, flips):
    device = Device("fp32", cpu=True)
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    found, times = torch.zeros(4, *shape), torch.zeros(shape)
    for top, left, logits in sliding_window_logits(
        model, image[None], device, tile=24, overlap=8, passes=passes_of("flips" if flips else None), **HOW
    ):
        place = (slice(top, top + logits.shape[2]), slice(left, left + logits.shape[3]))
        found[:, *place] = logits[0]
        times[place] += 1
    assert (times == 1).all()
    with torch.no_grad():
        whole = normalize_images(image[None], **HOW)
        expected = model(whole)
        if flips:
            mirrored = model(whole.flip(-1)).flip(-1)
            expected = ((expected.softmax(dim=1) + mirrored.softmax(dim=1)) / 2).log()
    torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-5)


class Coarse(Backbone):
    """Sees cells of eight pixels; how they lie decides what it sees."""

    def __init__(self):
        super().__init__()
        self.channels, self.strides = [6], [8]
        self.net = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, images):
        return [self.net(images)]


class Enlarged(PerPixel):
    def forward(self, features, size):
        return nn.functional.interpolate(self.net(features[-1]), size)


@pytest.mark.parametrize("overlap", [0, 20, 41])
@pytest.mark.parametrize("shape", [(64, 200), (144, 136)])
def test_the_cells_of_tiles_lie_where_those_of_the_whole_image_lie(shape, overlap):
    torch.manual_seed(0)
    model = Model(Coarse(), Enlarged()).eval()
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(normalize_images(image[None], **HOW))[0]
    for top, left, logits in sliding_window_logits(
        model, image[None], Device("fp32", cpu=True), tile=64, overlap=overlap, **HOW
    ):
        there = expected[:, top : top + logits.shape[2], left : left + logits.shape[3]]
        torch.testing.assert_close(logits[0], there, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [65, 100, 257, 1000])
@pytest.mark.parametrize(("overlap", "stride"), [(0, 8), (8, 32), (31, 16), (60, 32)])
def test_tiles_start_at_multiples_of_the_stride_but_the_last(length, overlap, stride):
    found = window_bounds(length, 64, overlap, stride)
    if 64 - overlap >= stride:
        assert all(start % stride == 0 for start, _, _, _ in found[:-1])
    assert found[-1][1] == length and found[0][2] == 0 and found[-1][3] == length
    for (_, end, _, last), (start, _, first, _) in pairwise(found):
        assert first == last and end - start >= overlap
