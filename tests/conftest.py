"""What all tests share."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(int(os.environ.get("TEST_THREADS", "2")))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Stores of a test lie in its own folder."""
    monkeypatch.setenv("SSL_SEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of 24 small JPEGs of several shapes, in nested folders."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for index in range(24):
        height, width = random.integers(24, 60, 2)
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        path = folder / ("a" if index % 2 else "b/c") / f"{index:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    return folder
