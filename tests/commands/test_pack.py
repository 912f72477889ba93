"""`ssl-seg pack`, and training from what it has written."""

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_seg
from ssl_seg import load
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Loader
from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.methods.byol import BYOL
from ssl_seg.testing import TinyBackbone

TINY = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 8, "--cpu"]


@pytest.fixture
def shards(cli, photos, tmp_path):
    code, out, err = cli("pack", photos, "--out", tmp_path / "shards", "--canvas", 64)
    assert code == 0, err
    assert "24 images in 1 shard" in out
    return tmp_path / "shards"


def test_training_from_shards_is_training_from_their_pixels(tmp_path):
    """The same weights as from the same images in memory, in the same order."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 28, 3), dtype=np.uint8)
    (tmp_path / "files").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "files" / f"{index:02d}.png")
    ssl_seg.pack(str(tmp_path / "files"), tmp_path / "shards", quality=0, progress=False)
    shards = ShardDataset(tmp_path / "shards")
    in_memory = ssl_seg.Arrays(pixels[[int(name[:2]) for name, _ in shards.samples]])

    def weights(dataset, out):
        torch.manual_seed(0)
        method = BYOL(TinyBackbone(), hidden=32)
        ssl_seg.pretrain(
            method,
            dataset,
            out=tmp_path / out,
            epochs=2,
            batch_size=8,
            image_size=16,
            progress=False,
            cpu=True,
        )
        return method.state_dict()

    expected = weights(in_memory, "memory")
    for name, value in weights(shards, "packed").items():
        assert torch.equal(value, expected[name]), name


def test_classes_and_masks_come_along(cli, tmp_path):
    root = tmp_path / "labelled"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.full((32, 32, 3), 60 if name == "cat" else 180, np.uint8) + np.uint8(index)
            Image.fromarray(pixels).save(root / name / f"{index}.jpg")
    assert cli("pack", root, "--labels", "--out", tmp_path / "s")[0] == 0
    run = tmp_path / "classify"
    code, _, err = cli(
        "classify", f"shards:{tmp_path / 's'}", "--val", root, "--allow-overlap", *TINY, "--out", run
    )
    assert code == 0, err
    assert load(run / "model.safetensors")[1]["classes"] == ["cat", "dog"]
    assert cli("pack", "demo_masks:12", "--masks", "--out", tmp_path / "m")[0] == 0
    data = ["shards:" + str(tmp_path / "m"), "--val", "demo_masks:4"]
    code, _, err = cli(
        "segment", *data, "--head", "fcn32s", *TINY[:-1], "--cpu", "--out", tmp_path / "segment"
    )
    assert code == 0, err


def test_what_is_not_shards_is_refused(cli, photos, tmp_path):
    code, _, err = cli("train", f"shards:{photos}", *TINY, "--out", tmp_path / "run")
    assert code == 3 and "has no packed images" in err and "ssl-seg pack DATA --out" in err
    code, _, err = cli("pack", photos, "--out", photos)
    assert code == 9 and "holds other files" in err
    code, _, err = cli("pack", photos, "--out", tmp_path / "out", "-o", "data.range=0,4095")
    assert code == 2 and "data.range" in err


def test_batches_are_decoded_ahead_and_in_the_order_of_the_sampler(shards):
    cache = ImageCache(shards)
    loader = Loader(cache, 8, 3, torch.device("cpu"))
    for step in (0, 1, 5, 2):
        batch = loader.batch_at(step)
        assert torch.equal(batch.samples, loader.sampler.indices(step))
        assert torch.equal(batch.images, cache.at(batch.samples)[0])
