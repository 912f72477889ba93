"""What all tests share."""

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# The tensors are tiny: more threads only wait for each other, on a busy machine a hundred times longer.
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


def pytest_collection_finish():
    """What has been imported stays: no garbage collection looks through it again, in thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    gc.unfreeze()  # what is left at the end is told as leaked


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """Stores of a test lie in its own folder."""
    monkeypatch.setenv("SSL_SEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache of huggingface_hub, empty: `hub("timm/resnet18.a1_in1k", {"model.safetensors": bytes})`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))  # of other processes

    def add(repo, files, commit="c0ffee" * 6 + "c0de"):
        folder = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (snapshot / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return snapshot

    return add


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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package of one module: `package("mine", code)` as version 1.2, found by this process."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name, code, *, group="ssl_seg", entry=None, metadata=None):
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n" if metadata is None else metadata
        (info / "METADATA").write_text(text)
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry or f'{name} = {module}'}\n")
        return site

    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def cli(monkeypatch, capsys):
    """Runs the command line in this process: `cli("list", "ssl")` -> exit code, stdout, stderr."""
    from ssl_seg import cli as module

    def run(*words):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(module.app, "registered_commands", list(module.app.registered_commands))
            patch.setattr(module.app, "registered_groups", list(module.app.registered_groups))
            patch.setattr(sys, "argv", ["ssl-seg", *map(str, words)])
            patch.setattr(sys, "excepthook", sys.excepthook)
            module.main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return run
