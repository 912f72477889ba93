import numpy as np
import pytest
from ssl_seg_sam.drawing import COLOURS, colours_of, outlines, overlay


def checkers(side=6, size=48):
    y, x = np.mgrid[:size, :size] // (size // side)
    return (y * side + x + 1).astype(np.int32)


def test_neighbours_have_different_colours():
    index = checkers()
    colours = colours_of(index)
    for one, two in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        apart = one != two
        assert (colours[one[apart]] != colours[two[apart]]).all()
    counts = np.bincount(colours[1:], minlength=len(COLOURS))
    assert counts.max() - counts.min() <= 3, "all colours are used"


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_of_any_shape_have_different_colours(seed):
    random = np.random.default_rng(seed)
    centres = random.random((40, 2)) * 120
    points = np.stack(np.mgrid[:120, :120], axis=2)[:, :, None]
    index = (((points - centres) ** 2).sum(axis=3).argmin(axis=2) + 1).astype(np.int32)
    colours = colours_of(index)
    for one, two in ((index[:, :-1], index[:, 1:]), (index[:-1], index[1:])):
        assert (colours[one] != colours[two])[one != two].all()


def test_segments_that_nearly_touch_are_neighbours():
    index = np.zeros((5, 120), dtype=np.int32)
    for number in range(1, len(COLOURS) + 1):
        index[:, number * 12 : number * 12 + 6] = number
    index[:, 6:9] = len(COLOURS) + 1  # by the use of colours alone it would get that of the first
    colours = colours_of(index)
    assert len(set(colours[1:-1].tolist())) == len(COLOURS) and colours[-1] != colours[1]


def test_outside_segments_the_image_is_as_it_was():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    index = np.zeros((30, 40), dtype=np.int32)
    index[5:15, 5:20] = 1
    index[20:25, 30:40] = 2
    picture = overlay(image, index)
    line = outlines(index)
    assert np.array_equal(picture[(index == 0) & ~line], image[(index == 0) & ~line])
    assert (picture[line] == 255).all() and line.sum() > 0
    inside = (index == 1) & ~line
    fill = COLOURS[colours_of(index)[1]].astype(float)
    np.testing.assert_allclose(picture[inside], image[inside] * 0.5 + fill * 0.5, atol=1)


def test_a_line_is_between_segments_only():
    line = outlines(checkers())
    assert line[:, 7].all() and not line[2, 2] and not line[:, 8].all()
    assert not outlines(np.ones((4, 4), dtype=np.int32)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (33, 47)])
def test_any_shape(shape):
    image, index = np.zeros((*shape, 3), dtype=np.uint8), np.zeros(shape, dtype=np.int32)
    assert np.array_equal(overlay(image, index), image)
    assert overlay(image, index + 1).shape == image.shape
