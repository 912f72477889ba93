"""Data sets of torchvision on disk: what it reads itself, without its trust in pickles."""

import os
import pickle
import struct

import numpy as np
import pytest
import torchvision.datasets

from ssl_seg.errors import DataError, UsageError
from ssl_seg.plugins import load_plugins
from ssl_seg.workflows.data import open_dataset

NAMES = ["plane", "car", "bird"]


def opened(spec, **needs):
    return open_dataset(load_plugins().registry, str(spec), options={}, **needs)


def cifar(root, protocol=2):
    folder, random = root / "cifar-10-batches-py", np.random.default_rng(0)
    folder.mkdir(parents=True)
    written = {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        part = {"data": random.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 1]}
        (folder / name).write_bytes(pickle.dumps(part, protocol))
        written[name] = part["data"].reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol))
    return written


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_has_its_labels_and_pixels(tmp_path, protocol):
    written = cifar(tmp_path, protocol)
    train = opened(f"torchvision:CIFAR10:{tmp_path}", labelled=True)
    assert list(train.classes) == NAMES and len(train) == 20
    assert np.array_equal(train.image(6, 64)[0], written["data_batch_2"][2])
    assert [target for _, target in train.samples][:4] == [0, 1, 2, 1]
    test = opened(f"torchvision:cifar10:{tmp_path}", labelled=True, split="val")
    assert np.array_equal(test.image(3, 64)[0], written["test_batch"][3])


def test_a_pickle_that_would_run_code_runs_none(tmp_path):
    cifar(tmp_path)

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps({"data": Evil()}))
    with pytest.raises(DataError, match=r"asks for (posix|os)\.system"):
        opened(f"torchvision:CIFAR10:{tmp_path}")
    assert not (tmp_path / "ran").exists()


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


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "STL10", "EuroSAT"])
def test_what_is_not_there_is_not_downloaded(tmp_path, name):
    with pytest.raises(DataError) as caught:
        opened(f"torchvision:{name}:{tmp_path}")
    assert "download=True" in caught.value.next and {path.name for path in tmp_path.iterdir()} <= {"cache"}


@pytest.mark.parametrize("spec", ["torchvision:CIFAR11:x", "torchvision:CIFAR10", "torchvision:ImageNet:x"])
def test_other_names_are_refused_with_those_that_are_known(spec):
    with pytest.raises(UsageError) as caught:
        opened(spec)
    assert "CIFAR100" in caught.value.next
