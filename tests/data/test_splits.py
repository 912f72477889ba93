"""A split is found under its usual names in every format, and the whole root never stands in for it."""

import logging

import pytest
from PIL import Image

from ssl_seg.data.splits import kind_of
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.datasets.flat_folder import flat_folder
from ssl_seg.datasets.image_folder import image_folder
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError

TRAIN = ["train", "Train", "TRAIN", "training", "Training", "train_set", "training_set", "train2017"]
VAL = ["val", "Val", "VAL", "valid", "validation", "Validation", "test", "Testing", "test_set", "val2017"]


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if path.suffix == ".png" else "RGB", (6, 5), value).save(path)


def labelled(root, split):
    for name in ("rose", "tulip"):
        picture(root / split / name / "1.jpg")


def flat(root, split):
    picture(root / split / "below" / "1.jpg")


def paired(root, split):
    for index in range(2):
        picture(root / split / f"{index}_sat.jpg")
        picture(root / split / f"{index}_mask.png", index)


def paired_apart(root, split):
    for index in range(2):
        picture(root / "images" / split / f"{index}.jpg")
        picture(root / "masks" / split / f"{index}.png", index)


def table(root, split):
    picture(root / split / "1.jpg")
    (root / f"{split}.csv").write_text("filename,label\n1.jpg,rose\n")


def apart(root, split, **options):
    return mask_pairs(root, split, images="images", masks="masks", palette="2", **options)


def pairs(root, split, **options):
    return mask_pairs(root, split, palette="2", **options)


FORMATS = {
    "image_folder": (labelled, image_folder),
    "flat_folder": (flat, flat_folder),
    "mask_pairs": (paired, pairs),
    "images and masks apart": (paired_apart, apart),
    "csv_labels": (table, csv_labels),
}


@pytest.fixture(params=FORMATS)
def kind(request, tmp_path):
    """How a split is written, and how a dataset is opened: `add(name)`, `open(split)`."""
    write, factory = FORMATS[request.param]

    class Kind:
        name, root = request.param, tmp_path / "D"

        def add(self, *splits):
            for split in splits:
                write(self.root, split)

        def open(self, split, **options):
            return factory(str(self.root), split, **options)

        def of(self, split):
            """The split that the images are of."""
            return self.open(split).root.name

    return Kind()


@pytest.mark.parametrize("train", TRAIN)
def test_training_under_its_names(kind, train):
    kind.add(train, "valid")
    assert kind.of("train") == train


@pytest.mark.parametrize("val", VAL)
def test_validation_under_its_names(kind, val):
    kind.add("train", val)
    assert kind.of("val") == val


def test_validation_goes_before_test_and_test_is_found_too(kind):
    kind.add("Train", "Valid", "Test")
    assert kind.of("val") == "Valid" and kind.of("test") == "Test" and kind.of("train") == "Train"


def test_test_in_place_of_validation_is_said(kind, caplog):
    kind.add("train", "test")
    kind.of("train")
    assert not caplog.records
    kind.of("val")
    said = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert len(said) == (2 if "apart" in kind.name else 1)
    assert all("no validation split: using test" in text for text in said)


@pytest.mark.parametrize(
    ("held", "asked"), [("train", "val"), ("val", "train"), ("test", "train"), ("val", "test")]
)
def test_the_whole_root_never_stands_in_for_a_split(kind, held, asked):
    """Measured on the training images, a score would look splendid and mean nothing."""
    kind.add(held)
    with pytest.raises(DataError, match="has no .* split") as error:
        kind.open(asked)
    assert held in error.value.where and f"/{held}" in error.value.next


@pytest.mark.parametrize("names", [("train", "Train"), ("train", "training")])
def test_of_two_that_fit_one_is_asked_for(kind, names):
    kind.add(*names, "val")
    with pytest.raises(DataError, match="2 training splits") as error:
        kind.open("train")
    assert all(f"/{name}" in error.value.next for name in names)
    assert kind.of("val") == "val"


