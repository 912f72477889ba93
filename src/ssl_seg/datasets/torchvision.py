"""Data sets that torchvision has put on this disk; never downloaded, and never unpickled."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ssl_seg.base import Dataset
from ssl_seg.errors import DataError, UsageError, did_you_mean
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded

# what torchvision reads without unpickling, and how it is told the split
_BY_FLAG = ("MNIST", "FashionMNIST", "KMNIST", "USPS")
_BY_NAME = (
    "STL10",
    "SVHN",
    "GTSRB",
    "Food101",
    "Flowers102",
    "DTD",
    "FGVCAircraft",
    "OxfordIIITPet",
    "Country211",
)
_WHOLE = ("EuroSAT", "Caltech101", "SUN397")
_OTHER_NAMES = {"OxfordIIITPet": {"train": "trainval"}, "Country211": {"val": "valid"}}
_PICKLED = ("CIFAR10", "CIFAR100", "ImageNet", "CelebA", "Places365")
_NAMES = (*_BY_FLAG, *_BY_NAME, *_WHOLE)


class TorchvisionDataset(Dataset):
    """A data set of torchvision, with a label for each image.

    Args:
        source: of `torchvision.datasets`.
        name: for messages and the cache.
        targets: class index of each image.
    """

    def __init__(self, source: Any, name: str, targets: Sequence[int], classes: Sequence[str]) -> None:
        self._source, self._name, self.classes = source, name, list(classes)
        self.samples = [(f"{name}-{index:06d}", int(target)) for index, target in enumerate(targets)]

    def identity(self, index: int) -> str:
        """Changes with the pixels."""
        return f"{self._name} {hashlib.sha256(self._pixels(index).tobytes()).hexdigest()}"

    def size(self, index: int) -> tuple[int, int]:
        height, width, _ = self._pixels(index).shape
        return height, width

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        pixels = self._pixels(index)
        image = Image.fromarray(pixels)
        image.thumbnail((canvas, canvas), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.asarray(image), (pixels.shape[0], pixels.shape[1])

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        try:
            return np.asarray(self._source[index][0].convert("RGB"))
        except Exception as error:  # decoders raise many kinds
            raise ValueError(str(error) or type(error).__name__) from error


def torchvision(root: str, split: str) -> Dataset:
    """A data set that torchvision has written: `torchvision:STL10:FOLDER`, where FOLDER is its `root`.

    MNIST, FashionMNIST, KMNIST, USPS, STL10, SVHN, GTSRB, Food101, Flowers102, DTD, FGVCAircraft,
    OxfordIIITPet, Country211, EuroSAT, Caltech101, SUN397.

    Args:
        root: name and folder.
        split: `train` (the default), `val` or `test`, as far as the data set has it; `val` may be its test images.

    Raises:
        UsageError: no such name. DataError: it is not in the folder, its files are damaged, or it is pickled as CIFAR is.
    """
    name, _, location = root.partition(":")
    if name.lower() in {each.lower() for each in _PICKLED}:
        raise DataError(
            f"{name} of torchvision is read by unpickling, which can run code; it was not opened",
            next="write its images into a folder for each class: image_folder:FOLDER; docs/data.md has the lines",
        )
    known = {each.lower(): each for each in _NAMES}
    if name.lower() not in known or not location:
        what = (
            f"no data set {name!r} of torchvision{did_you_mean(name, _NAMES)}"
            if name.lower() not in known
            else "no folder"
        )
        raise UsageError(what, next=f"torchvision:NAME:FOLDER with one of {', '.join(_NAMES)}")
    name, folder = known[name.lower()], expanded(location)
    source = _opened(name, folder, split or "train")
    targets = _targets(source)
    named: Any = getattr(source, "classes", None) or getattr(source, "categories", ())
    classes = [str(each) for each in named]
    highest = max(targets, default=-1)
    if len(classes) <= highest:
        classes = [str(number) for number in range(highest + 1)]
    return TorchvisionDataset(source, f"{name} {split or 'train'}", targets, classes)


def _opened(name: str, folder: Path, split: str) -> Any:
    from torchvision import datasets as found

    options: dict[str, Any] = {"root": str(folder), "download": False}
    if name in _BY_FLAG:
        options["train"] = split == "train"
    elif name in _BY_NAME:
        options["split"] = _OTHER_NAMES.get(name, {}).get(split, split)
    try:
        try:
            return getattr(found, name)(**options)
        except ValueError:
            if split != "val":
                raise
            return getattr(found, name)(**options | {"split": "test"})
    except Exception as error:  # torchvision raises many kinds where files are missing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        way = f"python -c \"from torchvision.datasets import {name}; {name}('{folder}', download=True)\""
        raise DataError(f"{name} in {folder}: {reason}", next=way) from error


def _targets(source: Any) -> list[int]:
    """Class indices, under the name that a data set of torchvision has for them."""
    for name in ("targets", "labels", "_labels", "y"):
        values: Any = getattr(source, name, None)
        if values is not None:
            return [int(value) for value in values]
    return [int(target) for _, target in source._samples]


@hookimpl
def datasets() -> dict[str, object]:
    return {"torchvision": torchvision}
