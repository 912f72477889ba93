"""Values in headers of weight files: types and ranges, before anything is made of them."""

import json

import pytest
from safetensors.torch import load_file, save_file

from ssl_seg.errors import WeightsError
from ssl_seg.testing import TinyBackbone
from ssl_seg.utils import limits
from ssl_seg.weights.backbone_file import load_backbone, read_metadata, save_backbone
from ssl_seg.weights.header import MODEL
from ssl_seg.weights.model_file import read_model_metadata

BACKBONE = {"backbone": "tiny", "options": {"stem": "small"}, "image_size": 64, "epochs": 3}
BACKBONE |= {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "trained_by": "byol", "range": [0, 4095.0]}
BACKBONE |= {"bands": [3, 2, 1]}
BACKBONE |= {"untrained": [], "canvas": 128, "precision": "bf16"}
WHOLE = BACKBONE | {
    "task": "segment",
    "head": "fcn32s",
    "head_options": {},
    "classes": ["a", "b"],
    "epoch": 2,
    "metric_options": {"lenient": "true"},
}
WHOLE |= {
    "colours": [[0, 0, 0], [255, 0, 0]],
    "exclude": ["b"],
    "image_suffix": "_sat",
    "mask_suffix": "_mask",
    "image_prefix": "",
    "mask_prefix": "m_",
    "palette": "",
}

WRONG = [
    ("backbone", None, ""),
    ("backbone", ["resnet50"], ""),
    ("options", [1], ""),
    ("options", {"a": {"b": 1}}, ""),
    ("options", {"a": float("nan")}, ""),
    ("head", None, "a text"),
    ("head", "", "a text"),
    ("head_options", "x", ""),
    ("task", "detect", "classify or segment"),
    ("classes", [], "a list of at least one text"),
    ("classes", "ab", ""),
    ("classes", [1, 2], ""),
    ("classes", {"a": 1}, ""),
    ("image_size", 10**9, f"a whole number from 1 to {limits.SIDE:,}"),
    ("image_size", -5, ""),
    ("image_size", 0, ""),
    ("image_size", 64.0, ""),
    ("image_size", "64", ""),
    ("image_size", True, ""),
    ("image_size", None, ""),
    ("mean", "x", "a number from -1000 to 1000 for each channel"),
    ("mean", [0.5], "3 numbers, as many as std"),
    ("bands", [0], "numbers of bands"),
    ("bands", [], "numbers of bands"),
    ("range", [0, 1, 2], "two numbers"),
    ("range", [0, 1, 2, 2], "two numbers"),
    ("mean", [0.5, 0.5, None], ""),
    ("mean", [0.5, 0.5, float("inf")], ""),
    ("mean", [0.5, 0.5, 10**400], ""),
    ("std", [0, 0, 0], "a number from 1e-06"),
    ("std", [-0.2, 0.2, 0.2], ""),
    ("std", [float("nan")] * 3, ""),
    ("untrained", "conv_head", "a list of texts"),
    ("range", [0], "two numbers, the smaller one first"),
    ("range", [4095, 0], ""),
    ("range", [0, float("inf")], ""),
    ("range", None, ""),
    ("canvas", 0, "a whole number from 1 to 65,536"),
    ("canvas", 10**9, ""),
    ("canvas", None, ""),
    ("precision", "fp64", "bf16 or fp32"),
    ("precision", ["bf16"], ""),
    ("metric_options", [], "a table of numbers and texts"),
    ("epoch", -1, ""),
    ("epochs", 1e999, ""),
    ("trained_by", 3, ""),
    ("license", 3, "a text"),
    ("colours", [[0, 0, 0]], "one colour for each of 2 classes"),
    ("colours", [[0, 0, 0], [256, 0, 0]], "three whole numbers from 0 to 255"),
    ("colours", "ab", ""),
    ("exclude", ["c"], "names of classes"),
    ("exclude", "b", "a list of texts"),
    ("mask_suffix", "/../../x", "a part of a file's name"),
    ("image_suffix", 1, ""),
    ("mask_prefix", "a/b", ""),
    ("image_prefix", None, ""),
    ("palette", 3, "a text"),
]


def write(path, metadata, form):
    save_backbone(path, TinyBackbone(), {})
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    save_file(load_file(path), path, metadata={"format": f"ssl-seg {form} 1", "about": text})
    return path


def test_what_a_run_writes_is_accepted(tmp_path):
    assert read_metadata(write(tmp_path / "a", BACKBONE, "backbone")) == BACKBONE
    assert read_metadata(write(tmp_path / "b", {}, "backbone")) == {}
    assert read_model_metadata(write(tmp_path / "c", WHOLE | {"later": [1]}, "model")) == WHOLE | {
        "later": [1]
    }


@pytest.mark.parametrize(("key", "value", "words"), WRONG)
def test_a_value_of_another_type_or_range_is_named(tmp_path, key, value, words):
    for form in ("backbone", "model"):
        path = write(tmp_path / form, WHOLE | {key: value}, form)
        for read in [read_metadata, lambda p: load_backbone(p, TinyBackbone())] + [read_model_metadata] * (
            form == "model"
        ):
            with pytest.raises(WeightsError, match=f"invalid header value {key} = ") as error:
                read(path)
            assert words in error.value.what and error.value.where == str(path) and error.value.next
            assert len(error.value.what) < 250


@pytest.mark.parametrize("key", [*MODEL, "colours", "exclude", "image_suffix", "mask_suffix"])
def test_a_model_says_all_that_is_needed(tmp_path, key):
    path = write(tmp_path / "m", {name: value for name, value in WHOLE.items() if name != key}, "model")
    if key == "task":  # nothing says then that there are masks
        assert "colours" in WHOLE
    for read in (read_metadata, read_model_metadata):
        with pytest.raises(WeightsError, match=f"the header lacks '{key}'"):
            read(path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[]", "null", "{", '{"image_size": 1' + "0" * 5000 + "}"]
)
def test_a_header_that_is_no_object_is_a_bad_file(tmp_path, text):
    for form in ("backbone", "model"):
        with pytest.raises(WeightsError, match="header is corrupt") as error:
            read_metadata(write(tmp_path / form, text, form))
        assert len(error.value.what) < 250


def test_every_value_that_a_run_writes_has_a_rule():
    from ssl_seg.weights.header import _RULES

    exported = {"license"}  # of published weights
    assert {*BACKBONE, *WHOLE, *exported} == set(_RULES)
