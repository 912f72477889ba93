"""A damaged cache is noticed when it is opened, or where it is read, and built anew."""

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.data import cache_integrity as module
from ssl_seg.data.cache_integrity import BlockSums, damage
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.loader import Loader, sequential_batches
from ssl_seg.errors import ResourceError

CPU = torch.device("cpu")


class Masked(FileDataset):
    masks = True

    def __init__(self, root):
        super().__init__(root, ((n, i % 3) for i, n in enumerate(find_images(root))), ("x", "y", "z"))

    def mask(self, index, canvas):
        return self.image(index, canvas)[0][:, :, 0] % 5


@pytest.fixture
def dataset(photos):
    return Masked(photos)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def image_cache(dataset, cache):
    return open_image_cache(dataset, 32, cache)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path, place=None, mask=1):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= mask
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size - 8)


def rewrite(path, change):
    """Change values of the index, and leave its own digest as it was or make it right."""
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


NAMES = ["images.u8", "masks.u8", "images.sums", "masks.sums"]
NAMES += [f"{name}.i64" for name in ("sizes", "rows", "targets", "digests")]
DAMAGE = {"cut": cut, "missing": Path.unlink, "flipped": flip, "empty": lambda path: path.write_bytes(b"")}
DAMAGE["longer"] = lambda path: path.write_bytes(path.read_bytes() + b"x")


def test_a_sound_cache_has_every_file_in_its_index(image_cache):
    assert damage(image_cache.folder) == ""
    assert sorted(files(image_cache.folder)) == sorted([*NAMES, "index.json"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_and_built_anew(image_cache, dataset, cache, caplog, name, kind):
    before = files(image_cache.folder)
    DAMAGE[kind](image_cache.folder / name)
    with caplog.at_level(logging.WARNING, "ssl_seg"):
        again = open_image_cache(dataset, 32, cache)
    assert files(again.folder) == before and again.folder == image_cache.folder
    (record,) = caplog.records
    assert f"{image_cache.folder}/{name}: " in record.getMessage() and "rebuilding" in record.getMessage()
    caplog.clear()
    open_image_cache(dataset, 32, cache)
    assert not caplog.records, "a sound one is opened without a word"


INDEX = [
    "",
    "{",
    "[]",
    "null",
    "[" * 100_000,
    json.dumps({"count": 24}),
    json.dumps({"count": 1e999, "files": {}}),
]


@pytest.mark.parametrize("text", INDEX, ids=lambda text: text[:12])
def test_an_index_that_is_none_is_built_anew(image_cache, dataset, cache, caplog, text):
    before = files(image_cache.folder)
    (image_cache.folder / "index.json").write_text(text)
    assert files(open_image_cache(dataset, 32, cache).folder) == before
    assert "index.json: " in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(count=23),
        lambda index: index.update(count=float("nan")),
        lambda index: index.update(canvas=10**30),
        lambda index: index.update(canvas="32"),
        lambda index: index.update(classes=["x", "z", "y"]),
        lambda index: index.update(classes=None),
        lambda index: index.update(bad={"x": 1}),
        lambda index: index.update(files=[]),
        lambda index: index["files"].pop("targets.i64"),
        lambda index: index["files"]["sizes.i64"].update(size=None),
        lambda index: index.pop("digest"),
    ],
)
def test_a_changed_index_is_built_anew(image_cache, dataset, cache, caplog, change):
    before = files(image_cache.folder)
    rewrite(image_cache.folder / "index.json", change)
    assert files(open_image_cache(dataset, 32, cache).folder) == before
    assert "index.json: " in caplog.text