def test_without_splits_the_root_is_taken(tmp_path):
    labelled(tmp_path / "a", ".")
    assert len(image_folder(str(tmp_path / "a"), "val")) == 2
    flat(tmp_path / "b", ".")
    assert len(flat_folder(str(tmp_path / "b"), "val")) == 1
    paired(tmp_path / "c", "x")
    assert len(pairs(str(tmp_path / "c"), "val")) == 2


# ------------------------------------------------------------------------------------- classes called `test`


def test_a_class_called_test_is_a_class(tmp_path):
    for name in ("test", "control"):
        picture(tmp_path / name / "1.jpg")
        picture(tmp_path / name / "patient" / "2.jpg")
    assert image_folder(str(tmp_path), "train").classes == ["control", "test"]
    assert len(image_folder(str(tmp_path), "val")) == 4


def test_images_without_classes_below_splits_are_asked_about(tmp_path):
    """They may be pictures of trains and tests, or unlabelled."""
    picture(tmp_path / "Training" / "1.jpg")
    picture(tmp_path / "Testing" / "1.jpg")
    for split in ("train", "val", ""):
        with pytest.raises(
            DataError, match="ambiguous folders in .*: Testing, Training may be splits or classes"
        ) as error:
            image_folder(str(tmp_path), split)
        assert "-o data.splits=false" in error.value.next
    assert image_folder(str(tmp_path), "train", splits=False).classes == ["Testing", "Training"]


def test_other_folders_beside_splits(tmp_path):
    labelled(tmp_path, "train")
    picture(tmp_path / "extra" / "rose" / "1.jpg")
    with pytest.raises(DataError, match="ambiguous") as error:
        image_folder(str(tmp_path), "train")
    assert "further images in extra" in error.value.where and f"{tmp_path}/train" in error.value.next
    assert image_folder(str(tmp_path), "train", splits=False).classes == ["extra", "train"]
    labelled(tmp_path, "val")  # two splits with the same classes make it plain
    dataset = image_folder(str(tmp_path), "val")
    assert dataset.root == tmp_path / "val" and [name for name, _ in dataset.samples] == [
        "rose/1.jpg",
        "tulip/1.jpg",
    ]


def test_folders_without_images_do_not_matter(kind):
    kind.add("train", "valid")
    (kind.root / "annotations" / "deep").mkdir(parents=True)
    (kind.root / "annotations" / "notes.json").touch()
    (kind.root / "README.md").touch()
    assert kind.of("val") == "valid"


def test_an_empty_split_is_named_and_none_stands_in_for_it(tmp_path):
    labelled(tmp_path, "train")
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="/val has no class folders"):
        image_folder(str(tmp_path), "val")


@pytest.mark.parametrize("below", ["", "more"])
def test_masks_beside_splits_are_asked_about(tmp_path, below):
    paired(tmp_path, "train")
    paired(tmp_path / below, ".")
    with pytest.raises(DataError, match="train may be splits or classes") as error:
        pairs(str(tmp_path), "train")
    assert f"{tmp_path}/train" in error.value.next
    assert len(pairs(str(tmp_path), "train", splits=False, images=below, masks=below)) >= 2


# ------------------------------------------------------------------------------------------- without labels


def test_an_album_called_test_is_no_split(tmp_path):
    for name in ("holiday", "test"):
        flat(tmp_path, name)
    assert len(flat_folder(str(tmp_path), "val")) == 2


def test_all_images_are_taken_without_labels_and_that_is_said(tmp_path, caplog):
    for name in ("train", "val", "Test"):
        flat(tmp_path, name)
    picture(tmp_path / "val" / "2.jpg")
    assert len(flat_folder(str(tmp_path), "")) == 4
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"3 of 4 images are in Test/ and val/; all are used. {tmp_path}/train excludes them"]
    assert len(flat_folder(str(tmp_path), "", splits=False)) == 4 and len(caplog.records) == 1
    assert len(flat_folder(str(tmp_path / "train"), "")) == 1 and len(caplog.records) == 1


def test_words_that_are_no_splits():
    for word in ("trains", "testimony", "valley", "contest", "value", "train-station", "test1", "", "t"):
        assert kind_of(word) is None, word
