"""Layouts of images and masks: patterns, lists, split lists, folders per scene; each by its pixels."""

import shlex

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.pair_patterns import Patterns
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.options import check_options

SHAPE = (6, 8)


@pytest.fixture
def write(tmp_path):
    """Writes images, and masks of which number `i` has `i + 1` pixels of class 1."""

    def files(*names):
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros(SHAPE, np.uint8)
            pixels.ravel()[: number + 1] = 1
            is_mask = any(word in name for word in ("mask", "gt", "Class")) or name.endswith("_m.png")
            Image.fromarray(pixels if is_mask else np.zeros((*SHAPE, 3), np.uint8)).save(path)
        return tmp_path

    return files


def objects(dataset):
    """Image -> pixels of class 1 in its mask."""
    return {
        name: int((dataset.mask(index, 64) == 1).sum()) for index, (name, _) in enumerate(dataset.samples)
    }


def advised(root, error, **more):
    """The dataset that the options in an error make."""
    words = shlex.split(error.value.next.partition("#")[0])
    options = dict(word.removeprefix("data.").split("=", 1) for word in words if word != "-o")
    return mask_pairs(str(root), "train", **check_options(mask_pairs, "", {**options, **more}))


# --- two folders --------------------------------------------------------------------------------------


def test_the_deepglobe_folders_of_torchgeo_are_proposed_and_work(write):
    names = [f"training_data/{kind}/{name}_{word}" for name in ("1", "2") for kind, word in
             (("images", "sat.jpg"), ("masks", "mask.png"))]  # fmt: skip
    root = write(*names, "test_data/images/3_sat.jpg", "test_data/masks/3_mask.png")
    with pytest.raises(DataError, match="no image-mask pairs") as error:
        mask_pairs(str(root / "training_data"), "train")
    assert error.value.next.startswith("-o data.images=images -o data.masks=masks")
    wanted = {"1_sat.jpg": 2, "2_sat.jpg": 4}
    assert objects(advised(root / "training_data", error, palette="2")) == wanted
    both = mask_pairs(str(root), "train", images="images", masks="masks", palette="2")
    assert sorted(objects(both).values()) == [2, 4]
    assert list(
        objects(mask_pairs(str(root), "test", images="images", masks="masks", palette="2")).values()
    ) == [6]


# --- patterns -----------------------------------------------------------------------------------------


def test_the_same_stem_in_one_folder_is_proposed_and_works(write):
    root = write("a_mask_is_none.jpg", "a.jpg", "a.png", "b.jpg", "b.png")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.resize([0, 0, 1], SHAPE).astype(np.uint8)).save(root / name)
    (root / "a_mask_is_none.jpg").unlink()
    with pytest.raises(DataError, match="no image-mask pairs") as error:
        mask_pairs(str(root), "")
    assert "data.mask_pattern={stem}.png" in error.value.next
    assert objects(advised(root, error)) == {"a.jpg": 16, "b.jpg": 16}


def test_a_folder_for_each_scene_is_proposed_and_works(write):
    root = write("s1/image.png", "s1/mask.png", "s2/image.png", "s2/mask.png")
    with pytest.raises(DataError) as error:
        mask_pairs(str(root), "")
    assert objects(advised(root, error)) == {"s1/image.png": 2, "s2/image.png": 4}


@pytest.mark.parametrize(
    ("options", "names", "expected"),
    [
        (
            {"mask_pattern": "{stem}_mask.png"},
            ["x/1.jpg", "x/1_mask.png", "2.png", "2_mask.png"],
            {"x/1.jpg": 2, "2.png": 4},
        ),
        (
            {"mask_pattern": "gt/{scene}/{n}.png", "image_pattern": "rgb/{scene}-{n}.jpg"},
            ["rgb/a-1.jpg", "gt/a/1.png", "rgb/b-1.jpg", "gt/b/1.png"],
            {"rgb/a-1.jpg": 2, "rgb/b-1.jpg": 4},
        ),
        (
            {"mask_pattern": "{id}/gt_*.png", "image_pattern": "{id}/*.jpg"},
            ["7/x.jpg", "7/gt_2021.png"],
            {"7/x.jpg": 2},
        ),
        (
            {"mask_pattern": "{stem}.png", "images": "im", "masks": "gt"},
            ["im/a/1.jpg", "gt/a/1.png", "im/2.jpg", "gt/2.png"],
            {"2.jpg": 4, "a/1.jpg": 2},
        ),
    ],
)
def test_patterns(write, options, names, expected):
    assert objects(mask_pairs(str(write(*names)), "", **options)) == expected


def test_the_parts_of_a_pattern():
    images, masks = Patterns("m/{folder}/{stem}.png").split(
        ["a/b/1.jpg", "m/a/b/1.png", "m/2.png", "2.tif"], None
    )
    assert images == {"a/b/1.jpg": "a/b/1", "2.tif": "/2"} and masks == {
        "m/a/b/1.png": "a/b/1",
        "m/2.png": "/2",
    }
    assert Patterns("{n}/{n}_mask.png", "{n}.jpg").split(["1/1_mask.png", "2/1_mask.png"], None)[1] == {
        "1/1_mask.png": "1"
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask_pattern": "{scene}_mask.png"}, r"images have no \{scene\}"),
        ({"mask_pattern": "masks/mask.png"}, r"has no \{stem\}"),
        ({"image_pattern": "{stem}.jpg"}, "image_pattern needs mask_pattern"),
        ({"mask_pattern": "{}.png"}, r"\{\} is no placeholder"),
    ],
)
def test_patterns_that_pair_nothing_are_refused(tmp_path, options, says):
    with pytest.raises(UsageError, match=says) as error:
        mask_pairs(str(tmp_path), "", **options)
    assert error.value.next


