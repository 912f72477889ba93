"""Crops against torchvision, image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from ssl_seg.augment.geometry import (
    center_crop_boxes,
    crop_resize,
    crop_resize_nearest,
    random_resized_crop_boxes,
    transpose_where,
)

CASES = [  # canvas height, canvas width, side of the result
    (64, 64, 32),
    (97, 160, 48),
    (300, 200, 224),
    (448, 448, 224),
    (600, 900, 96),
    (30, 20, 64),
    (1, 50, 7),
    (448, 448, 96),
]


def random_cases(height, width, count, seed):
    """Boxes anywhere on the canvas, from one pixel to all of it, and flips."""
    random = torch.Generator().manual_seed(seed)

    def integer(low, high):
        return int(torch.randint(low, high + 1, (), generator=random))

    boxes = []
    for _ in range(count):
        h, w = integer(1, height), integer(1, width)
        boxes.append((integer(0, height - h), integer(0, width - w), h, w))
    boxes[0] = (0, 0, height, width)
    flips = torch.rand(2, count, generator=random) < 0.5
    return torch.rand(count, 3, height, width, generator=random), torch.tensor(boxes), flips


def torchvision_crop(image, box, flip_y, flip_x, size):
    out = F.resized_crop(image, *box.tolist(), [size, size], antialias=True)
    out = F.vertical_flip(out) if flip_y else out
    return F.horizontal_flip(out) if flip_x else out


@pytest.mark.parametrize("case", CASES)
def test_crop_resize_equals_torchvision(case):
    height, width, size = case
    images, boxes, flips = random_cases(height, width, 25, seed=sum(case))
    got = crop_resize(images, boxes, flips, size)
    assert got.shape == (25, 3, size, size) and got.dtype == torch.float32
    for index in range(25):
        want = torchvision_crop(images[index], boxes[index], flips[0, index], flips[1, index], size)
        assert (got[index] - want).abs().max() <= 1e-5, boxes[index]


def test_uint8_canvases_keep_their_range():
    images = torch.randint(0, 256, (6, 3, 40, 50), dtype=torch.uint8)
    _, boxes, flips = random_cases(40, 50, 6, seed=0)
    got = crop_resize(images, boxes, flips, 24)
    assert torch.equal(got, crop_resize(images.float(), boxes, flips, 24))
    assert got.max() > 200 and got.min() >= 0 and got.max() <= 255.001


def test_a_whole_square_of_the_result_s_size_is_copied():
    images = torch.rand(2, 3, 32, 32)
    boxes = torch.tensor([[0, 0, 32, 32]] * 2)
    flips = torch.tensor([[False, True], [False, False]])
    got = crop_resize(images, boxes, flips, 32)
    assert torch.equal(got[0], images[0])
    assert torch.equal(got[1], images[1].flip(1))


@pytest.mark.parametrize("size", [16, 40, 90])
def test_the_padding_around_a_picture_is_never_seen(size):
    """A box on the picture's border, reduced or enlarged: the filter stops at the border."""
    images, _, flips = random_cases(64, 48, 20, seed=3)
    sizes = torch.randint(2, 48, (20, 2), generator=torch.Generator().manual_seed(4))
    boxes = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
    outside = images.clone()
    for index, (height, width) in enumerate(sizes.tolist()):
        outside[index, :, height:] = 1e6
        outside[index, :, :, width:] = -1e6
    got = crop_resize(outside, boxes, flips, size)
    for index, (height, width) in enumerate(sizes.tolist()):
        alone = images[index, :, :height, :width]
        want = torchvision_crop(alone, boxes[index], flips[0, index], flips[1, index], size)
        assert (got[index] - want).abs().max() <= 1e-5


def uniform(slots, count, seed):
    return torch.rand(slots, count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1.0, 1.0), (0.1, 10.0)])
