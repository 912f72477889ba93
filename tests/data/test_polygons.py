"""Outlines of masks: filled again by somebody else's code they are the mask."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from ssl_seg.data.polygons import _area, label_regions, pieces_without_holes, trace_regions

RING = ["......", ".aaaa.", ".a..a.", ".a.ba.", ".aaaa.", "......"]
DRAWN = {
    "one pixel": ["a"],
    "the whole image": ["aaa", "aaa"],
    "a hole with another class in it": RING,
    "touching classes": ["aabb", "aabb", "ccbb"],
    "two pixels that meet at a corner": ["a.", ".a"],
    "holes that meet at a corner": ["aaaa", "a.aa", "aa.a", "aaaa"],
    "a hole that meets the outside at a corner": ["aaa.", "a.a.", "aa..", "...."],
    "an open ring closed by a corner": [".aa.", "a..a", "a.a.", ".a.."],
    "holes at several heights": ["aaaaaaa", "a.aaa.a", "aaa.aaa", "a.aaaaa", "aaaaa.a", "aaaaaaa"],
    "a hole in a hole": ["aaaaaaa", "a.....a", "a.aaa.a", "a.a.a.a", "a.aaa.a", "a.....a", "aaaaaaa"],
    "a comb": ["aaaaa", "a.a.a", "a.a.a", "aaaaa"],
}


def mask_of(lines):
    return np.array([[".abc".index(letter) for letter in line] for line in lines], np.uint8)


def noise(seed):
    chance = np.random.default_rng(seed)
    size = chance.integers(1, 30, 2)
    return chance.integers(0, chance.integers(1, 5), size, dtype=np.uint8)


MASKS = {
    **{name: mask_of(lines) for name, lines in DRAWN.items()},
    **{f"noise {n}": noise(n) for n in range(30)},
}


@pytest.fixture(params=MASKS)
def mask(request):
    return MASKS[request.param]


def filled(rings, shape):
    """(H, W) bool: the pixels whose centres are inside an odd number of rings, by matplotlib."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    times = sum(Outline([*ring, ring[0]], closed=True).contains_points(centres).astype(int) for ring in rings)
    return (times % 2 == 1).reshape(shape)


def regions_of(mask):
    labels, classes = label_regions(mask)
    return labels, trace_regions(labels, classes)


def test_filled_again_they_are_the_mask(mask):
    labels, regions = regions_of(mask)
    times, again = np.zeros(mask.shape, int), np.zeros_like(mask)
    for region in regions:
        inside = filled([region.shell, *region.holes], mask.shape)
        assert (inside == (labels == region.label)).all()
        times += inside
        again[inside] = region.class_index
    assert (times == 1).all() and (again == mask).all()


def test_pieces_without_holes_are_the_mask_too(mask):
    labels, regions = regions_of(mask)
    for region in regions:
        pieces = pieces_without_holes(labels, region)
        times = sum(filled([piece], mask.shape).astype(int) for piece in pieces)
        assert (times == (labels == region.label)).all()
        assert all(_area(piece) > 0 for piece in pieces)


def test_rings_are_simple(mask):
    """No corner twice, corners only where it turns, shells and holes the right way round, areas that add up."""
    labels, regions = regions_of(mask)
    for region in regions:
        for ring in (region.shell, *region.holes):
            assert len(set(ring)) == len(ring) >= 4
            for before, here, after in zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]], strict=True):
                assert (before[0] == here[0]) != (here[0] == after[0]), "every corner is a right angle"
        assert _area(region.shell) > 0 and all(_area(hole) < 0 for hole in region.holes)
        area = _area(region.shell) + sum(map(_area, region.holes))
        assert area == 2 * (labels == region.label).sum()


def test_neighbours_share_their_edges(mask):
    def edges(ring):
        for (x, y), (u, v) in zip(ring, [*ring[1:], ring[0]], strict=True):
            length = abs(u - x) + abs(v - y)
            step = ((u - x) // length, (v - y) // length)
            for number in range(length):
                start = (x + number * step[0], y + number * step[1])
                yield start, (start[0] + step[0], start[1] + step[1])

    found = [
        edge
        for region in regions_of(mask)[1]
        for ring in (region.shell, *region.holes)
        for edge in edges(ring)
    ]
    height, width = mask.shape
    assert len(set(found)) == len(found)
    for (x, y), (u, v) in found:
        is_border = x == u in (0, width) or y == v in (0, height)
        assert is_border != (((u, v), (x, y)) in set(found)), "each edge inside belongs to two regions"


def test_what_is_drawn_is_what_one_expects():
    _, regions = regions_of(mask_of(RING))
    ring = next(region for region in regions if region.class_index == 1)
    assert sorted(ring.shell) == [(1, 1), (1, 5), (5, 1), (5, 5)]
    assert [sorted(hole) for hole in ring.holes] == [[(2, 2), (2, 4), (4, 2), (4, 4)]]
    assert len([region for region in regions if region.class_index == 0]) == 2, "outside, and in the ring"
    _, corner = regions_of(mask_of(DRAWN["two pixels that meet at a corner"]))
    assert len(corner) == 4
    _, touching = regions_of(mask_of(DRAWN["a hole that meets the outside at a corner"]))
    assert [len(region.holes) for region in touching if region.class_index == 1] == [1]


def test_a_large_mask_takes_seconds():
    chance = np.random.default_rng(0)
    mask = np.kron(chance.integers(0, 3, (100, 100), dtype=np.uint8), np.ones((10, 10), np.uint8))
    labels, regions = regions_of(mask)
    assert len(regions) == labels.max() > 3000
