"""Data sets of torchvision on disk: what it reads itself, and no pickle."""

import struct

import numpy as np
import pytest
import torchvision.datasets

from ssl_seg.errors import DataError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.data import open_dataset


def opened(spec, **needs):
    return open_dataset(load_plugins().registry, str(spec), options={}, **needs)


@pytest.mark.parametrize("name", ["CIFAR10", "cifar100", "ImageNet"])
def test_what_is_pickled_is_not_opened(tmp_path, name):
    with pytest.raises(DataError, match="can run code; it was not opened") as caught:
        opened(f"torchvision:{name}:{tmp_path}")
    assert "image_folder:FOLDER" in caught.value.next


def test_mnist_is_what_torchvision_reads(tmp_path):
    folder, random = tmp_path / "MNIST" / "raw", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for kind, count in (("train", 5), ("t10k", 3)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes()
        )
        labels = np.arange(count, dtype=np.uint8)
        (folder / f"{kind}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )
    dataset = opened(f"torchvision:MNIST:{tmp_path}", labelled=True, split="train")
    source = torchvision.datasets.MNIST(tmp_path, train=True)
    assert len(dataset) == 5 and [target for _, target in dataset.samples] == source.targets.tolist()
    image, size = dataset.image(4, 64)
    assert size == (28, 28) and np.array_equal(image[..., 0], np.asarray(source[4][0]))
    assert len(opened(f"torchvision:MNIST:{tmp_path}", labelled=True, split="val")) == 3


@pytest.mark.parametrize("name", ["MNIST", "STL10", "EuroSAT"])
def test_what_is_not_there_is_not_downloaded(tmp_path, name):
    with pytest.raises(DataError) as caught:
        opened(f"torchvision:{name}:{tmp_path}")
    assert "download=True" in caught.value.next and {path.name for path in tmp_path.iterdir()} <= {"cache"}


@pytest.mark.parametrize("spec", ["torchvision:MNIST2:x", "torchvision:MNIST"])
def test_other_names_are_refused_with_those_that_are_known(spec):
    with pytest.raises(UsageError) as caught:
        opened(spec)
    assert "FashionMNIST" in caught.value.next
