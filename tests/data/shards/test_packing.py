import io
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.data import image_cache as image_cache_module
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.shards import packing
from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.data.shards.packing import PackOptions, pack
from ssl_seg.errors import DataError, ResourceError
from ssl_seg.utils.lock import try_lock

COUNT, LIMIT = 40, 48
SMALL = PackOptions(limit=LIMIT, shard_bytes=20_000)


@pytest.fixture
def folder(tmp_path):
    """Photographs of several sizes: JPEG files that fit, one that does not, and a PNG file."""
    root = tmp_path / "photos"
    root.mkdir()
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 256, (20 + index % 7, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index:03d}.jpg", quality=80)
    Image.fromarray(np.zeros((100, 90, 3), np.uint8)).save(root / "large.jpg")
    Image.fromarray(np.full((30, 30, 3), 7, np.uint8)).save(root / "flat.png")
    return root


def photos(root):
    return FileDataset(
        root, ((name, index % 3) for index, name in enumerate(find_images(root))), ("x", "y", "z")
    )


def packed(root, out, options=SMALL, **named):
    pack(photos(root), out, options, out.parent / "cache", **named)
    return out


def content(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_packed_images_are_those_of_an_image_cache(folder, tmp_path):
    """JPEG files that fit are kept; so pixels, labels and digests are the same, in another order."""
    dataset = ShardDataset(packed(folder, tmp_path / "out"))
    shards = ImageCache(dataset.folder)
    raw_dataset = photos(folder)
    raw = open_image_cache(raw_dataset, LIMIT, tmp_path / "cache")
    names = {name: index for index, (name, _) in enumerate(raw_dataset.samples)}
    order = torch.tensor([names[name] for name, _ in dataset.samples])
    assert sorted(order.tolist()) == list(range(COUNT + 2)) and order.tolist() != sorted(order.tolist())
    assert len(dataset.index["shards"]) > 3 and shards.classes == raw.classes == ["x", "y", "z"]
    assert torch.equal(shards.targets, raw.targets[order]) and torch.equal(shards.sizes, raw.sizes[order])
    assert torch.equal(shards.digests, raw.digests[order])
    images, expected = shards.at(torch.arange(len(shards)))[0], raw.at(order)[0]
    encoded = [index for index, (name, _) in enumerate(dataset.samples) if name in ("large.jpg", "flat.png")]
    kept = [index for index in range(len(shards)) if index not in encoded]
    assert torch.equal(images[kept], expected[kept])
    assert (images[encoded].int() - expected[encoded].int()).abs().max() < 4  # JPEG of one color


def test_lossless_shards_have_exactly_the_pixels(folder, tmp_path):
    dataset = ShardDataset(packed(folder, tmp_path / "out", PackOptions(limit=LIMIT, quality=0)))
    raw = open_image_cache(photos(folder), LIMIT, tmp_path / "cache")
    order = torch.tensor(
        [sorted(name for name, _ in dataset.samples).index(name) for name, _ in dataset.samples]
    )
    assert [photos(folder).samples[row] for row in order.tolist()] == list(dataset.samples)
    assert torch.equal(ImageCache(dataset.folder).at(torch.arange(COUNT + 2))[0], raw.at(order)[0])


def test_members_are_grouped_as_webdataset_does(folder, tmp_path):
    out = packed(folder, tmp_path / "out")
    samples = {}
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".", 1)
                samples.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    dataset = ShardDataset(out)
    assert [int(key) for key in samples] == list(range(COUNT + 2))
    for sample, (name, target) in zip(samples.values(), dataset.samples, strict=True):
        assert set(sample) == {"jpg", "cls"} and int(sample["cls"]) == target
        original = folder / name
        if original.suffix == ".jpg" and name != "large.jpg":
            assert sample["jpg"] == original.read_bytes()
        assert max(Image.open(io.BytesIO(sample["jpg"])).size) <= LIMIT


class _Killed(BaseException):
    pass


def test_packing_goes_on_where_it_was_stopped_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = content(packed(folder, tmp_path / "whole"))
    real, num_steps = packing.encode, 0

    def encode(*arguments):
        nonlocal num_steps
        num_steps -= 1
        if num_steps < 0:
            raise _Killed
        return real(*arguments)

    for moment in range(20):
        num_steps, out = (
            44 + 2 * moment,
            tmp_path / f"out-{moment}",
        )  # the first 42 find the length of a shard
        with monkeypatch.context() as patch, pytest.raises(_Killed):
            patch.setattr(packing, "encode", encode)
            packed(folder, out)
        assert not (out / "index.json").exists()
        assert content(packed(folder, out)) == whole


def test_complete_shards_are_not_made_again(folder, tmp_path, monkeypatch):
    out = packed(folder, tmp_path / "out")
    before = content(out)
    monkeypatch.setattr(packing, "write_shard", None)
    assert content(packed(folder, out)) == before


def test_only_the_shard_of_a_changed_image_is_made_again(folder, tmp_path):
    out = packed(folder, tmp_path / "out")
    names = [name for name, _ in ShardDataset(out).samples]
    before = content(out)
    Image.fromarray(np.full((20, 40, 3), 200, np.uint8)).save(folder / "007.jpg")
    after = content(packed(folder, out))
    changed = [name for name in after if name.endswith(".tar") and after[name] != before.get(name)]
    assert len(changed) == 1
    row = names.index("007.jpg")
    assert ImageCache(out).at(torch.tensor([row]))[0][0, :, 5, 5].tolist() == [200, 200, 200]


