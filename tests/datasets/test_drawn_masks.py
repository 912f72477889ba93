"""Masks of COCO and LabelMe files and of a file for each class, by their pixels."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.coco_masks import coco_masks
from ssl_seg.datasets.labelme_masks import labelme_masks
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import check_dataset
from ssl_seg.workflows.data import open_dataset

HEIGHT, WIDTH = 20, 30


def box(left, top, right, bottom):
    """A polygon along the edges of pixels."""
    return [left, top, right, top, right, bottom, left, bottom]


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)


def counted(dataset, index=0):
    """Class -> pixels in a mask; `ignored` of no class."""
    found = np.bincount(dataset.mask(index, 64).ravel(), minlength=256)
    names = [*dataset.classes, "ignored"]
    pixels = [*found[: len(dataset.classes)], found[255]]
    return {name: int(count) for name, count in zip(names, pixels, strict=True) if count}


CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
ANNOTATIONS = [
    {"id": 1, "image_id": 10, "category_id": 3, "segmentation": [box(0, 0, 10, 10)]},
    {"id": 2, "image_id": 10, "category_id": 7, "segmentation": [box(8, 8, 12, 12), box(20, 0, 22, 5)]},
    {
        "id": 3,
        "image_id": 20,
        "category_id": 7,
        "iscrowd": 1,
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 2, 5, HEIGHT * WIDTH - HEIGHT * 2 - 5]},
    },
]


@pytest.fixture
def coco(tmp_path):
    """Writes a file in the layout of COCO: `coco(annotations=[...])` -> its path."""

    def write(split="train", **changes):
        content = {
            "images": [
                {"id": 20, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH},
                {"id": 10, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH},
            ],
            "annotations": ANNOTATIONS,
            "categories": CATEGORIES,
            **changes,
        }
        path = tmp_path / "coco" / "annotations" / f"instances_{split}2017.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        for image in content["images"]:
            photo(tmp_path / "coco" / f"{split}2017" / image["file_name"])
        return path

    return write


def test_polygons_and_run_lengths_of_coco(coco, tmp_path):
    dataset = coco_masks(str(coco()), "")
    check_dataset(dataset)
    assert dataset.classes == ["background", "cat", "dog"]
    assert [name for name, _ in dataset.samples] == ["b.jpg", "a.jpg"]
    assert counted(dataset, 0) == {"background": 595, "dog": 5}
    assert dataset.mask(0, 64)[:5, 2].tolist() == [2] * 5, "runs go down the columns"
    assert counted(dataset, 1) == {"background": 600 - 96 - 26, "cat": 96, "dog": 26}
    assert "the smaller is on top" in dataset.how
    images = open_image_cache(dataset, 64, tmp_path / "cache")
    assert images.masks is not None and len(images) == 2


def test_the_file_of_a_split_and_a_name_that_is_typed(coco, tmp_path):
    coco("train"), coco("val")
    root = tmp_path / "coco"
    registry = load_plugins().registry
    for split in ("train", "val"):
        dataset = open_dataset(registry, f"coco:{root}", split=split, masks=True, options={})
        assert f"{split}2017" in str(dataset.root) and len(dataset) == 2
    file = root / "annotations" / "instances_val2017.json"
    assert open_dataset(registry, str(file), masks=True, options={}).classes == ["background", "cat", "dog"]
    with pytest.raises(DataError, match="2 JSON files in") as error:
        coco_masks(str(root), "")
    assert "coco_masks:" in error.value.next


def test_the_layout_of_roboflow(coco, tmp_path):
    """The file lies among its images."""
    content = json.loads(coco().read_text())
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / "robo" / "train" / name)
    (tmp_path / "robo" / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    assert counted(coco_masks(str(tmp_path / "robo"), "train"), 0) == {"background": 595, "dog": 5}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"overlap": "last"}, {"background": 478, "cat": 96, "dog": 26}),
        ({"overlap": "ignore"}, {"background": 478, "cat": 96, "dog": 22, "ignored": 4}),
        ({"background": "ignore"}, {"cat": 96, "dog": 26, "ignored": 478}),
        ({"map": "cat:animal,dog:animal"}, {"background": 478, "animal": 122}),
        ({"map": "cat:ignore"}, {"background": 478, "dog": 26, "ignored": 96}),
        ({"classes": ["dog", "cat"]}, {"background": 478, "cat": 96, "dog": 26}),
        ({"classes": ["dog"], "stray": "ignore"}, {"background": 574, "dog": 26}),
    ],
)
def test_options_of_drawn_masks(coco, options, expected):
    dataset = coco_masks(str(coco()), "", **options)
    assert counted(dataset, 1) == expected
    assert dataset.identity(1) != coco_masks(str(coco()), "").identity(1)


def test_validation_has_the_classes_of_training(coco):
    train = coco_masks(str(coco()), "")
    val = coco_masks(
        str(coco("val", categories=CATEGORIES[:1], annotations=ANNOTATIONS[1:])),
        "",
        default_palette=train.palette_text,
    )
    assert val.classes == train.classes and counted(val, 0) == {"background": 595, "dog": 5}


def test_identity_changes_with_the_annotations(coco):
    before = coco_masks(str(coco()), "")
    moved = [{**ANNOTATIONS[0], "segmentation": [box(0, 0, 10, 11)]}, *ANNOTATIONS[1:]]
    after = coco_masks(str(coco(annotations=moved)), "")
    assert before.identity(0) == after.identity(0) and before.identity(1) != after.identity(1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"annotations": [{"id": 1, "image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5]}]},
            "1 annotation of .* without an outline",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 10, "category_id": 9, "segmentation": [box(0, 0, 1, 1)]}]},
            "no category 9",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 99, "category_id": 3, "segmentation": [box(0, 0, 1, 1)]}]},
            "not listed: 99",
        ),
        ({"categories": {}}, "is not in the format of COCO"),
        ({"images": []}, "lists no images"),
        (
            {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "annotations": []},
            "'a' is there twice",
        ),
    ],
)
def test_what_is_no_segmentation_is_refused(coco, changes, says):
    with pytest.raises(DataError, match=says) as error:
        coco_masks(str(coco(**changes)), "")
    assert error.value.next


def test_what_is_wrong_with_one_mask_or_image(coco, tmp_path):
    path = coco(annotations=[{**ANNOTATIONS[2], "segmentation": {"size": [3, 3], "counts": [9]}}])
    with pytest.raises(ValueError, match=r"instances_train2017.json: its run lengths are of \[3, 3\]"):
        coco_masks(str(path), "").mask(0, 64)
    path = coco(
        images=[{"id": 10, "file_name": "a.jpg", "height": 5, "width": 5}], annotations=ANNOTATIONS[:1]
    )
    with pytest.raises(ValueError, match="is 5 x 5 pixels, the image 20 x 30"):
        coco_masks(str(path), "").mask(0, 64)
    path = coco()
    (tmp_path / "coco" / "train2017" / "a.jpg").unlink()
    with pytest.raises(DataError, match="1 images of .* are not in"):
        coco_masks(str(path), "")
    (tmp_path / "coco" / "train2017" / "b.jpg").unlink()
    with pytest.raises(DataError, match="0 files of this name") as error:
        coco_masks(str(path), "")
    assert error.value.next == "-o data.images=FOLDER"
    assert len(coco_masks(str(coco()), "", images="../train2017")) == 2


# --- LabelMe ------------------------------------------------------------------------------------------


def shape(label, *points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind}


CAT = shape("cat", (0, 0), (10, 0), (10, 10), (0, 10))
DOG = shape("dog", (8, 8), (12, 12), kind="rectangle")


@pytest.fixture
def labelme(tmp_path):
    def write(*shapes, name="a", split="train"):
        root = tmp_path / "lm"
        photo(root / split / f"{name}.jpg")
        (root / split / f"{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{name}.jpg"}))
        return root

    return write


def test_shapes_of_labelme(labelme):
    ball = shape("ball", (20, 10), (20, 14), kind="circle")
    root = labelme(CAT, DOG, ball, shape("__ignore__", (0, 0), (1, 1), kind="rectangle"))
    labelme(shape("dog", (0, 0), (5, 5), kind="rectangle"), name="b")
    dataset = labelme_masks(str(root), "train")
    check_dataset(dataset)
    assert dataset.classes == ["background", "ball", "cat", "dog"]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = int(((columns - 20) ** 2 + (rows - 10) ** 2 <= 16).sum())
    assert counted(dataset, 0) == {
        "background": 600 - 112 - disc,
        "ball": disc,
        "cat": 95,
        "dog": 16,
        "ignored": 1,
    }
    assert counted(dataset, 1) == {"background": 575, "dog": 25}


def brushed(pixels):
    """As LabelMe's AI tools leave it: a PNG of the box around it."""
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_pixel_masks_and_turned_rectangles_of_labelme(labelme):
    pixels = [[1, 0, 1], [1, 1, 0]]
    blob = shape("cat", (4, 2), (6, 3), kind="mask") | {"mask": brushed(pixels)}
    edge = shape("dog", (28, 19), (30, 20), kind="mask") | {
        "mask": brushed(pixels)
    }  # beyond the image by one
    turned = shape("pond", (15, 5), (18, 8), (15, 11), (12, 8), kind="oriented_rectangle")
    dataset = labelme_masks(str(labelme(blob, edge, turned)), "train")
    mask = dataset.mask(0, 64)
    assert (mask[2:4, 4:7] == dataset.classes.index("cat")).tolist() == [[1, 0, 1], [1, 1, 0]]
    assert counted(dataset) == {"background": 600 - 4 - 1 - 18, "cat": 4, "dog": 1, "pond": 18}