def test_random_boxes_lie_inside_the_picture(draw, ratio):
    sizes = torch.cartesian_prod(torch.arange(1, 40, 3), torch.arange(1, 40, 3))
    for draws in (torch.full((22, len(sizes)), draw), uniform(22, len(sizes), 1)):
        for scale in ((0.08, 1.0), (0.001, 0.01), (1.0, 1.0)):
            top, left, height, width = random_resized_crop_boxes(draws, sizes, scale, ratio).unbind(1)
            assert (top >= 0).all() and (left >= 0).all() and (height > 0).all() and (width > 0).all()
            assert (top + height <= sizes[:, 0]).all() and (left + width <= sizes[:, 1]).all()


def test_where_no_box_fits_the_largest_central_one_of_an_allowed_aspect_is_taken():
    sizes = torch.tensor([[10, 200], [200, 10], [100, 100]])
    draws = torch.full((22, 3), 0.9)  # always nearly the whole area: fits only in the square
    boxes = random_resized_crop_boxes(draws, sizes, (0.9, 1.0), (3 / 4, 4 / 3))
    assert boxes[0].tolist() == [0, 93, 10, 13]
    assert boxes[1].tolist() == [93, 0, 13, 10]


def test_central_boxes():
    sizes = torch.tensor([[40, 60], [61, 40], [1, 9], [7, 7]])
    assert center_crop_boxes(sizes).tolist() == [[0, 10, 40, 40], [10, 0, 40, 40], [0, 4, 1, 1], [0, 0, 7, 7]]
    assert center_crop_boxes(sizes, 0.5).tolist()[0] == [10, 20, 20, 20]
    assert center_crop_boxes(sizes, 0.01)[:, 2:].min() == 1


@pytest.mark.parametrize("case", range(len(CASES)))
def test_masks_take_the_pixel_at_each_centre_as_torchvision_does(case):
    height, width, size = CASES[case]
    _, boxes, flips = random_cases(height, width, 25, seed=case)
    masks = torch.randint(0, 256, (25, height, width), dtype=torch.uint8)
    found = crop_resize_nearest(masks, boxes, flips, size)
    exact = F.InterpolationMode.NEAREST_EXACT
    different = 0
    for row, box in enumerate(boxes):
        expected = F.resized_crop(masks[row][None], *box.tolist(), [size, size], interpolation=exact)[0]
        expected = expected.flip(0) if flips[0, row] else expected
        expected = expected.flip(1) if flips[1, row] else expected
        different += int((found[row] != expected).sum())
    # torchvision's centres are float32: one that lies on the border of two pixels may fall on either
    assert different <= 0.01 * found.numel()


def test_a_mask_goes_where_its_image_goes():
    """An image of blocks and a mask that numbers them: after any box, flip and turn they still agree."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 8, (64, 8, 8), generator=generator).repeat_interleave(16, 1)
    masks = masks.repeat_interleave(16, 2).to(torch.uint8)
    images = masks[:, None].expand(-1, 3, -1, -1).float()
    draws = torch.rand(22, 64, generator=generator)
    boxes = random_resized_crop_boxes(draws, torch.full((64, 2), 128), (0.2, 1.0), (0.75, 1.33))
    flips, turned = torch.rand(2, 64, generator=generator) < 0.5, torch.rand(64, generator=generator) < 0.5
    seen = transpose_where(crop_resize(images, boxes, flips, 48), turned)[:, 0]
    marks = transpose_where(crop_resize_nearest(masks, boxes, flips, 48), turned)
    flat = (seen - seen.round()).abs() < 1e-4  # away from the borders of blocks
    assert flat.float().mean() > 0.3
    assert (seen.round()[flat] == marks[flat]).float().mean() > 0.98


def test_turns_and_flips_are_all_eight():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    box, seen = torch.tensor([[0, 0, 3, 3]]), set()
    for y in (False, True):
        for x in (False, True):
            for t in (False, True):
                out = transpose_where(crop_resize(image, box, torch.tensor([[y], [x]]), 3), torch.tensor([t]))
                seen.add(tuple(out.flatten().round().tolist()))
    turns = {tuple(torch.rot90(image[0, 0], k).flatten().tolist()) for k in range(4)}
    mirrors = {tuple(torch.rot90(image[0, 0].flip(0), k).flatten().tolist()) for k in range(4)}
    assert seen == turns | mirrors and len(seen) == 8
