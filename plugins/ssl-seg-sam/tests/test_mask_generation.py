"""The grid, the filters and the tiles, with a SAM that knows the answer; see test_model.py for the real."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from ssl_seg_sam.mask_generation import (
    GridConfig,
    batches_of,
    crops_of,
    downscaled,
    generate_masks,
    segment_prompts,
    upscaled_segment,
)
from ssl_seg_sam.segments import pack, to_index_map


class Knowing:
    """Answers a point with the region of equal colour around it, and counts what it is asked."""

    def __init__(self, batch=7, quality=0.95, firm=9.0):
        self.batch, self.quality, self.firm = batch, quality, firm
        self.asked, self.shapes = [], []

    def encode_image(self, image):
        self.shapes.append(image.shape[:2])
        return KnowingView(self, image)


class KnowingView:
    chunk_size = 3

    def __init__(self, sam, image):
        self.sam, codes = sam, image.astype(int) @ (65536, 256, 1)
        self.regions = np.zeros(codes.shape, dtype=int)
        for code in np.unique(codes):
            labels, _ = ndimage.label(codes == code)
            self.regions[labels > 0] = labels[labels > 0] + self.regions.max()

    def predict_masks(self, points=None, boxes=None):
        if points is None:
            points = (boxes[:, :2] + boxes[:, 2:]) / 2
        self.sam.asked.append(len(points))
        height, width = self.regions.shape
        masks = []
        for x, y in points.tolist():
            mask = self.regions == self.regions[min(int(y), height - 1), min(int(x), width - 1)]
            masks.append(np.where(mask, self.sam.firm, -self.sam.firm))
        logits = torch.tensor(np.array(masks), dtype=torch.float32)[:, None]
        return logits, torch.full((len(masks), 1), self.sam.quality)

    def enlarge(self, logits):
        return logits


def blocks(height, width, size):
    """An image of squares, each of a colour of its own."""
    y, x = np.mgrid[:height, :width] // size
    number = y * (width // size + 1) + x + 1
    return np.stack([number % 7 * 36, number // 7 % 7 * 36, number // 49 * 36], axis=2).astype(
        np.uint8
    ), number


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(10, 10, 10), (64, 64, 64), (100, 257, 64), (65, 20, 64)]
)
def test_tiles_cover_the_image_and_overlap(height, width, tile):
    crops = crops_of(height, width, tile)
    seen = np.zeros((height, width), dtype=int)
    for left, top, right, bottom in crops:
        assert right - left == min(tile, width) and bottom - top == min(tile, height)
        seen[top:bottom, left:right] += 1
    assert seen.min() == 1
    lefts = sorted({crop[0] for crop in crops})
    assert all(after - before <= tile - tile // 3 for before, after in pairwise(lefts))


def test_every_block_is_found_once():
    image, number = blocks(40, 60, 10)
    sam, ticks = Knowing(), []
    found = generate_masks(sam, image, GridConfig(points=12, tile=64), lambda: ticks.append(1))
    index = to_index_map(found, 40, 60)
    assert len(found) == 24
    assert (index > 0).all() and len(np.unique(index * 1000 + number)) == 24, "segments are the blocks"
    assert max(sam.asked) == 7 and sum(sam.asked) == 144
    assert len(ticks) == batches_of(40, 60, GridConfig(points=12, tile=64), 7) == 21


def test_a_large_image_goes_through_in_tiles():
    image, number = blocks(150, 210, 15)
    sam, ticks = Knowing(batch=16), []
    rules = GridConfig(points=16, tile=64)
    found = generate_masks(sam, image, rules, lambda: ticks.append(1))
    assert len(ticks) == batches_of(150, 210, rules, 16)
    assert max(max(shape) for shape in sam.shapes) == 64
    index = to_index_map(found, 150, 210)
    right = sum(
        (number[index == one] == np.bincount(number[index == one]).argmax()).sum()
        for one in range(1, len(found) + 1)
    )
    assert right / index.size > 0.97, "edges are blurred in the reduced image"
    inner = [one for one in found if one.area == 225]
    assert len(inner) == 140, "each block once, and whole, although tiles cut many"


def test_what_is_larger_than_a_tile_is_seen_in_the_whole():
    image = np.zeros((200, 300, 3), dtype=np.uint8)
    image[20:180, 30:270] = 200
    image[90:100, 100:110] = 90
    found = generate_masks(Knowing(), image, GridConfig(points=10, tile=64), lambda: None)
    large = next(one for one in found if one.box[2] - one.box[0] in range(230, 251))
    assert abs(large.area - (160 * 240 - 100)) / (160 * 240) < 0.08
    assert any(one.box == (100, 90, 110, 100) for one in found), "and the small one is from a tile, exact"


def test_filters():
    image, _ = blocks(40, 60, 10)
    rules = GridConfig(points=12, tile=64)
    assert generate_masks(Knowing(quality=0.87), image, rules, lambda: None) == []
    assert generate_masks(Knowing(firm=0.5), image, rules, lambda: None) == [], (
        "unstable: 0 above 1, all above -1"
    )
    assert len(generate_masks(Knowing(quality=0.89), image, rules, lambda: None)) == 24


def test_the_tick_can_end_it():
    def end():
        raise KeyboardInterrupt

    sam = Knowing()
    with pytest.raises(KeyboardInterrupt):
        generate_masks(sam, blocks(40, 60, 10)[0], GridConfig(points=12, tile=64), end)
    assert sam.asked == [7]


@pytest.mark.parametrize(("shape", "tile"), [((40, 60), 64), ((160, 240), 64)])
def test_prompts_have_one_segment_each(shape, tile):
    image, _ = blocks(*shape, shape[0] // 4)
    step = shape[0] // 4
    points = torch.tensor([[step * 0.5, step * 0.5], [step * 3.5, step * 2.5]])
    found = segment_prompts(Knowing(batch=1), image, tile, lambda: None, points=points)
    wanted = [(0, 0, step, step), (3 * step, 2 * step, 4 * step, 3 * step)]
    blur = 0 if max(shape) <= tile else 6  # of a reduced image the edges are
    np.testing.assert_allclose(sorted(one.box for one in found), wanted, atol=blur)
    (one,) = segment_prompts(Knowing(), image, tile, lambda: None, boxes=torch.tensor(wanted[1:]).float())
    np.testing.assert_allclose(one.box, wanted[1], atol=blur)


def test_reducing_and_enlarging():
    image = np.zeros((30, 90, 3), dtype=np.uint8)
    assert downscaled(image, 30).shape == (10, 30, 3)
    assert downscaled(np.zeros((1, 999, 3), dtype=np.uint8), 64).shape == (1, 64, 3)
    mask = np.random.default_rng(0).random((4, 5)) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    one = upscaled_segment(pack(mask, 3, 2, 0.9, 0.8), (10, 30), (30, 90))
    assert one.box == (9, 6, 24, 18) and (one.score, one.stability) == (0.9, 0.8)
    assert np.array_equal(one.mask, mask.repeat(3, 0).repeat(3, 1))
    odd = upscaled_segment(pack(mask, 3, 2, 0.9, 0.8), (10, 30), (31, 97))
    assert abs(odd.area / (31 * 97) - mask.sum() / 300) < 0.02
