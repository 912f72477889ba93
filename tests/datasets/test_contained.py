"""Images in containers of other tools: tar shards, and tables of Arrow and Parquet; the same labels and pixels."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.errors import DataError
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.data import open_dataset


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pictures(count, bands=3, top=256):
    random = np.random.default_rng(count)
    shape = (12, 9, bands) if bands > 1 else (12, 9)
    return [random.integers(0, top, shape, dtype=np.uint8) for _ in range(count)]


def shard(path, members):
    """A tar file as WebDataset's writer makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def opened(spec, **needs):
    options = needs.pop("options", {})
    return open_dataset(load_plugins().registry, str(spec), options=options, **needs)


def labelled(tmp_path, count=6):
    images = pictures(count)
    for part in range(2):
        members = []
        for index in range(part * count // 2, (part + 1) * count // 2):
            members += [
                (f"{index:04d}.png", encoded(images[index])),
                (f"{index:04d}.cls", str(index % 3).encode()),
            ]
            members += [(f"{index:04d}.json", b"{}")]
        shard(tmp_path / "shards" / f"train-{part:04d}.tar", members)
    return images


@pytest.mark.parametrize("spec", ["wds:{}/shards", "wds:{}/shards/train-{{0000..0001}}.tar"])
def test_shards_have_their_labels_and_pixels(tmp_path, spec):
    images = labelled(tmp_path)
    dataset = opened(spec.format(tmp_path), labelled=True)
    assert list(dataset.classes) == ["0", "1", "2"]
    assert [target for _, target in dataset.samples] == [0, 1, 2, 0, 1, 2]
    for index, pixels in enumerate(images):
        image, size = dataset.image(index, 64)
        assert np.array_equal(image, pixels) and size == dataset.size(index) == (12, 9)
    assert "train-0001.tar, bytes" in dataset.origin(5)
    cache = open_image_cache(dataset, 64, tmp_path / "cache")
    assert np.array_equal(cache.images[4].permute(1, 2, 0)[:12, :9], images[4])
    assert len({dataset.identity(index) for index in range(6)}) == 6


def test_one_shard_and_names_of_classes(tmp_path):
    labelled(tmp_path)
    options = {"classes": "cat,dog,owl"}
    dataset = opened(f"wds:{tmp_path}/shards/train-0001.tar", labelled=True, options=options)
    assert list(dataset.classes) == ["cat", "dog", "owl"] and len(dataset) == 3
    with pytest.raises(DataError, match="label 2 with 2 classes"):
        opened(f"wds:{tmp_path}/shards", labelled=True, options={"classes": "cat,dog"})


def test_masks_in_shards(tmp_path):
    images, masks = pictures(3), pictures(3, bands=1, top=3)
    masks[0][0, 0] = 255
    members = []
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        members += [(f"a/{index}.jpg", encoded(image, "JPEG")), (f"a/{index}.seg.png", encoded(mask))]
    shard(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match="not named") as caught:
        opened(f"wds:{tmp_path}/x.tar", masks=True)
    assert "0, 1, 2, 255" in caught.value.where and "classes=class0,class1,class2" in caught.value.next
    dataset = opened(f"wds:{tmp_path}/x.tar", masks=True, options={"classes": "sea,land,ice"})
    found = np.stack([dataset.mask(index, 64) for index in range(3)])
    assert np.array_equal(found, np.stack(masks))
    small = opened(f"wds:{tmp_path}/x.tar", masks=True, options={"classes": "sea,land"})
    with pytest.raises(ValueError, match="holds 2, and there are 2 classes"):
        [small.mask(index, 64) for index in range(3)]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tar"])
def test_what_is_no_shard_is_refused_with_a_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError) as caught:
        opened(f"wds:{tmp_path}")
    assert caught.value.next
    shard(tmp_path / "other" / "y.tar", [("1.npy", b"1"), ("1.cls", b"0")])
    with pytest.raises(DataError, match="has an image") as caught:
        opened(f"wds:{tmp_path}/other")
    assert "members end in cls, npy" in caught.value.where
    with pytest.raises(DataError, match="shard not found"):
        opened(f"wds:{tmp_path}/other/z-{{0..3}}.tar")


def test_a_shard_that_was_cut_is_a_bad_image(tmp_path):
    images = labelled(tmp_path)
    dataset = opened(f"wds:{tmp_path}/shards", labelled=True)
    path = tmp_path / "shards" / "train-0001.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="truncated"):
        dataset.image(len(images) - 1, 64)


def test_shards_of_the_webdataset_package(tmp_path):
    import webdataset as wds

    images = pictures(4)
    with wds.TarWriter(str(tmp_path / "w.tar")) as writer:
        for index, pixels in enumerate(images):
            writer.write({"__key__": f"{index:03d}", "png": encoded(pixels), "cls": index % 2})
    dataset = opened(f"wds:{tmp_path}/w.tar", labelled=True)
    assert [target for _, target in dataset.samples] == [0, 1, 0, 1]
    assert all(np.array_equal(dataset.image(index, 64)[0], pixels) for index, pixels in enumerate(images))


def table(images, labels=None, masks=None):
    """As `datasets` makes it: images as structs of bytes and path, and a note of what columns mean."""
    pa = pytest.importorskip("pyarrow")
    columns = {"image": [{"bytes": encoded(pixels), "path": None} for pixels in images]}
    features = {"image": {"_type": "Image"}}
    if labels is not None:
        columns["label"] = labels
        features["label"] = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    if masks is not None:
        columns["annotation"] = [{"bytes": encoded(pixels), "path": None} for pixels in masks]
        features["annotation"] = {"_type": "Image"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        name: pa.array(values, type=None if name == "label" else kind) for name, values in columns.items()
    }
    note = json.dumps({"info": {"features": features}})
    return pa.table(arrays).replace_schema_metadata({"huggingface": note})


