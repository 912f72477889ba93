import numpy as np
from PIL import Image

from ssl_seg.figures.masks import colorize_mask, ignore_color, save_mask

COLOURS = np.array([(255, 0, 0), (0, 90, 0), (1, 2, 3)], np.uint8)


def test_classes_get_their_colours_and_all_else_black():
    mask = np.array([[0, 1, 2], [3, 254, 255]], np.uint8)
    expected = [[(255, 0, 0), (0, 90, 0), (1, 2, 3)], [(0, 0, 0)] * 3]
    assert colorize_mask(mask, COLOURS).tolist() == [[list(colour) for colour in row] for row in expected]


def test_where_a_class_is_black_pixels_without_one_are_grey():
    black = np.array([(0, 0, 0), (255, 255, 255)], np.uint8)
    assert ignore_color(COLOURS) == 0 and ignore_color(black) == 128
    assert colorize_mask(np.array([[0, 255]], np.uint8), black).tolist() == [[[0, 0, 0], [128, 128, 128]]]
    every = np.repeat(np.arange(254, dtype=np.uint8), 3).reshape(-1, 3)
    assert ignore_color(every) in (254, 255)


def test_a_mask_is_kept_in_colours_or_as_indices(tmp_path):
    mask = np.array([[0, 1], [2, 0]], np.uint8)
    save_mask(tmp_path / "a" / "b" / "1.png", mask, COLOURS)
    save_mask(tmp_path / "2.png", mask, None)
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "a" / "b" / "1.png")), colorize_mask(mask, COLOURS)
    )
    assert np.array_equal(np.asarray(Image.open(tmp_path / "2.png")), mask)
