import numpy as np
import pytest
import torch
from scipy import ndimage
from ssl_seg_sam.prompts import MAX_REGIONS, check_prompts, read_prompts, regions

from ssl_seg.errors import UsageError

RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)


def test_places_are_read():
    assert read_prompts(["1,2", "3.5,4"], "--point").tolist() == [[1, 2], [3.5, 4]]
    assert read_prompts(["1,2,3,4"], "--box").tolist() == [[1, 2, 3, 4]]
    assert read_prompts([], "--point").shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "flag"),
    [("1", "--point"), ("1,2,3", "--point"), ("a,b", "--point"), ("nan,1", "--point"), ("1,2", "--box")]
    + [("5,0,5,9", "--box"), ("0,9,5,3", "--box"), ("", "--box"), ("inf,0,5,9", "--box")],
)
def test_what_is_no_place_is_refused(text, flag):
    with pytest.raises(UsageError, match=flag):
        read_prompts([text], flag)


def test_places_outside_are_refused():
    check_prompts(torch.tensor([[0.0, 0.0, 40.0, 30.0]]), "--box", "x", 30, 40)
    with pytest.raises(UsageError, match=r"--point 41,3 is outside x \(40 x 30 pixels\)"):
        check_prompts(torch.tensor([[1.0, 1.0], [41.0, 3.0]]), "--point", "x", 30, 40)
    with pytest.raises(UsageError):
        check_prompts(torch.tensor([[0.0, 0.0, 30.0, 40.0]]), "--box", "x", 30, 40)


def test_regions_by_hand():
    mask = np.zeros((20, 30, 3), dtype=np.uint8)
    mask[2:9, 3:12] = RED
    mask[12:19, 20:29] = RED
    mask[12:17, 2:7] = BLUE
    mask[8, 3:12] = BLACK
    boxes, points = regions(mask, left_out=[BLACK])
    assert boxes.tolist() == [[20, 12, 29, 19], [3, 2, 12, 8], [2, 12, 7, 17]]
    assert points[2].tolist() == [4, 14]
    for (x, y), colour in zip(points.int().tolist(), (RED, RED, BLUE), strict=True):
        assert tuple(mask[y, x]) == colour
    assert len(regions(mask)[0]) == 4, "black is a region if nobody leaves it out"


def test_the_point_is_the_farthest_from_the_border():
    mask = np.zeros((25, 25, 3), dtype=np.uint8)
    mask[3:20, 3:8] = RED  # an L: the centre of its box is outside
    mask[15:20, 3:22] = RED
    _, points = regions(mask, left_out=[BLACK])
    inside = (mask == np.array(RED)).all(axis=2)
    x, y = points[0].int().tolist()
    depth = ndimage.distance_transform_cdt(inside, metric="taxicab")
    assert inside[y, x] and depth[y, x] >= 3


def test_specks_are_left_out_and_the_number_is_bounded():
    mask = np.zeros((100, 100, 3), dtype=np.uint8)
    mask[::4, ::4] = RED  # 625 single pixels, of 10,000: less than 1 in 2,000 each
    assert len(regions(mask, left_out=[BLACK])[0]) == 0
    mask[1::4, ::4] = mask[2::4, ::4] = mask[::4, 1::4] = mask[1::4, 1::4] = mask[2::4, 1::4] = RED
    assert len(regions(mask, left_out=[BLACK])[0]) == MAX_REGIONS


def test_one_class_is_one_region():
    boxes, points = regions(np.full((9, 13, 3), 255, dtype=np.uint8))
    assert boxes.tolist() == [[0, 0, 13, 9]] and points[:, 1].tolist() == [4]
    boxes, points = regions(np.zeros((9, 13, 3), dtype=np.uint8), left_out=[BLACK])
    assert boxes.shape == (0, 4) and points.shape == (0, 2)