@pytest.mark.parametrize(
    ("corners", "mask", "said"),
    [
        (
            [(4, 2), (6, 4)],
            brushed([[1, 0, 1], [1, 1, 0]]),
            r"a mask of \(3, 2\) pixels from \(4, 2\) to \(6, 4\)",
        ),
        ([(-1, 2), (1, 3)], brushed([[1, 0, 1], [1, 1, 0]]), r"from \(-1, 2\) to \(1, 3\)"),
        ([(4, 2), (6, 3)], "no png", "whose pixels cannot be read"),
        ([(4, 2), (6, 3)], None, "whose pixels cannot be read"),
        ([(4, 2)], brushed([[1]]), "a mask of 1 points"),
    ],
)
def test_damaged_pixel_masks_of_labelme(labelme, corners, mask, said):
    root = labelme(CAT, shape("dog", *corners, kind="mask") | {"mask": mask})
    with pytest.raises(ValueError, match=said):
        labelme_masks(str(root), "train").mask(0, 64)


def test_validation_of_labelme_and_a_label_that_training_lacks(labelme):
    train = labelme_masks(str(labelme(CAT, DOG)), "train")
    root = labelme(DOG, split="val")
    val = labelme_masks(str(root), "val", default_palette=train.palette_text)
    assert val.classes == ["background", "cat", "dog"]
    with pytest.raises(DataError, match="class 'dog' is not one of background, cat") as error:
        labelme_masks(str(root), "val", classes=["cat"])
    assert "stray=ignore" in error.value.next
    assert counted(labelme_masks(str(root), "val", classes=["cat"], stray="ignore")) == {"background": 600}


