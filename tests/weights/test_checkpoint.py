"""Checkpoints: exact, whole or not there, refused when damaged, safe on a disk that is full or cut off."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ssl_seg.errors import PluginError, ResourceError, WeightsError, render
from ssl_seg.weights import checkpoint
from ssl_seg.weights.checkpoint import load_checkpoint, save_checkpoint
from ssl_seg.weights.checkpoint_files import latest_valid_checkpoint, list_checkpoints, verify

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


class Odd(nn.Module):
    """Every kind of tensor a module may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.conv.weight.data = self.conv.weight.data.to(memory_format=torch.channels_last)
        self.norm = nn.BatchNorm2d(4)
        self.tied = nn.Linear(4, 4)
        self.tied_too = nn.Linear(4, 4)
        self.tied_too.weight = self.tied.weight
        for name, value in {
            "small": torch.randn(3).to(torch.bfloat16),
            "queue": torch.randn(5, 2).t(),
            "mask": torch.tensor([True, False]),
            "empty": torch.empty(0, 3),
            "number": torch.tensor(2**60 + 1),
            "large": torch.tensor([0.1, -0.0, torch.inf], dtype=torch.float64),
        }.items():
            self.register_buffer(name, value)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.tied_too(self.tied(self.norm(self.conv(images)).mean((2, 3))))


