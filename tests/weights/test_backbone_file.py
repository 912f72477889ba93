import argparse
import datetime
import errno
import io
import json
import os
import pickle
import subprocess
import tarfile
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ssl_seg.base import Backbone
from ssl_seg.errors import ResourceError, WeightsError
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.backbone_file import load_backbone, read_metadata, save_backbone
from ssl_seg.weights.checkpoint import save_checkpoint
from ssl_seg.weights.readers import read_tensors
from ssl_seg.weights.tensor_file import DIGEST

METADATA = {"backbone": "tiny", "options": {"stem": "small"}, "image_size": 64, "mean": [0.1, 0.2, 0.3]}
METADATA |= {"untrained": []}


def backbone(seed):
    torch.manual_seed(seed)
    module = TinyBackbone()
    module(torch.randn(4, 3, 16, 16))  # running statistics that differ from their start
    return module


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, backbone(0), METADATA)
    return path


def rewrite(path, change):
    """Change the tensors of a file, keep its header but for the digest."""
    with safe_open(path, framework="pt") as file:
        header = {key: text for key, text in file.metadata().items() if key != DIGEST}
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=header)


def assert_refused(path, sentence):
    """Loading raises with this text, and no tensor of the backbone has moved."""
    module = backbone(1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError, match=sentence) as error:
        load_backbone(path, module)
    assert str(path) in (error.value.where or "")
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    return error.value


def test_a_backbone_comes_back_bit_for_bit(file):
    module = backbone(1)
    match = load_backbone(file, module)
    assert (match.matched, match.num_tensors, match.prefix, match.unexpected_keys) == (12, 12, "", [])
    assert match.metadata == METADATA
    assert str(match) == "matched 12 of 12 tensors"
    for name, tensor in backbone(0).state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name
        assert tensor.dtype == module.state_dict()[name].dtype


def test_the_header_says_what_it_is(file):
    assert read_metadata(file) == read_metadata(file.parent) == METADATA
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["about"]) == METADATA


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_channels_last_and_tied_weights_can_be_saved(tmp_path, layout):
    class Tied(Backbone):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
            self.two.weight = self.one.weight

    module = Tied().to(memory_format=layout)
    save_backbone(tmp_path / "tied", module, {})
    fresh = Tied()
    load_backbone(tmp_path / "tied", fresh)
    assert torch.equal(fresh.one.weight, module.one.weight)
    assert fresh.two.weight is fresh.one.weight


def test_saving_leaves_one_file(file):
    save_backbone(file, backbone(2), METADATA)
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]
    module = backbone(1)
    load_backbone(file, module)
    assert torch.equal(module.one[0].weight, backbone(2).one[0].weight)


def test_a_file_that_cannot_be_written_leaves_the_old_one(file, monkeypatch):
    before = file.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="no space left"):
        save_backbone(file, backbone(2), METADATA)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]


def test_a_missing_tensor_is_refused(file):
    rewrite(file, lambda tensors: [tensors.pop("one.0.weight"), tensors.pop("two.1.running_var")])
    error = assert_refused(file, "matched 10 of 12 tensors: 2 missing, 0 unexpected, 0 with another shape")
    assert "one.0.weight, two.1.running_var" in error.where


def test_a_head_is_left_over(file):
    rewrite(file, lambda tensors: tensors.update({"fc.weight": torch.zeros(2)}))
    match = load_backbone(file, backbone(1))
    assert str(match) == "matched 12 of 12 tensors, unexpected: fc.weight"
    assert match.metadata == METADATA


def test_a_tensor_of_another_shape_is_refused(file):
    rewrite(file, lambda tensors: tensors.update({"two.0.weight": torch.zeros(16, 8, 1, 1)}))
    error = assert_refused(file, "matched 11 of 12 tensors: 0 missing, 0 unexpected, 1 with another shape")
    assert "two.0.weight" in error.where


def test_a_prefix_is_found(file):
    def prefixed(tensors):
        for name in list(tensors):
            tensors[f"module.{name}"] = tensors.pop(name)

    rewrite(file, prefixed)
    assert str(load_backbone(file, backbone(1))) == "matched 12 of 12 tensors (prefix 'module.')"


def test_a_foreign_safetensors_file_is_read(file):
    save_file(load_file(file), file)
    assert load_backbone(file, backbone(1)).metadata == {}
    assert read_metadata(file) == {}


def test_a_later_format_is_refused(file):
    save_file(load_file(file), file, metadata={"format": "ssl-seg backbone 22", "about": "{}"})
    assert_refused(file, "weights of format 'ssl-seg backbone 22', this version reads 'ssl-seg backbone 1'")


@pytest.mark.parametrize("metadata", [{}, {"about": "no JSON"}, {"about": "[1]"}])
def test_a_header_that_is_not_ours_is_refused(file, metadata):
    save_file(load_file(file), file, metadata={"format": "ssl-seg backbone 1", **metadata})
    assert_refused(file, "cannot read weights: the header is corrupt")


