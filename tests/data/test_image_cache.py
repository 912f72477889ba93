import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.data import cache_builder as building
from ssl_seg.data import image_cache as module
from ssl_seg.data.canvases import reduced
from ssl_seg.data.decode import read_image
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import fingerprint, open_image_cache
from ssl_seg.errors import DataError, ResourceError, Stopped

CANVAS = 32


class Photos(FileDataset):
    """The images below a folder, the class of each being its number modulo three."""

    def __init__(self, root, classes=("x", "y", "z")):
        super().__init__(root, ((n, i % 3) for i, n in enumerate(find_images(root))), classes)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def no_decoding(monkeypatch):
    """Whoever decodes after this has been called fails."""

    def decode(*_):
        raise AssertionError("an image was decoded")

    return lambda: monkeypatch.setattr("ssl_seg.data.files.read_image", decode)


def left(cache):
    """What lies in the cache, but for locks and the digests of files."""
    return sorted(path.name for path in cache.glob("*") if path.suffix not in (".lock", ".table"))


def test_pixels_sizes_and_targets(photos, cache):
    dataset = Photos(photos)
    image_cache = open_image_cache(dataset, CANVAS, cache)
    assert len(image_cache) == 24 and image_cache.images.shape == (24, 3, CANVAS, CANVAS)
    assert image_cache.images.dtype == torch.uint8 and image_cache.canvas == CANVAS
    assert image_cache.classes == ["x", "y", "z"] and image_cache.num_skipped == 0
    assert image_cache.sample_indices.tolist() == list(range(24))
    assert image_cache.targets.tolist() == [target for _, target in dataset.samples]
    for row in range(24):
        image, _ = reduced(dataset, row, CANVAS)
        height, width = image.shape[:2]
        assert image_cache.sizes[row].tolist() == [height, width]
        (seen,) = image_cache.at(torch.tensor([row]))[0]
        assert np.array_equal(seen[:, :height, :width], image.transpose(2, 0, 1))
        assert not seen[:, height:].any() and not seen[:, :, width:].any()


def test_equal_pictures_have_equal_digests_and_others_have_others(photos, cache):
    first = min(photos.rglob("*.jpg"))
    (first.parent / "copy.jpg").write_bytes(first.read_bytes())
    image_cache = open_image_cache(Photos(photos), CANVAS, cache)
    pictures = [image_cache.images[row].numpy().tobytes() for row in range(len(image_cache))]
    digests = image_cache.digests.tolist()
    assert len(set(digests)) == len(set(pictures)) == 24 and len(image_cache) == 25
    for one in range(25):
        for two in range(25):
            assert (digests[one] == digests[two]) == (pictures[one] == pictures[two])


def test_digests_of_two_stores_can_be_compared(photos, tmp_path, cache):
    """Whatever else is in them: their canvases differ, and what is equal is a picture."""
    few = tmp_path / "few"
    few.mkdir()
    dataset = Photos(photos)
    smallest = min(range(24), key=lambda index: max(dataset.size(index)))
    shutil.copy(photos / dataset.samples[smallest][0], few / "copy.jpg")
    one, two = open_image_cache(dataset, 64, cache), open_image_cache(Photos(few), 64, cache)
    assert one.canvas != two.canvas and torch.isin(one.digests, two.digests).sum() == 1


def test_a_smaller_picture_on_an_equal_canvas_is_another(tmp_path, cache):
    for name, size in (("a", (8, 4)), ("b", (4, 8)), ("c", (8, 8))):  # all black, as the canvas is
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    image_cache = open_image_cache(Photos(tmp_path), CANVAS, cache)
    assert len(set(image_cache.digests.tolist())) == 3


class Masked(Photos):
    """The mask of a photo is its red channel modulo five."""

    masks = True

    def mask(self, index, canvas):
        return self.image(index, canvas)[0][:, :, 0] % 5


