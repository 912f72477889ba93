import numpy as np
import pytest
import torch
from ssl_seg_sam.segments import (
    at_inner_border,
    box_nms,
    boxes_of,
    pack,
    point_grid,
    stability,
    to_index_map,
)


def segment(left, top, right, bottom, score=1.0):
    return pack(np.ones((bottom - top, right - left), dtype=bool), left, top, score, 1.0)


def test_the_grid_is_the_centres_of_equal_cells():
    grid = point_grid(3, height=30, width=60).tolist()
    assert grid == [[x, y] for y in (5, 15, 25) for x in (10, 30, 50)]


def test_a_packed_mask_comes_back():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (3, 5), (17, 31)):
        mask = random.random(shape) < 0.5
        one = pack(mask, 4, 9, 0.5, 0.25)
        assert np.array_equal(one.mask, mask)
        assert one.box == (4, 9, 4 + shape[1], 9 + shape[0]) and one.area == mask.sum()


def test_stability_by_hand_and_by_counting():
    low = [-3.0, -3.0]
    by_hand = torch.tensor([[[2.0, 0.5], [-0.5, -2.0]], [low, low], [[2.0, -3.0], low]])
    assert stability(by_hand).tolist() == [pytest.approx(1 / 3), 0.0, 1.0]  # 1 pixel above 1, 3 above -1
    logits = torch.randn(9, 20, 30, generator=torch.Generator().manual_seed(0)) * 3
    for offset in (0.5, 1.0):
        expected = [(one > offset).sum() / (one > -offset).sum() for one in logits.numpy()]
        assert stability(logits, offset).tolist() == pytest.approx(expected)


def test_boxes_against_a_search():
    masks = torch.rand(20, 9, 13, generator=torch.Generator().manual_seed(0)) < 0.05
    masks[0] = False
    masks[1] = True
    for mask, box in zip(masks.numpy(), boxes_of(masks).tolist(), strict=True):
        ys, xs = np.nonzero(mask)
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(ys) else [0, 0, 0, 0]
        assert box == expected


def test_masks_cut_by_a_tile_but_not_by_the_image():
    crop, margin = (0, 10, 20, 30), 2  # its left side is the image's
    boxes = torch.tensor([[0, 5, 4, 9], [5, 1, 9, 9], [5, 2, 9, 18], [5, 5, 19, 9], [5, 5, 18, 19]])
    cut = at_inner_border(boxes, crop, height=40, width=40, margin=margin)
    assert cut.tolist() == [False, True, False, True, True]
    whole = at_inner_border(boxes, (0, 0, 20, 20), height=20, width=20, margin=margin)
    assert not whole.any()


def greedy(boxes, scores, limit):
    """Non-maximum suppression, as it is described: the best first, each against all that stay."""
    stay = []
    for prompt in sorted(range(len(boxes)), key=lambda prompt: -scores[prompt]):
        if all(overlap(boxes[prompt], boxes[other]) <= limit for other in stay):
            stay.append(prompt)
    return stay


def overlap(one, two):
    width = max(0, min(one[2], two[2]) - max(one[0], two[0]))
    height = max(0, min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("limit", [0.3, 0.7, 1.0])
def test_of_overlapping_ones_the_best_stays(limit):
    random = np.random.default_rng(0)
    prompts = random.integers(0, 20, (40, 2))
    sizes = random.integers(5, 15, (40, 2))
    config = [
        segment(x, y, x + w, y + h, score=float(score))
        for (x, y), (w, h), score in zip(prompts, sizes, random.permutation(40), strict=True)
    ]
    expected = greedy([one.box for one in config], [one.score for one in config], limit)
    assert box_nms(config, limit) == [config[prompt] for prompt in expected]
    assert box_nms([], limit) == []


def test_ranks_go_before_scores():
    better, worse = segment(0, 0, 9, 9, score=0.9), segment(0, 0, 9, 9, score=0.1)
    assert box_nms([better, worse], 0.7) == [better]
    assert box_nms([better, worse], 0.7, ranks=[-10.0, 0.1]) == [worse]


def test_on_one_another_the_last_is_on_top():
    large, small = segment(0, 0, 4, 3), segment(1, 1, 3, 2)
    hole = pack(np.array([[True, False, True]]), 2, 2, 1.0, 1.0)
    assert to_index_map([large, small, hole], 4, 5).tolist() == [
        [1, 1, 1, 1, 0],
        [1, 2, 2, 1, 0],
        [1, 1, 3, 1, 3],
        [0, 0, 0, 0, 0],
    ]
    assert to_index_map([], 2, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
