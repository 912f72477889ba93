"""Whether there is enough in masks to learn from and to measure on."""

import numpy as np
import pytest

from ssl_seg.base import Dataset
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.mask_counts import MaskStatistics, check_learnable, check_measurable, count_masks
from ssl_seg.errors import DataError

CLASSES = ["sky", "road", "car", "unknown"]


class Masks(Dataset):
    """Images of several sizes with the given masks."""

    masks = True

    def __init__(self, masks, classes):
        self._masks, self.classes = masks, classes
        self.samples = [(f"{index}.png", -1) for index in range(len(masks))]

    def identity(self, index):
        return f"{index} {self._masks[index].tobytes().hex()}"

    def image(self, index, canvas):
        shape = self._masks[index].shape
        return np.full((*shape, 3), index, dtype=np.uint8), shape

    def mask(self, index, canvas):
        return self._masks[index]


def counted(pixels, exclude=("unknown",), masks=4):
    """The count of masks with so many pixels of each class, and without one at the end."""
    found = MaskStatistics.of(CLASSES, exclude)
    for _ in range(masks):
        found.add(np.array([*pixels[:-1], *[0] * (255 - len(CLASSES)), pixels[-1]], dtype=np.int64))
    return found


def test_the_masks_of_a_store_are_counted_without_what_fills_the_canvas(tmp_path):
    random = np.random.default_rng(0)
    masks = [random.integers(0, 4, shape, dtype=np.uint8) for shape in ((8, 16), (16, 5), (9, 9))]
    masks[1][:3] = 255
    masks[2][:] = 3
    found = count_masks(open_image_cache(Masks(masks, CLASSES), 16, tmp_path), ["unknown"])
    truth = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    assert np.array_equal(found.pixels, truth) and truth[255] == 15
    assert (found.masks, found.empty, found.excluded) == (3, 1, [3])


def test_a_class_that_there_is_not(tmp_path):
    image_cache = open_image_cache(Masks([np.full((4, 4), 4, dtype=np.uint8)], CLASSES), 4, tmp_path)
    with pytest.raises(DataError, match="16 pixels of class 4 of 4"):
        count_masks(image_cache, [])


def test_enough():
    found = counted([10, 20, 30, 5, 5])
    assert check_learnable(found, "tiles", guesses_void=True) == []
    assert check_measurable(found, "tiles", found) == []
    assert (
        found.histogram()
        == "sky: 14.3 %, road: 28.6 %, car: 42.9 %, unknown (excluded): 7.1 %, no class: 7.1 %"
    )
    assert found.histogram(most=2) == "car: 42.9 %, road: 28.6 %, and 3 more"


@pytest.mark.parametrize(
    ("pixels", "exclude", "what", "answer"),
    [
        ([0, 0, 0, 9, 0], ["unknown"], "no mask contains a labeled pixel", '--exclude ""  # if unknown'),
        ([0, 0, 0, 0, 9], [], "no mask contains a labeled pixel", "masks with two classes"),
        ([9, 0, 0, 0, 0], [], "only one class has labeled pixels: sky", "masks with two classes"),
        (
            [9, 0, 0, 9, 0],
            ["unknown"],
            "only one class .*: sky",
            '--exclude ""  # if unknown should be trained',
        ),
        ([9, 9, 0, 0, 0], ["sky"], "only one class .*: road", '--exclude ""'),
    ],
)
def test_fewer_than_two_classes_cannot_be_learnt(pixels, exclude, what, answer):
    with pytest.raises(DataError, match=what) as error:
        check_learnable(counted(pixels, exclude), "tiles", guesses_void=False)
    assert error.value.code == 3 and "tiles: " in error.value.where and answer in error.value.next


def test_255_is_no_class_only_where_it_covers_little_or_somebody_says_so():
    much = counted([10, 20, 10, 0, 20])
    with pytest.raises(DataError, match="255, used as the ignore value, covers 33.3 % of the masks") as error:
        check_learnable(much, "tiles", guesses_void=True)
    assert "-o data.ignore=255" in error.value.next and "binary" in error.value.next
    assert check_learnable(much, "tiles", guesses_void=False)[1:] == []
    with pytest.raises(DataError, match="only one class has labeled pixels") as error:
        check_learnable(counted([90, 0, 0, 0, 10]), "tiles", guesses_void=True)
    assert error.value.next == "-o data.palette=binary  # 255 is a class"


def test_a_class_without_a_pixel_is_named():
    assert check_learnable(counted([10, 20, 0, 5, 0]), "tiles", guesses_void=False) == [
        "no mask of tiles contains car: not trained"
    ]


def test_pixels_that_mostly_do_not_count_are_named():
    found = counted([10, 10, 10, 30, 10])
    (warning,) = check_learnable(found, "tiles", guesses_void=False)
    assert warning.startswith("57.1 % of the pixels of tiles are ignored: sky: 14.3 %")
    assert check_measurable(found, "tiles") == [warning]


def test_what_is_measured_on():
    with pytest.raises(DataError, match="no mask contains a labeled pixel for validation"):
        check_measurable(counted([0, 0, 0, 5, 5]), "val")
    learnt = counted([10, 20, 0, 0, 0])
    assert check_measurable(counted([10, 0, 0, 0, 0]), "val", learnt) == [
        "the masks of val contain no scored class but sky"
    ]
    assert check_measurable(counted([10, 0, 3, 0, 0]), "val", learnt) == [
        "the masks of val contain car, which the training masks lack"
    ]