def test_masks_lie_beside_their_pictures(photos, cache):
    dataset = Masked(photos)
    image_cache = open_image_cache(dataset, CANVAS, cache)
    assert image_cache.masks.shape == (24, CANVAS, CANVAS) and image_cache.masks.dtype == torch.uint8
    for row in range(24):
        height, width = image_cache.sizes[row].tolist()
        (image,), (mask,) = image_cache.at(torch.tensor([row]))
        assert torch.equal(mask[:height, :width], image[0, :height, :width] % 5)
        assert (mask[height:] == 255).all() and (mask[:, width:] == 255).all()
        assert torch.equal(image_cache.masks_at(torch.tensor([row]))[0], mask)
    assert open_image_cache(Photos(photos), CANVAS, cache / "other").masks is None


def test_a_mask_of_another_size_is_a_bad_image(photos, cache, monkeypatch):
    monkeypatch.setattr(Masked, "mask", lambda self, index, canvas: np.zeros((3, 4), np.uint8))
    with pytest.raises(DataError, match="24 of 24 images are unreadable") as error:
        open_image_cache(Masked(photos), CANVAS, cache)
    assert "the mask is 3 x 4, the image" in error.value.where


def test_the_second_opening_decodes_nothing(photos, cache, no_decoding):
    first = open_image_cache(Photos(photos), CANVAS, cache)
    no_decoding()
    second = open_image_cache(Photos(photos), CANVAS, cache)
    assert torch.equal(first.images, second.images) and second.fingerprint == first.fingerprint
    assert second.classes == first.classes and torch.equal(first.targets, second.targets)
    with pytest.raises(AssertionError, match="decoded"):
        open_image_cache(Photos(photos), CANVAS + 1, cache)


def test_writing_into_an_open_store_does_not_reach_the_file(photos, cache):
    open_image_cache(Photos(photos), CANVAS, cache).images.zero_()
    assert open_image_cache(Photos(photos), CANVAS, cache).images.any()


def test_a_cache_whose_name_is_no_unicode(photos, tmp_path):
    cache = tmp_path / "c\udcff"
    made = open_image_cache(Photos(photos), CANVAS, cache)
    assert left(cache) and torch.equal(open_image_cache(Photos(photos), CANVAS, cache).images, made.images)


def test_many_blocks(photos, cache, monkeypatch):
    """More images than one block of decoding, and a last block that is not full."""
    whole = open_image_cache(Photos(photos), CANVAS, cache)
    monkeypatch.setattr(building, "_BLOCK", 5)
    ticks = []
    cut = open_image_cache(
        Photos(photos), CANVAS, cache / "other", on_progress=lambda *done: ticks.append(done)
    )
    assert torch.equal(whole.images, cut.images)
    assert ticks == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_number_of_threads_changes_no_byte(photos, cache):
    one = open_image_cache(Photos(photos), CANVAS, cache / "1", threads=1)
    many = open_image_cache(Photos(photos), CANVAS, cache / "8", threads=8)
    assert files(one.folder) == files(many.folder)


def change(path):
    stat = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_the_fingerprint_changes_with(photos):
    first = min(photos.rglob("*.jpg"))
    seen = [fingerprint(Photos(photos), CANVAS, "stop")]
    assert seen[0] == fingerprint(Photos(photos), CANVAS, "stop")
    seen.append(fingerprint(Photos(photos), CANVAS + 1, "stop"))
    seen.append(fingerprint(Photos(photos), CANVAS, "skip"))
    seen.append(fingerprint(Photos(photos, ("x", "y", "w")), CANVAS, "stop"))
    relabelled = FileDataset(photos, ((name, 0) for name in find_images(photos)), ("x", "y", "z"))
    seen.append(fingerprint(relabelled, CANVAS, "stop"))
    for act in (
        lambda: change(first),
        lambda: first.rename(first.with_name("renamed.jpg")),
        lambda: shutil.copy(photos / "a" / "003.jpg", photos / "a" / "new.jpg"),
        lambda: (photos / "a" / "005.jpg").unlink(),
    ):
        act()
        seen.append(fingerprint(Photos(photos), CANVAS, "stop"))
    assert len(set(seen)) == len(seen)