# files of torch.save


def torch_file(path, content=None, **options):
    """The weights of `backbone(0)` as `torch.save` writes them."""
    torch.save(backbone(0).state_dict() if content is None else content, path, **options)
    return path


@pytest.mark.parametrize(
    "name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w.tar", "w.pth.tar", "w", "w.safetensors"]
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_torch_file_is_known_by_its_content(tmp_path, name, legacy):
    path = torch_file(tmp_path / name, _use_new_zipfile_serialization=not legacy)
    module = backbone(1)
    assert load_backbone(path, module).matched == 12
    assert torch.equal(module.two[0].weight, backbone(0).two[0].weight)
    assert read_metadata(path) == {}


def test_a_safetensors_file_is_known_by_its_content(file):
    assert load_backbone(file.rename(file.with_name("file.pt")), backbone(1)).metadata == METADATA


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_settings_beside_the_tensors_are_not_read(tmp_path, legacy):
    settings = argparse.Namespace(
        lr=0.1, out=Path("runs"), when=datetime.datetime(2026, 1, 1), steps=range(3)
    )
    beside = {
        "args": settings,
        "more": types.SimpleNamespace(a=settings),
        "best": [np.float64(0.5), np.int64(3), np.bool_(True), np.arange(3), np.random.get_state()],
        "scores": defaultdict(dict, a={"b": 1}),
        "kinds": (int, dict, frozenset([1]), Counter("ab"), torch.Size([1]), torch.float32, OrderedDict(a=1)),
    }
    content = {"args": settings, "state_dict": backbone(0).state_dict(), **beside}
    path = torch_file(tmp_path / "run.ckpt", content, _use_new_zipfile_serialization=not legacy)
    assert load_backbone(path, backbone(1)).prefix == "state_dict."
    let_through = [entry for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple)]
    assert not [name for thing, name in let_through if thing.__module__.startswith("ssl_seg")]


def test_settings_of_omegaconf_are_not_read(tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    settings = omegaconf.OmegaConf.create(
        {"optimizer": {"lr": 0.1, "betas": [0.9, "${a}"]}, "a": 1, "b": None}
    )
    content = {"hyper_parameters": settings, "state_dict": backbone(0).state_dict()}
    assert load_backbone(torch_file(tmp_path / "run.ckpt", content), backbone(1)).matched == 12


def test_a_mapping_in_itself_ends(tmp_path):
    content = {"model": backbone(0).state_dict()}
    content["self"] = content
    assert load_backbone(torch_file(tmp_path / "w.pt", content), backbone(1)).prefix == "model."


class Runs:
    """A pickle that calls a function when it is opened."""

    def __init__(self, function, *words):
        self.call = (function, words)

    def __reduce__(self):
        return self.call


def hostile(mark):
    """Pickles that leave a mark when they are opened, by the function they call."""
    return {
        "os.system": Runs(os.system, f"touch {mark}"),
        "os.mkdir": Runs(os.mkdir, str(mark)),
        "builtins.eval": Runs(eval, f"__import__('os').mkdir({str(mark)!r})"),
        "pathlib.Path.touch": Runs(Path.touch, Path(mark)),
        "subprocess.call": Runs(subprocess.call, ["touch", str(mark)]),
    }


@pytest.mark.parametrize("function", hostile("x"))
@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("forced", ["", "1"])
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, function, way, forced):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    mark, path = tmp_path / "mark", tmp_path / "evil.pt"
    content = {"state_dict": backbone(0).state_dict(), "args": hostile(mark)[function]}
    if way == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch_file(path, content, _use_new_zipfile_serialization=way == "zip")
    error = assert_refused(path, "was not opened" if way == "pickle" else "nothing was executed")
    assert "torch.save(model.state_dict(), " in error.next
    assert not mark.exists()
    pickle.loads(pickle.dumps(hostile(mark)[function]))
    assert mark.exists(), "it would not have left a mark, had it been run"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_whole_module_is_refused(tmp_path, legacy):
    path = torch_file(tmp_path / "w.pt", nn.Linear(2, 2), _use_new_zipfile_serialization=not legacy)
    error = assert_refused(path, r"file contains objects \(torch.nn.modules.linear.Linear\) besides tensors")
    assert error.next == "where it was made: torch.save(model.state_dict(), 'weights.pt')"


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"w/{name}", b"3\n")
    assert_refused(tmp_path / "w.pt", "file contains a program besides tensors")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, {0: torch.ones(2)}, 3])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    assert_refused(torch_file(tmp_path / "w.pt", content), "the file contains no named tensors")


