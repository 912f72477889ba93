"""Which image has which mask; where they do not pair, the options that would pair them, and those do."""

import shlex
from pathlib import Path

import pytest

from ssl_seg.data.file_pairs import pair_files
from ssl_seg.data.pair_guess import guess
from ssl_seg.data.pair_names import Affixes, core_of
from ssl_seg.errors import DataError, UsageError

DEFAULT = Affixes(image_suffix="_sat", mask_suffix="_mask")
COUNT = 12


def make(root, *patterns):
    """Empty files: `masks/{}_gt.png` for 12 numbers."""
    for pattern in patterns:
        for index in range(COUNT):
            path = root / pattern.format(f"{index:03d}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def answered(root, advice):
    """The pairs that the options in an advice make."""
    options = [word.removeprefix("data.") for word in shlex.split(advice.partition("#")[0]) if word != "-o"]
    given = dict(option.split("=", 1) for option in options)
    folders = [root / given.pop(name, ".") for name in ("images", "masks")]
    return pair_files(*folders, Affixes(**({"image_suffix": "_sat", "mask_suffix": "_mask"} | given)))


# patterns of an image and of its mask, and the options that are to be shown for them
NAMES = [
    ("{}.jpg", "{}_mask.png", "-o data.image_suffix="),
    ("{}.jpg", "{}_label.png", "-o data.image_suffix= -o data.mask_suffix=_label"),
    ("{}.png", "{}_gt.png", "-o data.image_suffix= -o data.mask_suffix=_gt"),
    ("{}.jpg", "{}-mask.png", "-o data.image_suffix= -o data.mask_suffix=-mask"),
    ("{}.jpg", "{}.mask.png", "-o data.image_suffix= -o data.mask_suffix=.mask"),
    ("{}.jpg", "{}mask.png", "-o data.image_suffix= -o data.mask_suffix=mask"),
    ("{}_img.png", "{}_mask.png", "-o data.image_suffix=_img"),
    ("{}_img.png", "{}_lbl.png", "-o data.image_suffix=_img -o data.mask_suffix=_lbl"),
    ("{}_leftImg8bit.png", "{}_gtFine_labelIds.png", "_leftImg8bit -o data.mask_suffix=_gtFine_labelIds"),
    (
        "img_{}.png",
        "mask_{}.png",
        "-o data.image_prefix=img_ -o data.image_suffix= -o data.mask_prefix=mask_",
    ),
    ("{}.png", "mask_{}.png", "-o data.image_suffix= -o data.mask_prefix=mask_ -o data.mask_suffix="),
    ("{}_SAT.jpg", "{}_MASK.png", "-o data.image_suffix=_SAT -o data.mask_suffix=_MASK"),
    ("A{}_sat.jpg", "a{}_mask.png", "-o data.case=ignore"),
    ("{} photo.jpg", "{} seg.png", "-o 'data.image_suffix= photo' -o 'data.mask_suffix= seg'"),
    ("images/{}.jpg", "masks/{}.png", "-o data.images=images -o data.masks=masks"),
    (
        "JPEGImages/{}.jpg",
        "SegmentationClass/{}.png",
        "-o data.images=JPEGImages -o data.masks=SegmentationClass",
    ),
    ("img/{}.png", "ann/{}_seg.png", "-o data.images=img -o data.masks=ann -o data.mask_suffix=_seg"),
]


@pytest.mark.parametrize(("image", "mask", "expected"), NAMES)
def test_the_guess_is_shown_and_right(tmp_path, image, mask, expected):
    make(tmp_path, image, mask)
    with pytest.raises(DataError) as error:
        pair_files(tmp_path, tmp_path, DEFAULT)
    first = Path(image.format("000")).name
    assert expected in error.value.next and f"# {COUNT} pairs, as {first} with" in error.value.next
    pairs = answered(tmp_path, error.value.next)
    assert len(pairs) == COUNT
    for one, two in pairs:
        number = next(word for word in (f"{index:03d}" for index in range(COUNT)) if word in one)
        assert (
            Path(one).name == Path(image.format(number)).name
            and Path(two).name == Path(mask.format(number)).name
        )


@pytest.mark.parametrize(
    ("image", "mask", "expected"),
    [
        ("{}.jpg", "{}_gt.png", "-o data.mask_suffix=_gt  #"),
        ("img_{}.jpg", "mask_{}.png", "-o data.image_prefix=img_ -o data.mask_prefix=mask_  #"),
        ("IMG{}.JPG", "img{}.png", "-o data.case=ignore  #"),
        ("a/{}_rgb.jpg", "a/{}_id.png", "-o data.image_suffix=_rgb -o data.mask_suffix=_id  #"),
    ],
)
def test_of_two_folders(tmp_path, image, mask, expected):
    make(tmp_path / "images", image)
    make(tmp_path / "masks", mask)
    with pytest.raises(DataError, match="no image-mask pairs") as error:
        pair_files(tmp_path / "images", tmp_path / "masks", DEFAULT)
    assert expected in error.value.next
    options = f"-o data.images=images -o data.masks=masks {error.value.next}"
    assert len(answered(tmp_path, options)) == COUNT


@pytest.mark.parametrize("gone", ["003_sat.jpg", "003_mask.png"])
def test_one_without_the_other_can_be_left_out(tmp_path, gone):
    make(tmp_path, "{}_sat.jpg", "{}_mask.png")
    (tmp_path / gone).unlink()
    with pytest.raises(DataError, match="1 in all") as error:
        pair_files(tmp_path, tmp_path, DEFAULT)
    assert error.value.next == "-o data.unpaired=skip"
    pairs = pair_files(tmp_path, tmp_path, DEFAULT, skip_unpaired=True)
    assert len(pairs) == COUNT - 1 and not any("003" in name for two in pairs for name in two)


def test_a_few_that_pair_do_not_hide_the_many_that_would(tmp_path):
    make(tmp_path, "{}.jpg", "{}_gt.png")
    for index in range(2):
        (tmp_path / f"x{index}_sat.jpg").touch()
        (tmp_path / f"x{index}_mask.png").touch()
    (tmp_path / "y_sat.jpg").touch()
    with pytest.raises(DataError, match="an image has no mask: 1 in all") as error:
        pair_files(tmp_path, tmp_path, DEFAULT)
    assert f"-o data.mask_suffix=_gt  # {COUNT} pairs" in error.value.next


def test_every_refusal_has_a_next_step(tmp_path):
    two = make(tmp_path / "two", "{}_sat.jpg", "{}_sat.png", "{}_mask.png")
    masks = make(tmp_path / "masks", "{}_sat.jpg", "{}_mask.png", "{}_mask.tif")
    jpegs = make(tmp_path / "jpegs", "{}_sat.jpg", "{}_mask.jpg")
    nothing = make(tmp_path / "nothing", "{}.png")
    for folder, what in (
        (two, "two images share one mask: 12 in all"),
        (masks, "two masks share one image: 12 in all"),
        (jpegs, "a mask is a JPEG"),
        (nothing, "no image-mask pairs"),
    ):
        with pytest.raises(DataError, match=what) as error:
            pair_files(folder, folder, DEFAULT)
        assert error.value.next and error.value.where
    for same in (Affixes(), Affixes(image_suffix="_x", mask_suffix="_x")):
        with pytest.raises(UsageError, match="require mask_suffix") as error:
            pair_files(two, two, same)
        assert error.value.next


def test_the_common_part_of_a_name():
    assert core_of("a/img_0013_sat", ("img_", "_sat")) == "a/0013"
    assert core_of("a/0013", ("", "")) == "a/0013"
    assert core_of("a/0013_sat", ("img_", "_sat")) is None
    assert core_of("ab", ("ab", "b")) is None, "a prefix and a suffix do not share letters"


def test_of_very_many_names_some_are_looked_at(tmp_path):
    names = [f"{index:05d}_{kind}.png" for index in range(3000) for kind in ("img", "gt")]
    found = guess(names, None, DEFAULT)
    assert found.startswith(
        "-o data.image_suffix=_img -o data.mask_suffix=_gt  # 500 pairs, as 00000_img.png with"
    )
    assert found.endswith("looking at 1,000 names")
    assert guess(["a.png", "b.png"], None, DEFAULT) == ""
