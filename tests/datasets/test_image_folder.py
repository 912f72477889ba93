import os

import pytest
from PIL import Image

from ssl_seg.datasets.image_folder import image_folder, natural_sort_key
from ssl_seg.errors import DataError
from ssl_seg.testing import check_dataset


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), "red").save(path)


def folder(root, *names):
    for name in names:
        picture(root / name)
    return str(root)


def test_classes_in_natural_order_and_nested_images(tmp_path):
    root = folder(tmp_path, "class10/a.png", "class2/b.png", "class2/deep/c.png", "class1/d.png", "zoo/e.png")
    dataset = image_folder(root, "")
    check_dataset(dataset)
    assert dataset.classes == ["class1", "class2", "class10", "zoo"]
    assert list(dataset.samples) == [
        ("class1/d.png", 0),
        ("class2/b.png", 1),
        ("class2/deep/c.png", 1),
        ("class10/a.png", 2),
        ("zoo/e.png", 3),
    ]


def test_a_split_is_a_subfolder_if_there_is_one(tmp_path):
    root = folder(tmp_path / "a", "train/x/1.png", "train/y/2.png", "val/x/3.png", "val/y/4.png")
    assert [path for path, _ in image_folder(root, "val").samples] == ["x/3.png", "y/4.png"]
    assert image_folder(root, "train").classes == ["x", "y"]
    other = folder(tmp_path / "b", "x/1.png", "y/2.png")
    assert image_folder(other, "train").classes == ["x", "y"]


def test_splits_are_no_classes(tmp_path):
    """A score over the classes `train` and `val` would look splendid and mean nothing."""
    root = folder(tmp_path / "a", "train/x/1.png", "train/y/2.png", "val/x/3.png", "val/y/4.png")
    with pytest.raises(DataError, match="has splits, not classes: train, val") as error:
        image_folder(root, "")
    assert f"{root}/train or {root}/val" in error.value.next


def test_hidden_and_system_folders_and_loose_files_are_no_class(tmp_path):
    root = folder(tmp_path, "x/1.png", ".git/2.png", "__MACOSX/3.png", "__pycache__/4.png", "loose.png")
    dataset = image_folder(root, "")
    assert dataset.classes == ["x"] and len(dataset) == 1


def test_classes_that_differ_only_in_case(tmp_path):
    root = folder(tmp_path, "Cat/1.png", "dog/2.png", "cat/3.png")
    with pytest.raises(DataError, match="differ only in case") as error:
        image_folder(root, "")
    assert "cat" in error.value.what.lower()


def test_an_empty_class_is_named(tmp_path):
    root = folder(tmp_path, "x/1.png")
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "notes.txt").touch()
    with pytest.raises(DataError, match="hollow") as error:
        image_folder(root, "")
    assert "1 .txt" in error.value.where


def test_no_class_folder_or_no_folder(tmp_path):
    folder(tmp_path, "1.png")
    with pytest.raises(DataError, match="no class folders") as error:
        image_folder(str(tmp_path), "")
    assert error.value.next.startswith("flat_folder:")
    with pytest.raises(DataError, match="folder not found"):
        image_folder(str(tmp_path / "gone"), "")


def test_a_class_name_that_is_no_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    with (tmp_path / name / "a.png").open("wb") as file:
        Image.new("RGB", (6, 5)).save(file, "PNG")
    dataset = image_folder(str(tmp_path), "")
    check_dataset(dataset)
    assert dataset.classes == [name]


def test_natural_order():
    ordered = ["1", "2", "2b", "10", "a", "a1", "a2", "a10", "a10b2", "a10b10", "b", "m²", "²"]
    found = ordered[::-1]
    assert sorted(found, key=natural_sort_key) == ordered


def test_natural_order_leaves_nothing_to_the_file_system():
    """Names that read the same as numbers still have one order, in whatever order they are found."""
    names = ["a1", "a01", "a001", "1", "01"]
    turned = names[::-1]
    assert sorted(names, key=natural_sort_key) == sorted(turned, key=natural_sort_key)


def test_splits_one_folder_further_down_are_no_class(tmp_path):
    """Archives often hold a folder of their own name."""
    root = folder(tmp_path, "xray/train/x/1.png", "xray/train/y/2.png", "xray/val/x/3.png")
    with pytest.raises(DataError, match="has a single class, xray, which contains train, val") as error:
        image_folder(root, "train")
    assert error.value.next.endswith("/xray")


@pytest.mark.parametrize("names", [("images", "masks"), ("Imgs", "labels")])
def test_images_and_masks_are_no_classes(tmp_path, names):
    folder(tmp_path, *(f"{name}/a.png" for name in names))
    with pytest.raises(DataError, match="holds images and masks") as error:
        image_folder(str(tmp_path), "train")
    assert "ssl-seg segment" in error.value.next


def test_a_class_may_be_called_masks(tmp_path):
    folder(tmp_path, "hats/a.png", "masks/b.png")
    assert image_folder(str(tmp_path), "train").classes == ["hats", "masks"]