def test_a_copy_or_a_moved_folder_finds_the_store(photos, cache, tmp_path, no_decoding):
    """Whatever the dates: `cp -r` gives new ones."""
    image_cache = open_image_cache(Photos(photos), CANVAS, cache)
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copyfile)
    for path in (tmp_path / "copy").rglob("*.jpg"):
        os.utime(path, (1, 1))
    photos.rename(tmp_path / "moved")
    no_decoding()
    for folder in ("copy", "moved"):
        assert (
            open_image_cache(Photos(tmp_path / folder), CANVAS, cache).fingerprint == image_cache.fingerprint
        )


def test_a_changed_image_is_decoded_anew(photos, cache):
    before = open_image_cache(Photos(photos), CANVAS, cache)
    Image.new("RGB", (30, 30), "blue").save(photos / "a" / "001.jpg")
    after = open_image_cache(Photos(photos), CANVAS, cache)
    assert after.fingerprint != before.fingerprint
    assert after.images[0, 2, 5, 5] > 240 and after.images[0, 0, 5, 5] < 15


BAD = {
    "010-empty.jpg": "the file is empty",
    "020-text.png": "not an image, or an unsupported format",
    "100-noise.jpg": "",
    "195-short.jpg": "",
}


@pytest.fixture
def among_200(tmp_path):
    """Two hundred images, four of which cannot be read."""
    folder = tmp_path / "many"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(196):
        colour = tuple(int(part) for part in random.integers(0, 256, 3))
        Image.new("RGB", (12, 10), colour).save(folder / f"{index:03d}.jpg")
    (folder / "010-empty.jpg").touch()
    (folder / "020-text.png").write_text("not found")
    content = (folder / "000.jpg").read_bytes()
    (folder / "100-noise.jpg").write_bytes(content[:20] + random.bytes(len(content)))
    Image.fromarray(random.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(folder / "195-short.jpg")
    (folder / "195-short.jpg").write_bytes((folder / "195-short.jpg").read_bytes()[:-900])
    return folder


def test_bad_images_are_named(among_200, cache):
    with pytest.raises(DataError, match="4 of 200 images are unreadable") as error:
        open_image_cache(Photos(among_200), CANVAS, cache)
    for name, why in BAD.items():
        assert f"{name}: {why}" in error.value.where
    assert "skip" in error.value.next
    assert left(cache) == []


def test_bad_images_can_be_left_out(among_200, cache):
    dataset = Photos(among_200)
    image_cache = open_image_cache(dataset, CANVAS, cache, bad_images="skip")
    assert image_cache.num_skipped == 4 and len(image_cache) == 196 == len(image_cache.images) == len(
        image_cache.targets
    )
    kept = [dataset.samples[row] for row in image_cache.sample_indices.tolist()]
    assert not BAD.keys() & {name for name, _ in kept}
    assert image_cache.targets.tolist() == [target for _, target in kept]
    for row, (name, _) in enumerate(kept):
        assert np.array_equal(image_cache.images[row, :, 3, 3], read_image(among_200 / name, CANVAS)[0][3, 3])
    index = json.loads((image_cache.folder / "index.json").read_text())
    assert len(index["bad"]) == 4


def test_of_many_bad_images_a_few_are_named(tmp_path, cache):
    for index in range(40):
        (tmp_path / f"{index:02d}.jpg").touch()
    with pytest.raises(DataError, match="40 of 40") as error:
        open_image_cache(Photos(tmp_path), CANVAS, cache)
    assert "and 35 more" in error.value.where and len(error.value.where.splitlines()) == 6
    with pytest.raises(DataError, match="all images are unreadable"):
        open_image_cache(Photos(tmp_path), CANVAS, cache, bad_images="skip")
    assert left(cache) == []


def test_a_build_that_raises_leaves_nothing(photos, cache, no_decoding):
    def stop(done, total):
        raise Stopped(15)

    with pytest.raises(Stopped):
        open_image_cache(Photos(photos), CANVAS, cache, on_progress=stop)
    assert left(cache) == []
    no_decoding()
    with pytest.raises(AssertionError, match="decoded"):
        open_image_cache(Photos(photos), CANVAS, cache)
    assert left(cache) == []


def test_too_small_a_disk_is_told_before_the_work(photos, cache, monkeypatch, no_decoding):
    usage = namedtuple("usage", "total used free")
    need = 24 * 3 * CANVAS * CANVAS
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - need + 1, need - 1))
    no_decoding()
    with pytest.raises(ResourceError, match="needs 72 KiB, but only 72 KiB is free") as error:
        open_image_cache(Photos(photos), CANVAS, cache)
    assert str(cache) in error.value.where
    assert "--cache" in error.value.next and "ssl-seg pack" in error.value.next
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, need))
    with pytest.raises(AssertionError, match="decoded"):
        open_image_cache(Photos(photos), CANVAS, cache)


