"""What a person writes for DATA."""

import os
import shutil
import signal

import pytest
from PIL import Image

from ssl_seg.errors import DataError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.registry import PluginFactories
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.entry_points import PluginSource
from ssl_seg.utils.home import default_cache_dir
from ssl_seg.utils.interrupt import Interrupted, interruptible
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.workflows.data import open_dataset, open_images


@pytest.fixture
def registry():
    return load_plugins().registry


def opened(registry, spec, labelled=False, **options):
    return open_dataset(registry, TypedName(spec), labelled=labelled, options=options)


@pytest.fixture
def csv(photos):
    """A CSV file that labels some of the photos, beside them."""
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))[:6]
    path = photos / "few.csv"
    path.write_text("filename,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names)))
    return path


def test_a_folder_is_flat_without_labels_and_of_classes_with(registry, photos):
    flat = opened(registry, photos)
    assert (len(flat), list(flat.classes)) == (24, [])
    classes = opened(registry, photos, labelled=True)
    assert (len(classes), list(classes.classes)) == (24, ["a", "b"])


def test_a_csv_file(registry, csv):
    for spec in (csv, f"csv:{csv}", f"csv_labels:{csv}"):
        assert len(opened(registry, spec)) == 6
        assert list(opened(registry, spec, labelled=True).classes) == ["0", "1"]


def test_a_folder_with_train_csv_has_labels(registry, csv, tmp_path):
    folder = tmp_path / "office"
    folder.mkdir()
    shutil.copytree(csv.parent / "a", folder / "train", copy_function=shutil.copy)
    names = sorted(path.name for path in (folder / "train").iterdir())
    (folder / "train.csv").write_text("filename,label\n" + "".join(f"{name},x\n" for name in names))
    shutil.move(folder / "train", tmp_path / "elsewhere")
    dataset = opened(registry, folder, labelled=True, images=str(tmp_path / "elsewhere"))
    assert (len(dataset), list(dataset.classes)) == (12, ["x"])


@pytest.fixture
def both(tmp_path):
    """A folder per class below `train/` and `val/`, and `train.csv` with labels: `both("cat", ...)`."""

    def write(*labels):
        folder = tmp_path / "both"
        rows = ["filename,label"]
        for split in ("train", "val"):
            for index, label in enumerate(labels):
                path = folder / split / "ab"[index] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4)).save(path)
                rows += [f"{path.relative_to(folder / 'train')},{label}"] if split == "train" else []
        (folder / "train.csv").write_text("\n".join(rows))
        (folder / "test.csv").write_text("filename\nc/9.png\n")
        return folder

    return write


def test_labels_in_a_file_that_contradict_those_of_folders_are_asked_about(registry, both):
    folder = both("cat", "b")
    with pytest.raises(
        DataError, match=r"labels in test\.csv and train\.csv, and others as names of folders"
    ) as error:
        opened(registry, folder, True)
    assert error.value.where == f"{folder / 'train.csv'}, line 2: a/0.png is 'cat'"
    assert error.value.next == f"csv:{folder} or image_folder:{folder}"
    assert opened(registry, f"csv:{folder}", True).classes == ["b", "cat"]
    with pytest.raises(DataError, match=r"labels in train\.csv, and others") as error:  # beside the folder
        opened(registry, folder / "train", True)
    assert error.value.next == f"csv:{folder}/train.csv or image_folder:{folder}/train"
    for agreeing in (("a", "b"), ("", "")):  # the second has no labels
        dataset = open_dataset(registry, str(both(*agreeing)), split="val", labelled=True, options={})
        assert dataset.classes == ["a", "b"] and dataset.root.name == "val"


def test_folders_of_images_beside_a_csv_file_are_no_classes(registry, both):
    """`train/` and `val/` full of images, their labels in `train.csv`: the classes are not train and val."""
    folder = both("a", "b")
    for split in ("train", "val"):
        for path in sorted((folder / split).rglob("*.png")):
            path.rename(folder / split / path.name)
            path.parent.rmdir()
        (folder / f"{split}.csv").write_text("filename,label\n0.png,cat\n1.png,dog\n")
    for split in ("train", "val"):
        dataset = open_dataset(registry, str(folder), split=split, labelled=True, options={})
        assert dataset.classes == ["cat", "dog"] and dataset.root == folder / split


