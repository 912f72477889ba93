"""What views know of themselves, held against what they show."""

import pytest
import torch

from ssl_seg.augment import geometry
from ssl_seg.augment.recipes import View
from ssl_seg.augment.view_list import Views
from ssl_seg.augment.views import augment

SIZES = torch.tensor([[40, 48], [48, 30], [25, 25], [48, 48], [31, 47], [48, 48]])
TURNING = View(scale=(0.3, 0.8), flip_x_p=0.5, flip_y_p=0.5, turn_p=0.5, jitter_p=0, gray_p=0)


PAIR = (TURNING, View(zoom=0.5))


def made(views=PAIR, samples=None, **options):
    images = torch.randint(0, 256, (len(SIZES), 3, 48, 48), dtype=torch.uint8)
    return augment(images, views, SIZES, samples, seed=3, epoch=2, size=24, **options)


def test_it_is_the_list_that_it_was():
    views = made()
    assert isinstance(views, list) and len(views) == 2
    assert [tuple(view.shape) for view in views] == [(6, 3, 24, 24), (6, 3, 12, 12)]
    first, *rest = views
    assert first is views[0] and len(rest) == 1


def test_cells_lie_where_a_picture_of_coordinates_says():
    """Each view of a picture whose colours are its coordinates shows where its pixels come from."""
    views = made()
    assert views.flips[0].any() and views.turns[0].any(), "or this test would not tell"
    axis = (torch.arange(48) + 0.5).float()
    picture = torch.stack([axis[:, None].expand(48, 48), axis[None, :].expand(48, 48)]).expand(6, 2, 48, 48)
    for number, side in ((0, 24), (1, 12)):
        where = views._geometries[number]
        shown = geometry.transpose_where(
            geometry.crop_resize(picture, where.boxes, where.flips, side), where.turns
        )
        expected = shown.permute(0, 2, 3, 1) / SIZES[:, None, None, :]
        inner = (slice(None), slice(2, -2), slice(2, -2))  # at an edge the filter is cut off
        torch.testing.assert_close(views.cells(number, side)[inner], expected[inner], atol=4e-3, rtol=0)


def test_the_cells_of_a_coarse_map_are_means_of_finer_ones():
    views = made()
    fine = views.cells(0, 24).unflatten(1, (4, 6)).unflatten(3, (4, 6)).mean(dim=(2, 4))
    torch.testing.assert_close(views.cells(0, 4), fine)


def test_boxes_are_shares_of_the_image():
    views = made([View(scale=(1.0, 1.0), ratio=(0.1, 10.0), flip_x_p=0)])
    assert views.boxes.shape == (1, 6, 4)
    whole = views.boxes[0][[2, 3, 5]]  # the square ones always fit
    assert bool((whole[:, :2] >= 0).all()) and bool((whole[:, :2] + whole[:, 2:] <= 1 + 1e-6).all())


def test_chance_is_of_the_image_and_not_of_the_batch():
    samples = torch.arange(10, 16)
    whole = made(samples=samples)
    drawn = whole.chance(5)
    assert drawn.shape == (5, 6) and 0 <= drawn.min() and drawn.max() < 1
    part = whole.part(slice(2, 5))
    assert torch.equal(part.chance(5), drawn[:, 2:5])
    assert torch.equal(whole.chance(3), drawn[:3]), "more draws leave the first as they are"
    assert len(drawn.unique()) == drawn.numel()
    assert not torch.equal(made(samples=samples + 1).chance(5), drawn)


def test_a_part_knows_what_the_whole_knows():
    whole = made().with_facts(targets=torch.arange(6), progress=torch.tensor(0.25))
    part = whole.part(slice(1, 4))
    assert isinstance(part, Views)
    for one, two in zip(part, whole, strict=True):
        assert torch.equal(one, two[1:4])
    assert torch.equal(part.boxes, whole.boxes[:, 1:4]) and torch.equal(part.flips, whole.flips[..., 1:4])
    assert torch.equal(part.cells(0, 3), whole.cells(0, 3)[1:4])
    assert part.targets.tolist() == [1, 2, 3] and part.progress == 0.25


@pytest.mark.parametrize("fact", ["targets", "progress"])
def test_one_fact_leaves_the_other(fact):
    both = made().with_facts(targets=torch.arange(6), progress=torch.tensor(0.5))
    again = both.with_facts(**{fact: getattr(both, fact) * 0})
    assert not getattr(again, fact).any()
    other = {"targets": "progress", "progress": "targets"}[fact]
    assert torch.equal(getattr(again, other), getattr(both, other))
