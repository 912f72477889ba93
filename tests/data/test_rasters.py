"""Pixels of polygons and run lengths, against pycocotools and against points in polygons."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pycocotools import mask as coco
from scipy.ndimage import binary_dilation, binary_erosion

from ssl_seg.data.polygons import label_regions, pieces_without_holes, trace_regions
from ssl_seg.data.rasters import Layer, fill_polygons, fill_runs, stack

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # of pycocotools

SHAPE = (37, 53)


def whole(layer, shape=SHAPE):
    image = np.zeros(shape, bool)
    height, width = layer.inside.shape
    image[layer.top : layer.top + height, layer.left : layer.left + width] = layer.inside
    return image


def star(seed, corners=9, low=4, high=17, middle=None):
    """A polygon that does not cross itself, partly outside the image."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = random.uniform(low, high, corners)
    middle = random.uniform((8, 6), (45, 30)) if middle is None else middle
    return middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_is_inside_where_its_centre_is(seed):
    corners = star(seed)
    filled = whole(fill_polygons([corners.ravel().tolist()], SHAPE, 1))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    assert (filled.ravel() == Outline(corners).contains_points(centres)).all()


@pytest.mark.parametrize("seed", range(20))
def test_pycocotools_differs_at_the_edge_alone(seed):
    middle = np.random.default_rng(seed).uniform((16, 16), (36, 20))
    rings = [
        (star(seed, low=low, high=high, middle=middle)).ravel().tolist() for low, high in ((9, 12), (13, 15))
    ]
    filled = whole(fill_polygons(rings, SHAPE, 1))
    theirs = coco.decode(coco.merge(coco.frPyObjects(rings, *SHAPE))).astype(bool)
    union = (filled | theirs).sum()
    assert (filled & theirs).sum() > 0.9 * union
    grown = np.ones((3, 3), bool)
    assert not (theirs & ~binary_dilation(filled, grown)).any()
    assert not (binary_erosion(filled, grown, border_value=1) & ~theirs).any()


def test_rectangles_are_exact_and_touching_ones_share_no_pixel():
    left = fill_polygons([[2, 3, 10, 3, 10, 9, 2, 9]], SHAPE, 1)
    right = fill_polygons([[10, 3, 20, 3, 20, 9, 10, 9]], SHAPE, 2)
    assert whole(left)[3:9, 2:10].all() and whole(left).sum() == 48 and whole(right).sum() == 60
    assert not (whole(left) & whole(right)).any()
    assert whole(fill_polygons([[-5, -5, 100, -5, 100, 100, -5, 100]], SHAPE, 1)).all()
    assert not whole(fill_polygons([[-9, -9, -5, -9, -5, -5]], SHAPE, 1)).any()


def test_what_predict_writes_is_read_as_it_was():
    mask = np.random.default_rng(0).integers(0, 3, (12, 9)).astype(np.uint8).repeat(3, 0)
    labels, classes = label_regions(mask)
    layers = []
    for region in trace_regions(labels, classes):
        rings = [
            [number for corner in piece for number in corner]
            for piece in pieces_without_holes(labels, region)
        ]
        layers.append(fill_polygons(rings, mask.shape, region.class_index))
    assert (stack(layers, mask.shape, 255, "ignore") == mask).all()


@pytest.mark.parametrize("seed", range(10))
def test_run_lengths_as_pycocotools_writes_them(seed):
    random = np.random.default_rng(seed)
    density = random.uniform(0, 1)
    mask = (random.uniform(size=(300, 211)) < density).astype(np.uint8)
    mask[:, :50] = seed % 2  # long runs, that need several characters
    encoded = coco.encode(np.asfortranarray(mask))["counts"].decode()
    assert (whole(fill_runs(encoded, mask.shape, 1), mask.shape) == mask).all()
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    runs = [0, *runs] if flat[0] else runs
    assert (whole(fill_runs(runs, mask.shape, 1), mask.shape) == mask).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fill_runs([10, 5], (4, 4), 1), "runs are 15 pixels long, the image has 16"),
        (lambda: fill_runs([20, -4], (4, 4), 1), "runs are 16"),
        (lambda: fill_runs("0\n", (4, 4), 1), "hold the character"),
        (lambda: fill_polygons([[1, 1, 2, 2]], (4, 4), 1), "three corners or more"),
        (lambda: fill_polygons([], (4, 4), 1), "three corners or more"),
        (lambda: fill_polygons([[1, 1, 2, float("nan"), 3, 3]], (4, 4), 1), "is not a number"),
    ],
)
def test_what_is_damaged_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_what_holds_where_annotations_overlap():
    large = Layer(1, 0, 0, np.ones((4, 4), bool))
    small = Layer(2, 1, 1, np.ones((2, 2), bool))
    for layers in ([large, small], [small, large]):
        assert (stack(layers, (4, 5), 0, "smaller") == 2).sum() == 4
        image = stack(layers, (4, 5), 0, "ignore")
        assert (image == 255).sum() == 4 and (image == 1).sum() == 12 and (image == 0).sum() == 4
    assert (stack([large, small], (4, 5), 0, "last") == 2).sum() == 4
    assert (stack([small, large], (4, 5), 0, "last") == 2).sum() == 0
    assert (stack([small, small], (4, 5), 0, "ignore") == 2).sum() == 4
