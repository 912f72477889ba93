import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from ssl_seg.data.file_list import FileList
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.errors import DataError
from ssl_seg.testing import check_dataset


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_nested_folders_in_sorted_order(tmp_path):
    touch(tmp_path, "b/2.png", "b/1.png", "a/deep/er/x.jpg", "z.jpg", "a/y.jpg")
    assert list(find_images(tmp_path)) == ["z.jpg", "a/y.jpg", "a/deep/er/x.jpg", "b/1.png", "b/2.png"]


def test_every_ending_in_any_case_and_no_other(tmp_path):
    wanted = ["a.jpg", "b.JPG", "c.JpEg", "d.png", "e.webp", "f.TIF", "g.tiff", "h.bmp", "i.x.png"]
    touch(tmp_path, *wanted, "n.txt", "n.gif", "jpg", "n.jpg.part", "n.npy")
    assert sorted(find_images(tmp_path)) == sorted(wanted)


def test_hidden_and_system_entries_are_passed_over(tmp_path):
    touch(
        tmp_path,
        "a.jpg",
        ".b.jpg",
        "._a.jpg",
        ".cache/c.jpg",
        "__MACOSX/d.jpg",
        "x/__MACOSX/e.jpg",
        "@eaDir/f.jpg",
    )
    assert list(find_images(tmp_path)) == ["a.jpg"]


def test_a_hidden_folder_that_is_asked_for_itself_is_read(tmp_path):
    touch(tmp_path, ".data/a.jpg")
    assert list(find_images(tmp_path / ".data")) == ["a.jpg"]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path, "real/a.jpg", "elsewhere/b.jpg")
    root = tmp_path / "real"
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "twice").symlink_to(tmp_path / "elsewhere")
    (root / "file.jpg").symlink_to(root / "a.jpg")
    assert list(find_images(root)) == ["a.jpg", "file.jpg", "out/b.jpg"]


def test_a_link_to_itself_or_to_nothing_does_not_stop_the_search(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nowhere").symlink_to("gone")
    assert list(find_images(tmp_path)) == ["a.jpg"]


def test_a_dangling_image_is_listed_so_that_reading_names_it(tmp_path):
    (tmp_path / "a.jpg").symlink_to("gone.jpg")
    assert list(find_images(tmp_path)) == ["a.jpg"]
    dataset = FileDataset(tmp_path, [("a.jpg", -1)])
    assert "missing" in dataset.identity(0)
    with pytest.raises(ValueError, match="No such file"):
        dataset.image(0, 32)


def test_without_an_image_the_endings_seen_are_told(tmp_path):
    touch(tmp_path, "a.txt", "b.txt", "c.gif", "README")
    with pytest.raises(DataError) as error:
        list(find_images(tmp_path))
    assert str(tmp_path) in error.value.what
    assert "2 .txt" in error.value.where and "1 .gif" in error.value.where
    assert "1 without a suffix" in error.value.where and ".jpg" in error.value.where


def test_an_empty_or_missing_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as error:
        list(find_images(tmp_path / "empty"))
    assert "found nothing" in error.value.where
    with pytest.raises(DataError, match="folder not found"):
        list(find_images(tmp_path / "gone"))
    touch(tmp_path, "file.jpg")
    with pytest.raises(DataError, match="folder not found"):
        list(find_images(tmp_path / "file.jpg"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(DataError, match="locked: Permission denied"):
            list(find_images(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o700)


ODD = [
    "ä/ü ö.jpg",
    "日本/猫.png",
    " space .jpg",
    "a'\"b.jpg",
    "line\nbreak.jpg",
    "e\u0301.jpg",
    "-o.jpg",
    "🐟.jpg",
]


def test_odd_names_are_found_and_read(tmp_path):
    names = [*ODD, os.fsdecode(b"caf\xe9.jpg")]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.new("RGB", (5, 4), "red").save(file, "PNG")
    found = list(find_images(tmp_path))
    assert sorted(found) == sorted(names)
    dataset = FileDataset(tmp_path, ((name, -1) for name in found))
    check_dataset(dataset)
    assert sorted(name for name, _ in dataset.samples) == sorted(names)
    for index in range(len(dataset)):
        assert dataset.image(index, 32)[1] == (4, 5)


PAIRS = [("a.jpg", 0), ("", 3), ("ü/b.png", -1), (os.fsdecode(b"\xff.jpg"), 7), ("line\nbreak", 2**40)]


def test_a_file_list_is_a_sequence():
    files = FileList(iter(PAIRS))
    assert len(files) == 5
    assert list(files) == PAIRS
    assert [files[index] for index in range(-5, 5)] == PAIRS + PAIRS
    for cut in (
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        slice(-2, None),
        slice(4, 1, -2),
        slice(9, 99),
    ):
        assert list(files[cut]) == PAIRS[cut]
    assert ("a.jpg", 0) in files and ("a.jpg", 1) not in files
    for beyond in (5, -6, 10**9):
        with pytest.raises(IndexError):
            files[beyond]
    assert list(FileList([])) == []


def test_a_file_list_is_small():
    """At most the name and twenty bytes or so for each of a million files."""
    files = FileList((f"folder/{index:06d}.jpg", index % 10) for index in range(10_000))
    held = len(files._names) + files._ends.itemsize * len(files._ends) + files.targets.itemsize * len(files)
    assert held <= 10_000 * (len("folder/000000.jpg") + 20)
    assert not any(isinstance(part, list) for part in vars(files).values())
    assert sys.getsizeof(files._names) < 200_000


def test_identity_follows_name_and_content_and_not_the_date(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    dataset = FileDataset(tmp_path, [("a.jpg", 0), ("b.jpg", 0)])
    first = dataset.identity(0)
    assert first != dataset.identity(1), "the name counts"
    os.utime(tmp_path / "a.jpg", (1, 1))
    assert dataset.identity(0) == first
    (tmp_path / "a.jpg").write_bytes(b"x")
    os.utime(tmp_path / "a.jpg", (1, 1))
    one = dataset.identity(0)
    (tmp_path / "a.jpg").write_bytes(b"y")
    os.utime(tmp_path / "a.jpg", (1, 1))
    other = dataset.identity(0)
    Path(tmp_path / "a.jpg").unlink()
    assert len({first, one, other, dataset.identity(0)}) == 4


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "special" in FileDataset(tmp_path, [("pipe.jpg", -1)]).identity(0)


def test_folders_of_equal_names_sizes_and_times_are_told_apart(tmp_path):
    """As bitmaps from archives with normalised times are; wherever the one image lies that differs."""
    datasets = []
    for folder, odd in (("train", None), ("val", 29)):
        (tmp_path / folder).mkdir()
        for index in range(40):
            path = tmp_path / folder / f"{index}.bmp"
            Image.new("RGB", (8, 8), "blue" if index == odd else "red").save(path)
            os.utime(path, (0, 0))
        datasets.append(FileDataset(tmp_path / folder, [(f"{index}.bmp", -1) for index in range(40)]))
    one, two = ([data.identity(index) for index in range(40)] for data in datasets)
    assert [index for index in range(40) if one[index] != two[index]] == [29]