def save(path, content, parquet):
    pa = pytest.importorskip("pyarrow")
    path.parent.mkdir(parents=True, exist_ok=True)
    if parquet:
        import pyarrow.parquet as pq

        pq.write_table(content, path.with_suffix(".parquet"), row_group_size=2)
    else:
        with (
            pa.OSFile(str(path.with_suffix(".arrow")), "wb") as file,
            pa.ipc.new_stream(file, content.schema) as out,
        ):
            out.write_table(content)


@pytest.mark.parametrize("parquet", [False, True])
def test_tables_have_their_labels_and_pixels(tmp_path, parquet):
    images = pictures(7)
    train, test = ("data/train-0", "data/test-0") if parquet else ("train/data-0", "test/data-0")
    save(tmp_path / "d" / train, table(images[:5], [0, 1, None, 1, 0]), parquet)
    save(tmp_path / "d" / test, table(images[5:], [1, 1]), parquet)
    dataset = opened(f"hf:{tmp_path}/d", labelled=True, split="train")
    assert list(dataset.classes) == ["cat", "dog"]
    assert [target for _, target in dataset.samples] == [0, 1, -1, 1, 0]
    assert all(np.array_equal(dataset.image(index, 64)[0], images[index]) for index in range(5))
    other = opened(f"hf:{tmp_path}/d", labelled=True, split="test")
    assert np.array_equal(other.image(1, 64)[0], images[6])
    with pytest.raises(DataError, match="no split val; there are test, train"):
        opened(f"hf:{tmp_path}/d", split="val")
    cache = open_image_cache(dataset, 64, tmp_path / "cache")
    assert len(cache) == 5 and len({dataset.identity(index) for index in range(5)}) == 5


@pytest.mark.parametrize("parquet", [False, True])
def test_masks_in_tables(tmp_path, parquet):
    images, masks = pictures(3), pictures(3, bands=1, top=2)
    save(tmp_path / "d" / "data", table(images, masks=masks), parquet)
    with pytest.raises(DataError, match="not named"):
        opened(f"hf:{tmp_path}/d", masks=True)
    dataset = opened(f"hf:{tmp_path}/d", masks=True, options={"classes": "sea,land"})
    assert all(np.array_equal(dataset.mask(index, 64), masks[index]) for index in range(3))


def test_columns_that_are_not_there_and_images_that_lie_elsewhere(tmp_path):
    pa = pytest.importorskip("pyarrow")
    save(tmp_path / "d" / "data", table(pictures(2), [0, 1]), False)
    with pytest.raises(DataError, match="no column 'lable'") as caught:
        opened(f"hf:{tmp_path}/d", labelled=True, options={"label": "lable"})
    assert "columns: image, label" in caught.value.where
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    elsewhere = pa.array([{"bytes": None, "path": "/etc/passwd"}], type=kind)
    save(tmp_path / "e" / "data", pa.table({"image": elsewhere}), True)
    dataset = opened(f"hf:{tmp_path}/e")
    with pytest.raises(ValueError, match="names /etc/passwd and does not hold it"):
        dataset.image(0, 64)
    with pytest.raises(DataError, match="no Arrow or Parquet file"):
        (tmp_path / "f").mkdir()
        opened(f"hf:{tmp_path}/f")


def test_a_split_that_is_not_there_names_the_folder_of_another(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / "d" / split / "data-0", table(pictures(2), [0, 1]), False)
    with pytest.raises(DataError, match="has no split val; there are test, train") as caught:
        opened(f"hf:{tmp_path}/d", split="val")
    assert caught.value.next == f"hf:{tmp_path}/d/test"
    assert len(opened(caught.value.next, split="val")) == 2
    save(tmp_path / "e" / "train-0", table(pictures(2), [0, 1]), True)
    with pytest.raises(DataError, match="has no split val; there are train$") as caught:
        opened(f"hf:{tmp_path}/e", split="val")
    assert caught.value.next == f"ls {tmp_path}/e"


def test_tables_of_the_datasets_package(tmp_path):
    import datasets as ds

    images = pictures(5)
    files = [tmp_path / f"{index}.png" for index in range(5)]
    for file, pixels in zip(files, images, strict=True):
        file.write_bytes(encoded(pixels))
    features = ds.Features({"image": ds.Image(), "label": ds.ClassLabel(names=["sea", "land"])})
    columns = {"image": list(map(str, files)), "label": [0, 1, 1, 0, 1]}
    made = ds.Dataset.from_dict(columns, features=features)
    whole = ds.DatasetDict(train=made.select([4, 0, 2]), validation=made.select([1, 3]))
    whole.save_to_disk(tmp_path / "disk")
    found = [opened(f"hf:{tmp_path}/disk", labelled=True, split=split) for split in ("train", "val")]
    assert [list(each.classes) for each in found] == [["sea", "land"]] * 2
    assert [[target for _, target in each.samples] for each in found] == [[1, 0, 1], [1, 0]]
    for dataset, indices in zip(found, ([4, 0, 2], [1, 3]), strict=True):
        for row, index in enumerate(indices):
            assert np.array_equal(dataset.image(row, 64)[0], images[index])
    made.to_parquet(tmp_path / "paths" / "all.parquet")
    with pytest.raises(ValueError, match="0.png and does not hold it: save_to_disk"):
        opened(f"hf:{tmp_path}/paths").image(0, 64)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="pyarrow") as caught:
        opened(f"hf:{tmp_path}")
    assert caught.value.next == "pip install 'ssl-seg[hf]'"