def test_a_disk_that_fills_up(photos, cache, monkeypatch):
    def sync(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(building, "_sync", sync)
    with pytest.raises(ResourceError, match="No space left on device") as error:
        open_image_cache(Photos(photos), CANVAS, cache)
    assert error.value.where == str(cache)
    assert left(cache) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full(photos, cache, monkeypatch):
    monkeypatch.setattr(building, "_create_file", lambda path: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(ResourceError, match="No space left on device"):
        open_image_cache(Photos(photos), CANVAS, cache)
    assert left(cache) == []


def test_a_cache_that_cannot_be_made(photos, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write the image cache") as error:
        open_image_cache(Photos(photos), CANVAS, tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in error.value.where


SLOW = """
import sys, time
from pathlib import Path
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import open_image_cache

class Slow(FileDataset):
    def image(self, index, canvas):
        Path(sys.argv[3]).touch()
        time.sleep(float(sys.argv[4]))
        return super().image(index, canvas)

root = Path(sys.argv[1])
open_image_cache(Slow(root, ((name, -1) for name in find_images(root))), 32, Path(sys.argv[2]), threads=1)
"""


def test_a_killed_build_leaves_no_store_and_is_swept(photos, tmp_path, cache):
    """Also if the next build is of another store; one that is still being built is left alone."""
    mark = tmp_path / "mark"
    command = [sys.executable, "-c", SLOW, str(photos), str(cache), str(mark), "600"]
    with subprocess.Popen(command) as process:
        try:
            while not mark.exists():
                assert process.poll() is None
                time.sleep(0.02)
            half = [name for name in left(cache) if ".tmp-" in name]
            assert len(half) == 1 and len(left(cache)) == 1
            other = open_image_cache(Photos(photos / "a"), CANVAS, cache)
            assert left(cache) == sorted([*half, other.fingerprint])
        finally:
            process.send_signal(signal.SIGKILL)
    another = open_image_cache(Photos(photos / "b"), CANVAS, cache)
    assert left(cache) == sorted([other.fingerprint, another.fingerprint])


def test_the_leftover_of_the_same_store_and_a_store_without_index_are_replaced(photos, cache):
    whole = open_image_cache(Photos(photos), CANVAS, cache)
    expected = files(whole.folder)
    (whole.folder / "index.json").unlink()
    shutil.copytree(whole.folder, cache / f".{whole.fingerprint}.tmp-1-ab")
    again = open_image_cache(Photos(photos), CANVAS, cache)
    assert files(again.folder) == expected and left(cache) == [again.fingerprint]


def test_builders_at_the_same_time_build_once(photos, cache):
    """Four threads that hold locks of their own, as processes do."""

    class Counting(Photos):
        def image(self, index, canvas):
            decoded.append(index)
            return super().image(index, canvas)

    decoded, waiting = [], []
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(
                open_image_cache,
                Counting(photos),
                64,
                cache,
                on_progress=lambda done, _: waiting.append(done),
            )
            for _ in range(4)
        ]
        image_caches = [future.result() for future in asked]
    assert sorted(decoded) == list(range(24))
    assert all(torch.equal(image_cache.images, image_caches[0].images) for image_cache in image_caches)
    assert left(cache) == [image_caches[0].fingerprint]


@pytest.mark.slow
def test_two_processes_at_the_same_time(photos, tmp_path, cache):
    commands = [
        [sys.executable, "-c", SLOW, str(photos), str(cache), str(tmp_path / f"mark{number}"), "0.05"]
        for number in range(2)
    ]
    both = [subprocess.Popen(command) for command in commands]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(left(cache)) == 1
    dataset = FileDataset(photos, ((name, -1) for name in find_images(photos)))
    assert open_image_cache(dataset, CANVAS, cache).fingerprint == left(cache)[0]


def test_a_builder_that_is_frozen_is_not_waited_for(photos, cache, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.5")
    dataset = Photos(photos)
    folder = cache / fingerprint(dataset, CANVAS, "stop")
    cache.mkdir()
    with module.build_lock(folder, lambda: None), pytest.raises(ResourceError) as error:
        open_image_cache(dataset, CANVAS, cache)
    assert (
        error.value.what == "timeout: another process is building the image cache, without progress for 0 s"
    )
    assert f"pid {os.getpid()} on " in error.value.where and "--cache" in error.value.next
    assert len(open_image_cache(dataset, CANVAS, cache)) == 24


def test_a_builder_that_writes_is_waited_for(photos, cache, monkeypatch):
    """However long it takes; here for thrice the patience."""
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.5")
    dataset, looks = Photos(photos), []
    folder = cache / fingerprint(dataset, CANVAS, "stop")
    part = cache / f".{folder.name}.tmp-1-ab" / "images.u8"
    part.parent.mkdir(parents=True)

    def write(done, total):
        looks.append(done)
        part.write_bytes(b"0" * len(looks))
        if len(looks) == 8:
            raise Stopped(2)

    with module.build_lock(folder, lambda: None), pytest.raises(Stopped):
        open_image_cache(dataset, CANVAS, cache, on_progress=write)


def test_one_who_waits_can_be_stopped(photos, cache):
    """While another builds, `on_progress` is called, and may raise."""
    dataset = Photos(photos)
    folder = cache / fingerprint(dataset, CANVAS, "stop")
    cache.mkdir()

    def stop(done, total):
        assert (done, total) == (0, 24)
        raise Stopped(2)

    with module.build_lock(folder, lambda: None), pytest.raises(Stopped):
        open_image_cache(dataset, CANVAS, cache, on_progress=stop)


def test_odd_names_and_classes(tmp_path, cache):
    name = os.fsdecode(b"caf\xe9.jpg")
    with (tmp_path / name).open("wb") as file:
        Image.new("RGB", (9, 9), "red").save(file, "PNG")
    image_cache = open_image_cache(Photos(tmp_path, (os.fsdecode(b"\xff"), "日本")), CANVAS, cache)
    assert len(image_cache) == 1 and image_cache.classes == [os.fsdecode(b"\xff"), "日本"]


def test_the_canvas_is_no_larger_than_the_largest_picture(photos, tmp_path, cache):
    dataset = Photos(photos)
    sizes = [dataset.size(index) for index in range(24)]
    longest = max(map(max, sizes))
    assert 40 < longest < 64
    image_cache = open_image_cache(dataset, 64, cache)
    assert image_cache.canvas == longest and image_cache.sizes.tolist() == [list(size) for size in sizes]
    assert open_image_cache(dataset, longest, cache).canvas == longest
    assert open_image_cache(dataset, 32, cache).canvas == 32


@pytest.mark.parametrize(
    ("size", "canvas"), [((30, 40), 35), ((32, 20), 26), ((10, 60), 25), ((300, 400), 56)]
)
def test_the_largest_of_many_pictures_counts(tmp_path, cache, size, canvas):
    """Not the largest of those that are looked at first: what is kept of an image depends on no other.

    The canvases are as large as its pixels need, no larger than the sides of the others.
    """
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(300):
        shape = size if index == 7 else (12, 20)
        Image.new("RGB", shape[::-1], "red").save(folder / f"{index:03d}.png")
    dataset = Photos(folder)
    image_cache = open_image_cache(dataset, 64, cache)
    image, _ = reduced(dataset, 7, 64)
    assert image_cache.canvas == canvas and image_cache.sizes[7].tolist() == list(image.shape[:2])
    (seen,) = image_cache.at(torch.tensor([7]))[0]
    assert np.array_equal(seen, image.transpose(2, 0, 1))
    for rows in (torch.tensor([7]), torch.tensor([6, 7, 8])):
        batch, sizes = image_cache.at(rows)[0], image_cache.sizes[rows]
        assert batch.shape[-2:] == tuple(sizes.amax(dim=0).tolist())
