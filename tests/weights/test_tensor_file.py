"""Safetensors files of ours: the library reads them, equal ones are equal bytes, and damage is seen."""

import json
import random
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from ssl_seg.errors import WeightsError
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.backbone_file import load_backbone, save_backbone
from ssl_seg.weights.readers import read_header, read_tensors
from ssl_seg.weights.tensor_file import DIGEST, encode

TENSORS = {
    "b.weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "a": torch.tensor([True, False]),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "double": torch.tensor([0.1, -0.0, torch.inf], dtype=torch.float64),
    "count": torch.tensor(2**60 + 1),
    "empty": torch.empty(0, 3),
    "über": torch.arange(5, dtype=torch.uint8),
}
TEXTS = {"format": "pt", "about": json.dumps({"name": "日本", "x": 1}), "empty": ""}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(encode(TENSORS, TEXTS))
    return path


def test_the_library_reads_what_was_written(file):
    theirs = load_file(file)
    assert theirs.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert theirs[name].dtype == tensor.dtype and torch.equal(theirs[name], tensor), name
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert {key: header[key] for key in TEXTS} == TEXTS and header.keys() == {*TEXTS, DIGEST}
    assert int.from_bytes(file.read_bytes()[:8], "little") % 8 == 0, "the numbers are aligned"


def test_without_tensors_or_texts(tmp_path):
    (tmp_path / "w").write_bytes(encode({}, {}))
    assert load_file(tmp_path / "w") == {} and read_header(tmp_path / "w").keys() == {DIGEST}


CODE = """
import sys, torch
from ssl_seg.weights.tensor_file import encode
tensors = {name: torch.arange(4) + place for place, name in enumerate("fcaebd")}
for turn in range(4):
    names = sorted(tensors, reverse=turn % 2 == 1)
    texts = {name: name for name in names}
    sys.stdout.buffer.write(encode({name: tensors[name] for name in names}, texts))
"""


def test_equal_tensors_are_equal_bytes_in_any_process_and_order():
    found = b"".join(subprocess.check_output([sys.executable, "-c", CODE]) for _ in range(2))
    size = len(found) // 8
    assert len({found[size * turn : size * (turn + 1)] for turn in range(8)}) == 1


def test_every_flipped_bit_is_seen(file):
    """Of the whole small file: its length, its header, its numbers. Nothing else than an error, or what was there."""
    content = file.read_bytes()
    before, header = read_tensors(file)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        try:
            tensors, found = read_tensors(file)
        except WeightsError as error:
            assert str(file) in error.where
            continue
        # a letter of an escape in JSON may be written large or small
        assert found == header and tensors.keys() == before.keys(), bit
        assert all(torch.equal(tensors[name], before[name]) for name in before), bit


def test_a_backbone_whose_bits_flip_is_not_loaded(tmp_path):
    """Of 150 random bits at which a backbone was damaged, 131 loaded without a word."""
    path = tmp_path / "backbone.safetensors"
    save_backbone(path, TinyBackbone(), {"backbone": "tiny", "image_size": 64})
    content, chance = path.read_bytes(), random.Random(0)
    for bit in chance.sample(range(8 * len(content)), 150):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match="cannot read weights") as error:
            load_backbone(path, TinyBackbone())
        assert str(path) in error.value.where and error.value.next


@pytest.mark.parametrize("change", ["name", "shape", "text", "swapped"])
def test_what_the_library_would_write_after_a_change_is_refused(file, change):
    tensors, texts = load_file(file), read_header(file)
    if change == "name":
        tensors["c"] = tensors.pop("a")
    elif change == "shape":
        tensors["b.weight"] = tensors["b.weight"].view(4, 3)
    elif change == "text":
        texts["about"] = "{}"
    else:
        tensors["b.weight"] = tensors["b.weight"].roll(1, 0)
    save_file(tensors, file, metadata=texts)
    with pytest.raises(WeightsError, match=f"digest mismatch; .*{DIGEST}"):
        read_tensors(file)


def test_what_changes_nothing_is_accepted(file):
    """The library writes the same tensors and texts in an order of its own."""
    save_file(load_file(file), file, metadata=read_header(file))
    assert read_tensors(file)[0].keys() == TENSORS.keys()


def test_a_file_without_a_digest_is_read(file):
    file.write_bytes(save(TENSORS, metadata=TEXTS))
    assert read_tensors(file)[1] == TEXTS
    file.write_bytes(save(TENSORS))
    assert read_tensors(file)[1] == {}