def test_two_images_that_share_a_mask_by_a_pattern_are_refused(write):
    root = write("a/1.jpg", "b/1.jpg", "masks/1.png")
    with pytest.raises(DataError, match="two images share one mask"):
        mask_pairs(str(root), "", mask_pattern="masks/{stem}.png")


# --- lists --------------------------------------------------------------------------------------------

ROWS = [("im/1.jpg", "gt/1.png"), ("im/2.jpg", "gt/2.png")]


@pytest.mark.parametrize("header", ["filename,mask", "Mask,id,Filename", ""])
@pytest.mark.parametrize("separator", [",", "\t", ";", " "])
def test_a_list_of_pairs(write, header, separator):
    root = write("im/1.jpg", "gt/1.png", "im/2.jpg", "gt/2.png")
    if separator == " " and header:
        pytest.skip("a header needs a separator that names do not have")
    named = header.startswith("Mask")
    rows = [(mask, str(row), image) if named else (image, mask) for row, (image, mask) in enumerate(ROWS)]
    lines = [header.replace(",", separator)] if header else []
    path = root / "pairs.txt"
    path.write_text("\n".join([*lines, *map(separator.join, rows)]))
    dataset = mask_pairs(str(path), "")
    assert objects(dataset) == {"im/1.jpg": 2, "im/2.jpg": 4}
    assert dataset.origin(1) == f"{path}, line {2 + bool(header)}: im/2.jpg"
    write("elsewhere/x.jpg")
    (root / "elsewhere" / "p.csv").write_text(path.read_text())
    assert len(mask_pairs(str(root / "elsewhere" / "p.csv"), "", images="..", masks="..")) == 2


def test_what_is_wrong_with_a_list(write, caplog):
    root = write("im/1.jpg", "gt/1.png", "im/2.jpg")
    path = root / "pairs.csv"
    for text, what in (
        ("filename,mask\nim/1.jpg,gt/9.png\n", "1 files of .* are not there"),
        ("filename,mask\nim/1.jpg,gt/1.png\nim/1.jpg,gt/1.png\n", "duplicate filename im/1.jpg"),
        ("filename,mask\nim/1.jpg,gt/1.png\nim/2.jpg,\n", "1 image without a mask"),
        ("filename,ground_truth\nim/1.jpg,gt/1.png\n", "has no column 'mask'"),
        ("im/1.jpg,gt/1.png\nim/2.jpg\n", "not an image and a mask"),
        ("filename,mask\n", "lists no images with masks"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=what) as error:
            mask_pairs(str(path), "")
        assert error.value.next
    path.write_text("filename,mask\nim/1.jpg,gt/1.png\nim/2.jpg,\n")
    assert objects(mask_pairs(str(path), "", unpaired="skip")) == {"im/1.jpg": 2}


def test_the_lists_of_pascal_voc_are_proposed_and_work(write):
    names = [
        f"{folder}/{number}.{end}"
        for number in "123"
        for folder, end in (("JPEGImages", "jpg"), ("SegmentationClass", "png"))
    ]
    root = write(*names, "JPEGImages/unlabelled.jpg")
    sets = root / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    for split, lines in (("train", "1\n3\n"), ("val", "2\n"), ("trainval", "1\n2\n3\n")):
        (sets / f"{split}.txt").write_text(lines)
    with pytest.raises(DataError) as error:
        mask_pairs(str(root), "train")
    dataset = advised(root, error)
    assert objects(dataset) == {"1.jpg": 2, "3.jpg": 6}
    options = {
        "images": "JPEGImages",
        "masks": "SegmentationClass",
        "list": "ImageSets/Segmentation/{split}.txt",
    }
    assert objects(mask_pairs(str(root), "val", **options)) == {"2.jpg": 4}
    with pytest.raises(DataError, match="an image has no mask") as error:
        mask_pairs(str(root), "val", images="JPEGImages", masks="SegmentationClass")
    assert error.value.next == "-o 'data.list=ImageSets/Segmentation/{split}.txt'"


@pytest.mark.parametrize("line", ["im/1.jpg", "im/1", "1.jpg", "1"])
def test_a_list_may_name_images_in_several_ways(write, line):
    root = write("im/1.jpg", "im/1_mask.png", "im/2.jpg", "im/2_mask.png")
    (root / "use.txt").write_text(f"{line}\n\n")
    assert objects(mask_pairs(str(root), "", image_suffix="", list="use.txt")) == {"im/1.jpg": 2}


def test_what_is_wrong_with_a_split_list(write):
    root = write("a/1.jpg", "a/1_mask.png", "b/1.jpg", "b/1_mask.png")
    for text, option, what in (
        ("7\n", "use.txt", "1 of 1 lines of .* name no image"),
        ("1\n", "use.txt", "a line of the list names several images"),
        ("1\n", "none.txt", "cannot read the list"),
        ("1\n", "u{split}.txt", "no list"),
    ):
        (root / "use.txt").write_text(text)
        with pytest.raises(DataError, match=what) as error:
            mask_pairs(str(root), "", image_suffix="", list=option)
        assert error.value.next


def test_images_without_masks_are_left_out_and_counted(write, caplog):
    root = write("1_sat.jpg", "1_mask.png", "2_sat.jpg")
    assert objects(mask_pairs(str(root), "", unpaired="skip")) == {"1_sat.jpg": 2}
    assert "1 images without a mask and 0 masks without an image are left out" in caplog.text