def test_any_flipped_bit_is_noticed(image_cache):
    chance = random.Random(0)
    for path in image_cache.folder.iterdir():
        content = path.read_bytes()
        for bit in chance.sample(range(8 * len(content)), 40):
            flip(path, bit // 8, 1 << bit % 8)
            assert damage(image_cache.folder).startswith(f"{path.name}: "), (path.name, bit)
            path.write_bytes(content)
    assert damage(image_cache.folder) == ""


def test_sums_do_not_depend_on_how_the_bytes_come(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 10)
    content = bytes(range(95))
    wanted = b"".join(module._hash(content[i : i + 10]).digest() for i in range(0, 95, 10))
    for size in (1, 7, 10, 30, 95):
        with (tmp_path / "x").open("wb") as file:
            sums = BlockSums(file)
            for start in range(0, 95, size):
                sums.write(content[start : start + size])
        assert sums.sums() == wanted and (tmp_path / "x").read_bytes() == content


def test_of_many_blocks_both_ends_and_others_are_checked(dataset, cache, monkeypatch):
    """In a file of 72 blocks each inner one has three chances in seven; fifty openings miss none."""
    monkeypatch.setattr(module, "BLOCK", 1024)
    image_cache = open_image_cache(dataset, 32, cache)
    path = image_cache.folder / "images.u8"
    assert path.stat().st_size == 72 * 1024
    for place in (0, 71):
        flip(path, 1024 * place)
        assert damage(image_cache.folder) == f"images.u8: digest mismatch from byte {1024 * place:,} on"
        flip(path, 1024 * place)
    flip(path, 1024 * 30)
    assert any(damage(image_cache.folder) for _ in range(50))
    seen = [module._some(72) for _ in range(50)]
    assert all(len(blocks) == 32 and blocks[0] == 0 and blocks[-1] == 71 for blocks in seen)
    assert set().union(*seen) == set(range(72))
    assert module._some(0) == [] and module._some(32) == list(range(32))


def test_what_was_open_stays_as_it_was(image_cache, dataset, cache):
    """The files are replaced, not written over: another process that trains on them notices nothing."""
    before = image_cache.at(torch.arange(24))
    (image_cache.folder / "sizes.i64").unlink()
    assert open_image_cache(dataset, 32, cache).folder == image_cache.folder
    assert all(
        torch.equal(one, two) for one, two in zip(before, image_cache.at(torch.arange(24)), strict=True)
    )


@pytest.mark.parametrize("name", ["images.u8", "masks.u8", "targets.i64", "sizes.i64"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_file_that_is_cut_short_while_in_use_is_an_error(image_cache, monkeypatch, name, streamed):
    if streamed:
        monkeypatch.setattr("ssl_seg.data.loader.fits_on_device", lambda *_: False)
    feed = Loader(image_cache, 8, 0, CPU)
    feed.batch_at(0)
    os.truncate(image_cache.folder / name, 16)
    for read in (
        lambda: feed.batch_at(7),
        lambda: list(sequential_batches(image_cache, 8, CPU)),
        lambda: image_cache.masks_at(torch.arange(3)),
    ):
        with pytest.raises(ResourceError, match="changed while in use; it is rebuilt") as error:
            read()
        assert f"{image_cache.folder / name} has 16 bytes instead of" in error.value.where


def test_a_file_that_is_cut_between_the_look_and_the_reading(image_cache, monkeypatch):
    """No signal then either: what is read is not mapped."""
    os.truncate(image_cache.folder / "images.u8", 100)
    monkeypatch.setattr(image_cache, "check", lambda: None)
    with pytest.raises(ResourceError, match="changed while in use") as error:
        image_cache.at(torch.tensor([20]))
    assert "images.u8 has 100 bytes instead of 73,728" in error.value.where


CODE = """
import os, sys, torch
from pathlib import Path
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.errors import ResourceError

root = Path(sys.argv[1])
image_cache = open_image_cache(FileDataset(root, ((name, -1) for name in find_images(root))), 512, Path(sys.argv[2]))
feed = Loader(image_cache, 8, 0, torch.device("cpu"))
feed.batch_at(0)
for name in ("images.u8", "targets.i64", "sizes.i64"):
    os.truncate(image_cache.folder / name, 0)
try:
    feed.batch_at(1)
except ResourceError as error:
    print(error.where)
"""


def test_a_process_whose_cache_is_cut_short_does_not_die_of_a_signal(tmp_path, cache):
    """As training does: pages of the files that were not touched before are gone."""
    folder = tmp_path / "large"
    folder.mkdir()
    for index in range(24):
        pixels = np.random.default_rng(index).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(cache)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "images.u8 has 0 bytes instead of 4,718,592" in done.stdout
