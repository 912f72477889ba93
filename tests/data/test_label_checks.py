"""Labels that contradict themselves are spoken of before the first step."""

import logging

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.files import FileDataset
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.label_checks import check_labels, warn_of_twins, warn_of_unmeasured
from ssl_seg.errors import DataError

CLASSES = ["ant", "bee", "cow"]


@pytest.fixture
def labelled(tmp_path):
    """`labelled((picture, class), ...)`: a dataset of files a, b, ...; equal numbers are equal pictures."""

    def make(*rows):
        pairs = []
        for name, (picture, target) in zip("abcdefgh", rows, strict=False):
            pixels = np.random.default_rng(picture).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            pairs.append((f"{name}.png", target))
        dataset = FileDataset(tmp_path, pairs, CLASSES)
        return open_image_cache(dataset, 8, tmp_path / "cache"), dataset

    return make


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_nothing_is_said_of_labels_without_fault(labelled, caplog):
    check_labels(*labelled((1, 0), (2, 1), (3, 2), (4, 0)), "D")
    assert said(caplog) == []


def test_equal_pictures_under_two_labels(labelled, caplog):
    check_labels(*labelled((1, 2), (2, 1), (1, 0), (1, 2), (3, 1)), "D")
    assert said(caplog) == [
        "3 of 5 images of D are also present under another label: c.png (ant) is a.png (cow)",
        "1 of 5 images of D are duplicates within their class: a.png (cow) is d.png (cow)",
    ]


def test_many_are_cut_short(labelled, caplog):
    warn_of_twins(*labelled((1, 0), (1, 0), (1, 0), (1, 0), (2, 1), (2, 1), (2, 1), (3, 2)), "D")
    (text,) = said(caplog)
    assert text.startswith("5 of 8 images of D are duplicates") and text.endswith(" and 2 more")
    assert text.count(" is ") == 3


def test_the_same_file_by_links(labelled, caplog, tmp_path):
    _, dataset = labelled((1, 0), (2, 1), (3, 2))
    (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
    (tmp_path / "soft.png").symlink_to(tmp_path / "b.png")
    pairs = [*dataset.samples, ("hard.png", 0), ("soft.png", 2)]
    dataset = FileDataset(tmp_path, pairs, CLASSES)
    check_labels(open_image_cache(dataset, 8, tmp_path / "cache"), dataset, "D")
    assert [text.split(": ")[1] for text in said(caplog)] == [
        "b.png (bee) is soft.png (cow)",
        "a.png (ant) is hard.png (ant)",
    ]


def test_one_class_is_no_task(labelled):
    with pytest.raises(DataError, match="all 2 images of D have the same class: bee") as error:
        check_labels(*labelled((1, 1), (2, 1)), "D")
    assert error.value.where == "a.png" and "parent of the class folders" in error.value.next


def test_a_class_without_images(labelled, caplog):
    image_cache, dataset = labelled((1, 0), (2, 2))
    check_labels(image_cache, dataset, "D")
    warn_of_unmeasured(image_cache, "V")
    assert said(caplog) == [
        "1 classes of D have no images: bee",
        "1 of 3 classes have no images in V and are not validated: bee",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "filename,label\n0.png,cat\n1.png,cat;dog\n2.png,dog\n",
            "the label 'cat;dog' lists several classes",
        ),
        (
            'filename,label\n0.png,"a, b"\n1.png,"b, c"\n2.png,"a, c"\n',
            "the label 'a, b' lists several classes",
        ),
        (
            "filename,label\n0.png,cat\n1.png,dog\n1.png,cat\n2.png,dog\n",
            "an image has one label here: keep one",
        ),
        ("filename,cat,dog\n0.png,1,0\n1.png,1,1\n2.png,0,1\n", "cat, dog look like several labels"),
    ],
)
def test_several_labels_of_an_image_are_refused(cli, tmp_path, text, says):
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "train.csv").write_text(text)
    code, _, err = cli(
        "classify", tmp_path / "train.csv", "--backbone", "test_resnet", "--cpu", "--out", tmp_path / "run"
    )
    assert code == 3 and says in err


def test_a_comma_in_a_name_is_no_list(cli, tmp_path):
    for index, name in enumerate(("bird, grey", "bird, red", "cat")):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / name / "0.png")
    words = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 2, "--epochs", 1, "--cpu"]
    code, _, err = cli("classify", tmp_path / "data", *words, "--out", tmp_path / "run")
    assert code == 0, err
