"""Palettes as text: there and back, and which classes stand for none."""

import json

import pytest

from ssl_seg.data.palette_text import as_text, read_palette
from ssl_seg.data.palettes import BINARY, BUILT_IN_PALETTES, unnamed_palette
from ssl_seg.errors import DataError

OWN = {
    "classes": [{"name": "Straße", "rgb": [1, 2, 3]}, {"name": "b", "rgb": [4, 5, 6]}],
    "ignore": ["b", 255],
}
INDEXED = {"classes": OWN["classes"], "void": [[9, 9, 9], 254], "masks": "indices"}


@pytest.mark.parametrize(
    "text",
    [
        *BUILT_IN_PALETTES,
        "binary",
        "7",
        '{"a": [1, 2, 3], "void": [0, 0, 0]}',
        json.dumps(OWN),
        json.dumps(INDEXED),
    ],
)
def test_there_and_back(text):
    palette = read_palette(text)
    again = read_palette(as_text(palette))
    fields = ("names", "colours", "void", "exclude", "by", "void_values")
    assert [getattr(again, name) for name in fields] == [getattr(palette, name) for name in fields]
    assert as_text(again) == as_text(palette) == (text if text[0] != "{" else as_text(palette))


def test_numbers_with_the_colours_of_a_png_keep_them():
    palette = unnamed_palette(2, "", [(5, 6, 7), (200, 100, 50)])
    assert read_palette(as_text(palette)).colours == palette.colours
    assert as_text(unnamed_palette(2, "anything")) == "2" and as_text(BINARY) == "binary"


@pytest.mark.parametrize("name", ["unknown", "Void", "unlabelled", "unlabeled", "ignore"])
def test_a_class_that_is_called_none_is_excluded_unless_the_file_says_otherwise(name):
    listed = [{"name": name, "rgb": [0, 0, 0]}, {"name": "a", "rgb": [9, 9, 9]}]
    assert read_palette(json.dumps({name: [0, 0, 0], "a": [9, 9, 9]})).exclude == (name,)
    assert read_palette(json.dumps({"classes": listed})).exclude == (name,)
    for nothing in (None, [], 255):
        assert read_palette(json.dumps({"classes": listed, "ignore": nothing})).exclude == ()
    assert read_palette(json.dumps({"classes": listed, "ignore": "a"})).exclude == ("a",)


def test_background_is_a_class():
    assert read_palette('{"background": [0, 0, 0], "a": [9, 9, 9]}').exclude == ()


def test_values_without_a_class():
    assert read_palette(json.dumps(OWN)).void_values == (255,)
    palette = read_palette(json.dumps(INDEXED))
    assert palette.void == ((9, 9, 9),) and palette.void_values == (254,) and palette.by == "indices"


@pytest.mark.parametrize(
    "text", ['{"a": 3}', '{"classes": [], "ignore": 0}', '{"a": [0, 0, 0], "b": [0, 0, 0]}', "{"]
)
def test_json_that_is_no_palette(text):
    with pytest.raises(DataError, match="palette is not a palette"):
        read_palette(text)
