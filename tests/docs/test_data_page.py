"""The trees on the page about data are read as it says."""

import re

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.errors import DataError
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.data import open_dataset

from .pages import DOCS, marked

TEXT = (DOCS / "data.md").read_text()
TREES = {block.split("/")[0]: block for path, _, block in marked("tree") if path.name == "data.md"}


# how the masks of a tree are read, and what they hold
ANIMALS = ["background", "cat", "dog"]
OPTIONS = {
    "town": {"image_pattern": "photos/{stem}.jpg", "mask_pattern": "masks/{class}/{stem}.png"},
    "scenes": {"image_pattern": "{scene}/image.tif", "mask_pattern": "{scene}/mask.png"},
    "VOC2012": {
        "images": "JPEGImages",
        "masks": "SegmentationClass",
        "palette": "voc",
        "list": "ImageSets/Segmentation/{split}.txt",
    },
    "street": {"images": "images", "masks": "labels", "palette": "7"},
    "cityscapes": {
        "images": "leftImg8bit",
        "masks": "gtFine",
        "palette": "cityscapes",
        "image_suffix": "_leftImg8bit",
        "mask_suffix": "_gtFine_labelIds",
    },
}
CITYSCAPES = list(NAMED_PALETTES["cityscapes"].names[:10])
VOC, TWO = list(NAMED_PALETTES["voc"].names[:10]), ["background", "object"]
VALUES = {"tiles": [[0, 0, 255], [0, 255, 0]], "cityscapes": [7, 26]}


def paths(tree):
    """The files of a tree as `tree` draws it."""
    folders = []
    for line in tree.splitlines():
        indent, entry = re.fullmatch(r"([│├└─ ]*)(\S+).*", line).groups()
        depth = len(indent) // 4
        del folders[depth:]
        folders.append(entry.rstrip("/"))
        if not entry.endswith("/"):
            yield "/".join(folders)


def plant(root, tree):
    """Make the files of a tree: images, masks of indices, and what the page says is in the others."""
    for number, file in enumerate(paths(tree)):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png", ".tif"):
            is_mask = re.search("mask|labels|gtFine|SegmentationClass|truth", file)
            random = np.random.default_rng(number)
            shape = (20, 30) if is_mask else (20, 30, 3)
            pixels = random.integers(0, 2 if is_mask else 256, shape, dtype=np.uint8)
            if is_mask:
                pixels = np.array(VALUES.get(file.split("/")[0], [0, 1]), dtype=np.uint8)[pixels]
            Image.fromarray(pixels).save(path)
        else:
            content = re.search(rf"<!-- {re.escape(file)} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
            path.write_text(content[1] if content else "nothing")


@pytest.mark.parametrize(
    ("tree", "given", "needs", "count", "classes"),
    [
        ("photos", "photos", {}, 3, []),
        ("labeled", "labeled", {"labelled": True}, 5, ["cat", "class2", "class10"]),
        ("labeled", "labeled", {}, 5, []),
        ("flowers", "flowers", {"labelled": True, "split": "train"}, 2, ["rose", "tulip"]),
        ("flowers", "flowers", {"labelled": True, "split": "val"}, 2, ["rose", "tulip"]),
        ("scans", "scans", {"labelled": True, "split": "train"}, 4, ["healthy", "ill"]),
        ("office", "office/train.csv", {"labelled": True}, 2, ["Bottle", "Couch"]),
        ("office", "csv:office/train.csv", {"labelled": True}, 2, ["Bottle", "Couch"]),
        ("tiles", "tiles/train", {"masks": True}, 2, ["water", "land"]),
        ("tiles", "tiles/validation", {"masks": True}, 1, ["water", "land"]),
        ("street", "street", {"masks": True, "split": "train"}, 1, list("0123456")),
        ("street", "street", {"masks": True, "split": "val"}, 1, list("0123456")),
        ("scenes", "scenes", {"masks": True, "split": "train"}, 2, TWO),
        ("VOC2012", "VOC2012", {"masks": True, "split": "train"}, 1, VOC),
        ("VOC2012", "VOC2012", {"masks": True, "split": "val"}, 1, VOC),
        ("survey", "survey/pairs.csv", {"masks": True, "split": "train"}, 2, TWO),
        ("sentinel", "sentinel", {"masks": True, "split": "train"}, 2, TWO),
        ("sentinel", "sentinel", {"masks": True, "split": "val"}, 1, TWO),
        ("coco", "coco:coco", {"masks": True, "split": "train"}, 1, ANIMALS),
        ("coco", "coco/annotations/instances_train2017.json", {"masks": True}, 1, ANIMALS),
        ("yard", "labelme:yard", {"masks": True, "split": "train"}, 2, ANIMALS),
        ("town", "town", {"masks": True, "split": "train"}, 1, ["background", "house", "road"]),
        ("cityscapes", "cityscapes", {"masks": True, "split": "train"}, 1, CITYSCAPES),
        ("cityscapes", "cityscapes", {"masks": True, "split": "val"}, 1, CITYSCAPES),
    ],
)
def test_a_tree_is_read_as_the_page_says(tmp_path, monkeypatch, tree, given, needs, count, classes):
    monkeypatch.chdir(tmp_path)
    plant(tmp_path, TREES[tree])
    options = OPTIONS.get(tree, {})
    dataset = open_dataset(load_plugins().registry, given, **needs, options=options)
    assert len(dataset) == count
    assert list(dataset.classes)[:10] == classes
    for index in range(count):
        assert dataset.image(index, 64)[0].shape == (20, 30, 3)
        if needs.get("masks"):
            assert dataset.mask(index, 64).shape == (20, 30)


def test_every_tree_is_tried():
    assert set(TREES) == {
        "photos",
        "labeled",
        "flowers",
        "office",
        "tiles",
        "street",
        "scans",
        "cityscapes",
        "scenes",
        "VOC2012",
        "survey",
        "coco",
        "yard",
        "town",
        "sentinel",
    }


def test_a_folder_without_classes_has_no_labels(tmp_path):
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "a.png")
    with pytest.raises(DataError, match="has no labels"):
        open_dataset(load_plugins().registry, str(tmp_path / "flat"), labelled=True, options={})


def test_the_own_format_of_the_page(tmp_path):
    from ssl_seg.testing import check_dataset

    block = re.search(r"```python\n(.*?)```", TEXT.split("## Custom formats")[1], re.DOTALL)[1]
    scope = {}
    exec(block, scope)  # noqa: S102  it is ours
    for number, file in enumerate(("cat-1.jpg", "cat-2.jpg", "dog-1.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / file)
    dataset = scope["pictures"](str(tmp_path), "")
    assert dataset.classes == ["cat", "dog"] and [target for _, target in dataset.samples] == [0, 0, 1]
    check_dataset(dataset)