def test_a_folder_with_a_csv_of_another_name_names_it(registry, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "labels.csv").write_text("filename,label\n")
    with pytest.raises(DataError, match="has no labels") as error:
        opened(registry, tmp_path / "d", True)
    assert error.value.next.startswith(f"{tmp_path}/d/labels.csv")


def test_a_stated_format(registry, photos):
    assert list(opened(registry, f"image_folder:{photos}").classes) == ["a", "b"]
    assert list(opened(registry, f"image:{photos}").classes) == ["a", "b"]
    assert len(opened(registry, f"flat_folder:{photos}")) == 24
    assert len(opened(registry, "demo:100")) == 100
    assert len(opened(registry, "demo", count="12")) == 12


def test_where_masks_are_needed_the_demo_has_them(registry):
    for spec in ("demo:16", "demo_masks:16"):
        dataset = open_dataset(registry, spec, split="val", masks=True, options={})
        assert dataset.masks and (len(dataset), len(dataset.classes)) == (16, 9)
    assert not opened(registry, "demo:16", labelled=True).masks


def test_a_path_that_looks_like_a_format_is_a_path(registry, photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    photos.rename("demo:x")
    assert len(opened(registry, "demo:x")) == 24


def test_a_format_from_a_file(registry, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ssl_seg.datasets.demo import DemoDataset\ndef pictures(root, split): return DemoDataset(split, int(root))"
    )
    assert len(opened(registry, f"{file}:pictures=5")) == 5


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("nowhere", DataError, "no such file or folder: nowhere"),
        ("cvs:x", UsageError, "no dataset 'cvs'"),
        ("imagefolder:x", UsageError, "did you mean 'image_folder'"),
        ("demo:many", UsageError, "a number of images"),
        ("image_folder:nowhere", DataError, "folder not found: nowhere"),
        ("csv:nowhere.csv", DataError, "nowhere.csv"),
    ],
)
def test_what_is_wrong_is_said(registry, spec, error, text):
    with pytest.raises(error) as caught:
        opened(registry, spec)
    assert text in caught.value.what


def test_a_name_beside_the_wrong_one_is_proposed(registry, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="; did you mean 'pictures'"):
        opened(registry, str(tmp_path / "picture"))


def test_a_prefix_that_fits_two_formats_names_both(registry):
    registry.add(
        "datasets", PluginFactories(PluginSource("x"), frozenset({"csv_masks"}), {"csv_masks": print})
    )
    with pytest.raises(UsageError, match="'csv' could be csv_labels or csv_masks"):
        opened(registry, "csv:x")


def test_a_file_that_is_no_table(registry, photos):
    image = next(photos.rglob("*.jpg"))
    for labelled in (True, False):
        with pytest.raises(DataError, match="neither a folder nor a CSV file"):
            opened(registry, image, labelled)


def test_a_probe_without_labels_is_a_clear_error(registry, photos, cli):
    flat = photos / "b" / "c"
    with pytest.raises(DataError, match="neither a subfolder per class nor train.csv"):
        opened(registry, flat, labelled=True)
    with pytest.raises(DataError, match="has no labels"):
        opened(registry, f"flat_folder:{flat}", labelled=True)


def test_a_signal_while_images_are_read_leaves_nothing_behind(registry, photos, tmp_path, monkeypatch):
    dataset, cache = opened(registry, photos), tmp_path / "images"
    with ProgressDisplay() as console:
        monkeypatch.setattr(console, "reading", lambda done, total: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted) as caught, interruptible():
            open_images(dataset, 16, console, cache=cache)
    assert caught.value.signal == signal.SIGTERM
    assert [
        path for path in cache.iterdir() if path.suffix != ".lock" and path.name != "components.json"
    ] == []


def test_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_SEG_CACHE", "/own")
    assert str(default_cache_dir()) == "/own"
    monkeypatch.delenv("SSL_SEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(default_cache_dir()) == "/xdg/ssl-seg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "ssl-seg"


def test_images_that_are_left_out_are_named(photos, registry, tmp_path, capsys):
    for index in range(5):
        (photos / f"zz{index}.jpg").write_text("no image")
    dataset = opened(registry, photos)
    with ProgressDisplay() as console:
        image_cache = open_images(dataset, 16, console, cache=tmp_path, bad_images="skip")
    said = capsys.readouterr().err
    assert f"5 of {len(image_cache) + 5} images cannot be read and are left out: " in said
    assert "zz0.jpg (not an image, or an unsupported format), " in said and ", ...; all are in " in said