def test_what_is_wrong_with_labelme(labelme, tmp_path):
    root = labelme(CAT, shape("crack", (0, 0), (5, 5), kind="line"))
    with pytest.raises(ValueError, match=r"a\.json: a line has no area"):
        labelme_masks(str(root), "train").mask(0, 64)
    assert counted(labelme_masks(str(root), "train", stray="ignore")) == {"background": 500, "cat": 100}
    photo(root / "train" / "z.jpg")
    with pytest.raises(DataError, match="an image has no JSON file: 1 in all") as error:
        labelme_masks(str(root), "train")
    assert error.value.next == "-o data.unpaired=skip"
    assert len(labelme_masks(str(root), "train", unpaired="skip")) == 1
    (root / "train" / "a.json").write_text("{}")
    with pytest.raises(DataError, match="is no annotation of LabelMe"):
        labelme_masks(str(root), "train", unpaired="skip")
    with pytest.raises(DataError, match="no image in .* has a JSON file") as error:
        photo(tmp_path / "other" / "a.jpg")
        labelme_masks(str(tmp_path / "other"), "")


def test_a_folder_of_labelme_is_proposed(labelme):
    root = labelme(CAT)
    with pytest.raises(DataError) as error:
        mask_pairs(str(root / "train"), "")
    assert error.value.next == f"labelme_masks:{root / 'train'}"


# --- a file for each class ----------------------------------------------------------------------------


@pytest.fixture
def per_class(tmp_path):
    def write(name, **classes):
        photo(tmp_path / "images" / f"{name}.jpg")
        for label, pixels in classes.items():
            path = tmp_path / "masks" / label / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask.ravel()[pixels] = 255
            Image.fromarray(mask).save(path)
        return tmp_path

    return write


PER_CLASS = {"mask_pattern": "masks/{class}/{stem}.png", "image_pattern": "images/{stem}.jpg"}


def test_a_file_for_each_class_is_proposed_and_works(per_class):
    per_class("1", road=slice(0, 100), house=slice(90, 110))
    root = per_class("2", road=slice(0, 7))
    with pytest.raises(DataError) as error:
        mask_pairs(str(root), "")
    assert "'data.mask_pattern=masks/{class}/{stem}.*'  # 2 pairs" in error.value.next
    dataset = mask_pairs(str(root), "", **PER_CLASS)
    check_dataset(dataset)
    assert dataset.classes == ["background", "house", "road"]
    assert counted(dataset, 0) == {"background": 490, "house": 20, "road": 90}
    assert counted(dataset, 1) == {"background": 593, "road": 7}
    ignored = mask_pairs(str(root), "", **PER_CLASS, overlap="ignore", map="house:building")
    assert counted(ignored, 0) == {"background": 490, "building": 10, "road": 90, "ignored": 10}
    known = mask_pairs(
        str(root),
        "",
        **PER_CLASS,
        palette='{"background": [0,0,0], "road": [9,9,9], "house": [5,5,5], "x": [1,1,1]}',
    )
    assert known.classes == ["background", "road", "house", "x"]


def test_what_is_wrong_with_files_for_classes(per_class):
    root = per_class("1", road=slice(0, 100))
    mask = np.resize([0, 1, 2], (HEIGHT, WIDTH)).astype(np.uint8)
    Image.fromarray(mask).save(root / "masks" / "road" / "1.png")
    with pytest.raises(ValueError, match="has the values 1 and 2; a class is 0 and one other value"):
        mask_pairs(str(root), "", **PER_CLASS).mask(0, 64)
    with pytest.raises(UsageError, match=r"has no \{stem\}"):
        mask_pairs(str(root), "", mask_pattern="masks/{class}.png")