def test_fewer_images_leave_no_old_shard(folder, tmp_path):
    out = packed(folder, tmp_path / "out")
    for path in sorted(folder.glob("0*.jpg"))[5:]:
        path.unlink()
    packed(folder, out)
    dataset = ShardDataset(out)
    assert len(dataset) == 7 and len(list(out.glob("*.tar"))) == len(dataset.index["shards"])


def test_two_packers_share_the_work(folder, tmp_path):
    alone = content(packed(folder, tmp_path / "alone"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: packed(folder, tmp_path / "both"), range(2)))
    assert content(tmp_path / "both") == alone


def test_a_packer_that_hangs_is_not_waited_for_without_end(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "1")
    out = packed(folder, tmp_path / "out")
    with (out / ".locks" / "shard-000001").open("a+") as lock:
        assert try_lock(lock)
        with pytest.raises(ResourceError, match="timeout: another process packs shard-000001"):
            packed(folder, out)


def test_unreadable_images_stop_or_are_left_out(folder, tmp_path):
    (folder / "005.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="1 of 42 images are unreadable") as caught:
        packed(folder, tmp_path / "out")
    assert "005.jpg" in caught.value.where and not (tmp_path / "out" / "index.json").exists()
    packed(folder, tmp_path / "out", skip=True)
    names = {name for name, _ in ShardDataset(tmp_path / "out").samples}
    assert len(names) == COUNT + 1 and "005.jpg" not in names


@pytest.mark.parametrize("name", ["members.i64", "sizes.i64", "names.bin", "index.json"])
def test_a_damaged_index_is_refused(folder, tmp_path, name):
    out = packed(folder, tmp_path / "out")
    path = out / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged") as caught:
        ShardDataset(out)
    assert name in caught.value.where
    packed(folder, out)
    assert len(ShardDataset(out)) == COUNT + 2


def test_a_damaged_shard_is_noticed_when_it_is_read(folder, tmp_path):
    out = packed(folder, tmp_path / "out")
    shards = ImageCache(out)
    path = out / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    with pytest.raises(ResourceError, match="damaged") as caught:
        shards.at(torch.tensor([0]))
    assert "shard-000000.tar" in caught.value.where
    path.write_bytes(data[:-1])
    with pytest.raises(DataError, match="bytes instead of"):
        ShardDataset(out)


def test_a_part_of_the_packed_images_gets_an_image_cache(folder, tmp_path):
    from ssl_seg.data.subset import Subset

    dataset = ShardDataset(packed(folder, tmp_path / "out"))
    part = open_image_cache(Subset(dataset, [3, 1]), LIMIT, tmp_path / "cache")
    whole = ImageCache(dataset.folder)
    height, width = whole.sizes[3].tolist()
    assert part.sizes.tolist() == whole.sizes[[3, 1]].tolist()
    assert torch.equal(
        part.at(torch.tensor([0]))[0][..., :height, :width],
        whole.at(torch.tensor([3]))[0][..., :height, :width],
    )


def test_packing_reads_nothing_of_an_image_cache(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache_module, "build_cache", None)
    out = packed(folder, tmp_path / "out")
    assert len(ImageCache(out).at(torch.arange(5))[0]) == 5


KILLED = """
import os, signal, sys, time
from pathlib import Path
from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.data.shards.packing import PackOptions, pack

root, whole, out = map(Path, sys.argv[1:])
images = ((name, index % 3) for index, name in enumerate(find_images(root)))
dataset = FileDataset(root, images, ("x", "y", "z"))

def run(folder):
    pack(dataset, folder, PackOptions(limit=48, shard_bytes=20_000), folder.parent / "cache")

child = os.fork()
if not child:
    started = time.perf_counter()
    run(whole)
    Path(f"{whole}.seconds").write_text(str(time.perf_counter() - started))
    os._exit(0)
os.waitpid(child, 0)
seconds, killed = float(Path(f"{whole}.seconds").read_text()), 0
for moment in range(20):
    child = os.fork()
    if not child:
        run(out / str(moment))
        os._exit(0)
    time.sleep(seconds * (moment + 0.5) / 20)
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    child = os.fork()
    if not child:
        run(out / str(moment))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(killed)
"""


@pytest.mark.slow
def test_a_packer_that_is_killed_at_twenty_moments_ends_with_the_same_bytes(folder, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    out.mkdir()
    words = [sys.executable, "-c", KILLED, *map(str, (folder, whole, out))]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert int(done.stdout) >= 10
    expected = content(whole)
    for moment in out.iterdir():
        if moment.name != "cache":
            assert content(moment) == expected


def test_a_run_is_not_resumed_with_another_decoder(cli, folder, tmp_path):
    out = packed(folder, tmp_path / "out")
    short = ["--ssl", "simclr", "--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--cpu"]
    run = tmp_path / "run"
    code, _, err = cli("train", f"shards:{out}", *short, "--epochs", 1, "--out", run)
    assert code == 0, err
    text = (run / "run.toml").read_text()
    assert 'decoder = "pillow"' in text
    (run / "run.toml").write_text(text.replace('decoder = "pillow"', 'decoder = "another"'))
    shutil.rmtree(run / "checkpoints")  # they hold the settings, too
    code, _, err = cli("train", "--resume", "--out", run)
    assert code == 2 and "decoded by another when the run was started, now by pillow" in err, err