def make(seed: int = 0) -> tuple[Odd, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    module = Odd()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        module(torch.randn(4, 3, 5, 5)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return module, optimizer


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder with checkpoints of steps 3 and 6."""
    for step in (3, 6):
        save_checkpoint(tmp_path / "checkpoints", step, *make(step), {"note": step})
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_everything_comes_back_bit_for_bit(tmp_path):
    module, optimizer = make()
    state = {"value": 0.1 + 0.2, "nested": {"a": [1, 2]}}
    path = save_checkpoint(tmp_path, 7, module, optimizer, state)
    expected = torch.rand(3)
    other, other_optimizer = make(seed=1)
    restored = load_checkpoint(path, other, other_optimizer)
    assert torch.equal(torch.rand(3), expected), "torch's generator"
    assert restored == {"format": 1, "step": 7, **state}
    for name, tensor in module.state_dict().items():
        again = other.state_dict()[name]
        assert again.dtype == tensor.dtype
        assert again.stride() == tensor.stride()
        assert torch.equal(again, tensor), name
    assert other.tied.weight is other.tied_too.weight
    before, after = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    for index in before:
        for name, tensor in before[index].items():
            assert torch.equal(tensor, after[index][name])
            assert tensor.stride() == after[index][name].stride()


def test_two_are_kept_and_nothing_lies_about(saved):
    assert names(saved) == ["step-000003", "step-000006"]
    (saved / ".step-000009.tmp-1").mkdir()
    (saved / ".trash-step-000001").mkdir()
    save_checkpoint(saved, 9, *make(), {})
    assert names(saved) == ["step-000006", "step-000009"]
    assert sorted(names(saved / "step-000009")) == sorted(FILES)


def test_order_is_by_number(tmp_path):
    for step in (999_999, 1_000_000, 1_000_001):
        save_checkpoint(tmp_path, step, *make(), {})
    assert names(tmp_path) == ["step-1000000", "step-1000001"]
    assert latest_valid_checkpoint(tmp_path)[0].name == "step-1000001"


def test_foreign_names_are_left_alone(saved):
    (saved / "step-best").mkdir()
    (saved / "step-000099").write_text("no folder")
    (saved / "notes.txt").write_text("mine")
    assert latest_valid_checkpoint(saved)[0].name == "step-000006"
    save_checkpoint(saved, 9, *make(), {})
    assert {"step-best", "step-000099", "notes.txt"} <= set(names(saved))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed", "flipped", "grown"])
def test_a_damaged_file_is_found(file, damage, saved):
    path = saved / "step-000006" / file
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    elif damage == "flipped":
        flip(path, 8 * (len(data) // 2))
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "emptied": b"", "grown": data + b"\0"}[damage])
    found, refused = latest_valid_checkpoint(saved)
    assert found.name == "step-000003"
    (reason,) = refused
    assert reason.startswith("step-000006: ")
    assert file in reason or (file, damage) == ("manifest.json", "flipped")


def test_any_flipped_bit_is_found(saved):
    folder = saved / "step-000006"
    generator = torch.Generator().manual_seed(0)
    for file in FILES:
        bits = 8 * (folder / file).stat().st_size
        for bit in torch.randint(0, bits, (75,), generator=generator).tolist():
            flip(folder / file, bit)
            assert verify(folder), f"bit {bit} of {file}"
            flip(folder / file, bit)
    assert verify(folder) == ""


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "3", '{"model.safetensors": {}}', '{"model.safetensors": 1}']
)
def test_a_manifest_that_tells_too_little_is_damaged(text, saved):
    (saved / "step-000006" / "manifest.json").write_text(text)
    assert latest_valid_checkpoint(saved)[0].name == "step-000003"


def test_all_damaged_is_told_with_every_reason(saved):
    (saved / "step-000003" / "model.safetensors").write_bytes(b"")
    (saved / "step-000006" / "state.json").unlink()
    with pytest.raises(WeightsError) as caught:
        latest_valid_checkpoint(saved)
    assert caught.value.code == 4
    text = render(caught.value)
    assert "step-000003: model.safetensors has 0 bytes" in text
    assert "step-000006: state.json: No such file" in text
    assert names(saved) == ["step-000003", "step-000006"]


def test_none_at_all(tmp_path):
    with pytest.raises(WeightsError, match="no usable checkpoint"):
        latest_valid_checkpoint(tmp_path / "nothing")


def test_a_refused_one_never_costs_a_good_one(saved):
    """Going on from an older checkpoint, the damaged newer one must not count as the newest kept."""
    for step in (7, 8):
        save_checkpoint(saved, step, *make(), {})
    for path in list_checkpoints(saved):
        (path / "model.safetensors").write_bytes(b"")
    save_checkpoint(saved, 4, *make(), {})
    save_checkpoint(saved, 5, *make(), {})
    assert latest_valid_checkpoint(saved)[0].name == "step-000005"
    assert names(saved) == ["step-000004", "step-000005"]


def test_the_same_step_again_replaces_a_damaged_one(saved):
    (saved / "step-000006" / "model.safetensors").write_bytes(b"")
    save_checkpoint(saved, 6, *make(), {})
    assert verify(saved / "step-000006") == ""
    assert names(saved) == ["step-000003", "step-000006"]


def test_another_module_is_refused_and_named(saved):
    module = nn.Linear(2, 2)
    with pytest.raises(WeightsError, match="does not match the model") as caught:
        load_checkpoint(saved / "step-000006", module, torch.optim.SGD(module.parameters(), lr=1))
    assert caught.value.code == 4


def test_another_format_is_refused(saved):
    path = saved / "step-000006" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(WeightsError, match="format 99, this version reads 1"):
        load_checkpoint(saved / "step-000006", *make())


def test_state_that_is_no_tensor_is_refused_by_name(tmp_path):
    class Odder(nn.Linear):
        def get_extra_state(self) -> dict[str, Any]:
            return {"path": Path("x")}

        def set_extra_state(self, state: Any) -> None:
            pass

    module = nn.Sequential(Odder(2, 2))
    with pytest.raises(PluginError, match=r"'0\._extra_state' has type dict") as caught:
        save_checkpoint(tmp_path, 0, module, torch.optim.SGD(module.parameters(), lr=1), {})
    assert caught.value.code == 7
    assert not list(tmp_path.iterdir())


class Disk:
    """Counts what a save asks of the disk, notes it, and fails at one of these calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int = 0, number: int = errno.ENOSPC) -> None:
        self.done: list[tuple[str, str]] = []
        self._fail_at, self._number = fail_at, number
        for name in ("mkdir", "fsync", "rename", "replace"):
            self._watch(monkeypatch, name, getattr(os, name))
        real = Path.open

        def watched_open(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if mode != "xb":
                return real(path, mode, *rest, **named)
            self._note("open", str(path))
            file = real(path, mode, *rest, **named)
            write = file.write

            class Writer:
                def write(_, data: bytes) -> None:
                    try:
                        self._note("write", str(path))
                    except OSError:
                        write(data[: len(data) // 2])
                        raise
                    write(data)

                def __enter__(_) -> Any:
                    return _

                def __exit__(_, *__: object) -> None:
                    file.close()

                def __getattr__(_, name: str) -> Any:
                    return getattr(file, name)

            return Writer()

        monkeypatch.setattr(Path, "open", watched_open)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, real: Any) -> None:
        def watched(target: Any, *rest: Any, **named: Any) -> Any:
            if name == "mkdir" and os.path.isdir(target):
                return real(target, *rest, **named)
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
            self._note(name, f"{path} -> {rest[0]}" if name in ("rename", "replace") else path)
            return real(target, *rest, **named)

        monkeypatch.setattr(os, name, watched)

    def _note(self, what: str, path: str) -> None:
        if len(self.done) + 1 == self._fail_at:
            self._fail_at = 0
            raise OSError(self._number, os.strerror(self._number), path)
        self.done.append((what, path))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_disk_that_fails_at_any_call(number, tmp_path):
    folder, new = tmp_path / "checkpoints", make(9)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        save_checkpoint(tmp_path / "counted", 9, *new, {})
    calls = len(disk.done)
    assert calls >= 15
    for step in (3, 6):
        save_checkpoint(folder, step, *make(step), {})
    for call in range(1, calls + 1):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, call, number)
            with pytest.raises(ResourceError) as caught:
                save_checkpoint(folder, 9, *new, {})
        error = caught.value
        assert error.code == 6
        assert os.strerror(number) in error.what
        assert re.search(r"it needs \d[\d.]* [KM]iB, .* is free", error.what)
        found = list_checkpoints(folder)
        assert [verify(path) for path in found] == [""] * len(found), "a part under a final name"
        assert error.kept == str(found[-1])
        assert not [name for name in names(folder) if ".tmp" in name]
        if found[-1].name == "step-000009":  # it failed after the rename: the new one is whole
            assert disk.done[-1][0] in ("rename", "replace", "fsync")
            break
        assert [path.name for path in found] == ["step-000003", "step-000006"]
    else:
        pytest.fail("the last call comes after the rename")
    save_checkpoint(folder, 10, *new, {})
    assert latest_valid_checkpoint(folder)[0].name == "step-000010"


def test_what_cannot_be_read_back_is_not_kept(saved, monkeypatch):
    def cut(path: Path, data: bytes) -> None:
        path.write_bytes(data[:-1] if path.name == "model.safetensors" else data)

    monkeypatch.setattr(checkpoint, "_write", cut)
    with pytest.raises(ResourceError, match=r"verification failed: model\.safetensors has") as caught:
        save_checkpoint(saved, 9, *make(), {})
    assert caught.value.kept == str(saved / "step-000006")
    assert names(saved) == ["step-000003", "step-000006"]


def test_the_order_that_survives_a_power_cut(saved, monkeypatch):
    """Contents are on the disk before the name is, and the name before anything older goes."""
    disk = Disk(monkeypatch)
    save_checkpoint(saved, 9, *make(), {})
    done = [(what, re.sub(r"\.step-000009\.tmp-[\w-]+", "ASIDE", path)) for what, path in disk.done]
    aside, final, oldest = saved / "ASIDE", saved / "step-000009", saved / "step-000003"
    contents = [(what, f"{aside}/{file}") for file in FILES for what in ("open", "write", "fsync")]
    assert done == [
        ("mkdir", str(aside)),
        *contents,
        ("fsync", str(aside)),
        ("replace", f"{aside} -> {final}"),
        ("fsync", str(saved)),
        ("rename", f"{oldest} -> {saved}/.trash-step-000003"),
    ]
