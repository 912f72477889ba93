"""What `ssl-seg doctor` says of a good and of a bad machine."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from ssl_seg.workflows import machine_checks

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def room(monkeypatch):
    """A disk with so many GiB free."""

    def set_room(gib):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, gib * 2**30))

    set_room(100)
    return set_room


def test_a_good_machine(cli, room):
    code, out, _ = cli("doctor")
    assert code == 0
    lines = out.splitlines()
    assert all(line.startswith("ok   ") for line in lines)
    names = [line[5:].split("  ")[0].strip() for line in lines]
    assert {"python", "versions", "gpu", "bf16", "compile", "torchvision", "disk cache", "plugins"} <= set(
        names
    )
    assert f"torch {torch.__version__.split('+')[0]}" in out


def test_a_full_disk(cli, room):
    room(0.2)
    code, out, _ = cli("doctor")
    assert code == 6
    assert [line[:16] for line in out.splitlines() if line.startswith("FAIL")] == [
        "FAIL  disk cache",
        "FAIL  disk here ",
    ]


def test_a_folder_that_cannot_be_written(cli, room, monkeypatch):
    monkeypatch.setattr(machine_checks.os, "access", lambda path, mode: False)
    code, out, _ = cli("doctor")
    assert code == 6
    assert "not writable" in out


def gpu_lines(monkeypatch, *, built, driver, tmp_path):
    file = tmp_path / "version"
    if driver:
        file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.1\nGCC\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(
        machine_checks, "Path", lambda *parts: file if "nvidia" in str(parts) else Path(*parts)
    )
    return list(machine_checks._gpu())


def test_a_driver_that_torch_cannot_use(monkeypatch, tmp_path):
    lines = gpu_lines(monkeypatch, built="13.2", driver=True, tmp_path=tmp_path)
    assert lines[0][:2] == (False, "gpu")
    assert "Kernel Module  470.1" in lines[0][2]
    assert "but this torch build (CUDA 13.2) cannot use it" in lines[0][2]
    assert "uv pip install" in lines[1][2]


@pytest.mark.parametrize("built", ["13.2", None])
def test_no_gpu_is_fine(monkeypatch, tmp_path, built):
    lines = gpu_lines(monkeypatch, built=built, driver=False, tmp_path=tmp_path)
    assert all(good for good, _, _ in lines)
    assert ("torch for CUDA 13.2" if built else "without CUDA") in lines[0][2]


def test_torchvision_of_another_torch(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    good, name, text = machine_checks._vision()
    assert (good, name) == (False, "torchvision")
    assert "incompatible with torch" in text
