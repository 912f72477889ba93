"""A disk that is full: exit 6 with figures, and every checkpoint that was whole still is."""

import os
import re
import subprocess

import pytest

from ssl_seg.weights.checkpoint_files import list_checkpoints, verify


def check_kept(trial) -> bool:
    """Whether there were checkpoints to be kept; asserts that they were, and are named."""
    text = "\n".join(trial.errors())
    found = list_checkpoints(trial.folder / "checkpoints")
    assert [verify(path) for path in found] == [""] * len(found)
    assert not [path for path in trial.folder.rglob("*.tmp-*")]
    if found:
        assert f"kept: {found[-1].resolve()}" in text
        assert "\nnext: " in text
    return bool(found)


def test_a_quota_that_a_checkpoint_does_not_fit_in(trials):
    """With RLIMIT_FSIZE the first checkpoint fits, and the next, which has optimizer state, does not."""
    trial = trials.new("quota")
    folder = trials.folder / "reference/run/checkpoints/step-000008"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    limit = (sizes["model.safetensors"] + sizes["optimizer.safetensors"]) // 2
    assert sizes["model.safetensors"] < limit < sizes["optimizer.safetensors"]
    assert trial.go(file_size=limit) == 6, trial.output
    assert check_kept(trial)
    found = re.search(
        r"cannot write a checkpoint: File too large; it needs ([\d.]+) KiB, [\d.]+ .iB is free", trial.output
    )
    assert found and float(found[1]) == pytest.approx(sum(sizes.values()) / 1024, rel=0.1)
    assert trial.status() == {"state": "failed", "step": 0, "code": 6, "checkpoint": "step-000000"}
    assert trial.go() == 0, trial.output
    assert trials.same(trial.result(), trials.expected)


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of so many KiB."""
    mounted = []

    def mount(kilobytes: int):
        folder = tmp_path / f"disk {kilobytes}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"may not mount a tmpfs: {error}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_disks_of_some_sizes(trials, small_disk):
    """No room for a log; none for the status; none for a third checkpoint; room for all."""
    fill(trials, small_disk, (4, 60, 124, 400))


@pytest.mark.slow
def test_a_disk_of_any_size(trials, small_disk):
    fill(trials, small_disk, (*range(4, 200, 8), 400))


def fill(trials, small_disk, sizes) -> None:
    codes, kept = [], []
    for kilobytes in sizes:
        disk = small_disk(kilobytes)
        trial = trials.new(f"disk {kilobytes} of {len(sizes)}")
        trial.folder.parent.mkdir(parents=True)
        words = trial.words()
        trial.folder.symlink_to(disk / "run")
        words[-1] = str(disk / "run")
        codes.append(trial.go(words=words))
        if codes[-1]:
            assert codes[-1] == 6, trial.output
            kept.append(check_kept(trial))
    assert codes[0] == 6 and codes[-1] == 0
    assert False in kept and True in kept, kept
    assert trials.same(trial.result(), trials.expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(trials, tmp_path):
    tmp_path.chmod(0o500)
    trial = trials.new("forbidden")
    words = trial.words()
    words[-1] = str(tmp_path / "run")
    assert trial.go(words=words) == 6
    assert "Permission denied" in trial.errors()[0]