def test_an_optimizer_is_not_the_network(tmp_path):
    state, moments = backbone(0).state_dict(), backbone(2).state_dict()
    content = {"optimizer": {"exp_avg": moments}, "sgd": {"state": moments, "param_groups": []}, "net": state}
    tensors, header = read_tensors(torch_file(tmp_path / "w.pt", content))
    assert list(tensors) == [f"net.{name}" for name in state]
    assert header == {}


# what is no weight file


def tar_bytes():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pt"))
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"hello", r"neither a safetensors nor a torch.save file; it begins with b'hello'"),
        (b"\x89HDF\r\n\x1a\n", "neither a safetensors nor a torch.save file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\xef\xbb\xbf\n <html>", "a web page"),
        (b"\x80\x02}q\x00.", "a pickle, which can execute code; it was not opened"),
        (b"\x1f\x8b\x08\x00 and more", "an archive"),
        (tar_bytes(), "an archive"),
        (b"PK\x03\x04 and no more", "corrupt, truncated, or not written by torch.save"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ no header }   ", "corrupt or truncated"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_a_file_of_another_kind_is_refused(file, content, sentence):
    file.write_bytes(content)
    error = assert_refused(file, f"cannot read weights: .*{sentence}")
    with pytest.raises(WeightsError, match="cannot read weights"):
        read_metadata(file) if not content.startswith(b"PK") else load_backbone(file, backbone(1))
    assert (error.next == "git lfs pull") == (b"git-lfs" in content)


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    assert_refused(tmp_path / "w.npz", "not written by torch.save")


@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file, kept):
    torch_file(file.with_name("zip.pt"))
    torch_file(file.with_name("legacy.pt"), _use_new_zipfile_serialization=False)
    for path in (file, file.with_name("zip.pt"), file.with_name("legacy.pt")):
        data = path.read_bytes()
        path.write_bytes(data[: int(kept * len(data))])
        assert_refused(path, "cannot read weights")


def test_a_flipped_byte_is_never_an_exception_of_another_kind(tmp_path):
    for legacy in (False, True):
        path = torch_file(tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
        data, random = path.read_bytes(), np.random.default_rng(0)
        for place in random.integers(0, len(data), 60):
            broken = bytearray(data)
            broken[place] ^= 1 << random.integers(8)
            path.write_bytes(broken)
            try:
                load_backbone(path, backbone(1))
            except WeightsError:
                continue


# paths


def test_no_file_is_refused(tmp_path):
    assert_refused(tmp_path / "none.safetensors", "cannot read weights: file not found$")
    assert_refused(tmp_path / "no" / "none.safetensors", "cannot read weights: file not found$")
    assert_refused(tmp_path / ("n" * 300), "cannot read weights: File name too long")
    (tmp_path / "resnet50.pth").touch()
    assert_refused(tmp_path / "resnet5O.pth", "file not found; did you mean 'resnet50.pth'?")
    (tmp_path / "link.pth").symlink_to("gone.pth")
    assert_refused(tmp_path / "link.pth", "file not found")


def test_a_pipe_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "w.pt")
    assert_refused(tmp_path / "w.pt", "not a regular file")


def test_a_file_that_may_not_be_read_is_refused(file, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert_refused(file, "cannot read weights: Permission denied")


def test_a_runs_folder_means_its_backbone(file):
    (file.parent / "run.toml").write_text("seed = 1")
    assert load_backbone(file.parent, backbone(1)).metadata == METADATA


def test_a_run_that_was_stopped_early_says_how_to_go_on(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.toml").write_text("seed = 1")
    error = assert_refused(run, "the run has not finished: no backbone.safetensors yet")
    assert (error.next, error.kept) == (f"ssl-seg train --resume --out {run}", None)
    optimizer = types.SimpleNamespace(state_dict=lambda: {"state": {}})
    save_checkpoint(run / "checkpoints", 3, backbone(0), optimizer, {})
    for text, command in (
        ("[record]\ncommand = 'classify'", "classify"),
        ("seed =", "train"),
        ("record = 1", "train"),
    ):
        (run / "run.toml").write_text(text)
        error = assert_refused(run, "has not finished")
        assert error.next == f"ssl-seg {command} --resume --out {run}"
        assert error.kept == str(run / "checkpoints" / "step-000003")
    with pytest.raises(WeightsError, match="has not finished"):
        read_metadata(run)


def test_a_folder_with_a_whole_model_means_that(tmp_path):
    save_file(
        {f"backbone.{name}": t for name, t in backbone(0).state_dict().items()},
        tmp_path / "model.safetensors",
    )
    assert load_backbone(tmp_path, backbone(1)).prefix == "backbone."


def test_a_folder_without_weights_is_refused(tmp_path):
    torch_file(tmp_path / "last.ckpt")
    error = assert_refused(tmp_path, "no weights in the folder: neither backbone.safetensors nor model")
    assert error.next == "give the path of the file"
