"""Ids of masks: maps, palettes of datasets with ids of their own, and files of labelling tools."""

import json

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.id_palettes import NAMED_PALETTES
from ssl_seg.data.label_maps import apply_map
from ssl_seg.data.mask_coding import detect_encoding
from ssl_seg.data.palette_text import as_text, read_palette
from ssl_seg.data.palettes import BUILT_IN_PALETTES
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError, UsageError

DEEPGLOBE = BUILT_IN_PALETTES["deepglobe"]


@pytest.fixture
def masks(tmp_path):
    """Writes masks of ids, or of colours, with their images: `masks(first, second)` -> the folder."""

    def write(*arrays, folder="data"):
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for number, array in enumerate(arrays):
            Image.fromarray(np.zeros((*array.shape[:2], 3), np.uint8)).save(root / f"{number}_sat.png")
            Image.fromarray(array).save(root / f"{number}_mask.png")
        return root

    return write


def ids(*values, shape=(8, 12)):
    """Each value in as many pixels as any other."""
    return np.resize(np.repeat(np.array(values, np.uint8), 2), shape)


def counted(dataset):
    """Pixels of each class in all masks, and of none."""
    found = np.bincount(
        np.concatenate([dataset.mask(i, 256).ravel() for i in range(len(dataset))]), minlength=256
    )
    return [*found[: len(dataset.classes)].tolist(), int(found[255])]


def test_ids_are_mapped_merged_and_ignored(masks):
    array = np.zeros((4, 10), np.uint8)
    array[0], array[1], array[2, :5] = 7, 8, 11  # 10, 10 and 5 pixels; 0 in the rest
    root = masks(array)
    dataset = mask_pairs(str(root), "", map="7:0,8:1,11:1,0-6:ignore")
    assert dataset.classes == ["0", "1"] and counted(dataset) == [10, 15, 15]
    named = mask_pairs(str(root), "", map="7:road,8:other,11:other,0:ignore")
    assert named.classes == ["road", "other"] and counted(named) == [10, 15, 15]


def test_a_map_in_a_file(masks, tmp_path):
    path = tmp_path / "map.json"
    path.write_text(json.dumps({"3": "b", "1": "a", "0": None}))
    dataset = mask_pairs(str(masks(ids(0, 1, 3))), "", map=str(path))
    assert dataset.classes == ["b", "a"] and counted(dataset) == [32, 32, 32]
    path.write_text("[]")
    with pytest.raises(DataError, match="is no map of labels"):
        apply_map(str(path))
    with pytest.raises(DataError, match="cannot read the map"):
        apply_map(str(tmp_path / "none.json"))


def test_an_id_that_is_not_mapped_is_an_error_or_ignored(masks):
    root = masks(ids(1, 2, 9))
    dataset = mask_pairs(str(root), "", map="1:0,2:1")
    with pytest.raises(ValueError, match="32 pixels of index 9, which is not one of 2 classes"):
        dataset.mask(0, 64)
    assert counted(mask_pairs(str(root), "", map="1:0,2:1", stray="ignore")) == [32, 32, 32]


def test_classes_of_a_palette_are_merged_and_renamed(masks):
    every = np.resize(np.repeat(np.arange(7), 4), (7, 8))
    root = masks(DEEPGLOBE.array[every])
    dataset = mask_pairs(
        str(root), "", palette="deepglobe", map="rangeland:agriculture,forest:wood,water:ignore"
    )
    assert dataset.classes == ["urban", "agriculture", "wood", "barren", "unknown"]
    assert counted(dataset) == [8, 16, 8, 8, 8, 8]
    assert dataset.exclude == ["unknown"] and dataset.palette[1].tolist() == [255, 255, 0]
    by_index = mask_pairs(str(root), "", palette="deepglobe", map="0:0,1-3:1,4-6:ignore")
    assert by_index.classes == ["urban", "agriculture+rangeland+forest"] and counted(by_index) == [8, 24, 24]


@pytest.mark.parametrize("text", ["1:0,2:1,0:ignore", '{"5": "a", "7": "b"}'])
def test_what_a_map_makes_can_be_written_and_read(text):
    palette = apply_map(text)
    again = read_palette(as_text(palette))
    assert (again.names, again.values, again.void_values) == (
        palette.names,
        palette.values,
        palette.void_values,
    )
    merged = apply_map("rangeland:agriculture,water:ignore", DEEPGLOBE)
    again = read_palette(as_text(merged))
    assert (again.table == merged.table).all() and again.values == merged.values
    assert again.exclude == merged.exclude == ("unknown",)


@pytest.mark.parametrize(
    ("text", "palette", "says"),
    [
        ("7", None, "'7' is not FROM:TO"),
        ("7:0,8:2", None, "nothing is mapped to 1, of 0 to 2"),
        ("7:0,8:road", None, "mixes indices and names"),
        ("7:0,7:1", None, "mapped twice"),
        ("7:ignore", None, "names no class"),
        ("road:0", None, "'road' is no id to map"),
        ("9-7:0", None, "'9-7' is no id to map"),
        ("ubran:city", DEEPGLOBE, "no class 'ubran' to map; did you mean 'urban'"),
        ("urban:0", DEEPGLOBE, "no index for agriculture"),
        ("0:a", read_palette("binary"), "map= cannot be used with palette=binary"),
    ],
)
def test_what_cannot_be_is_refused(text, palette, says):
    with pytest.raises(UsageError, match=says) as error:
        apply_map(text, palette)
    assert error.value.next


# --- palettes of datasets ---------------------------------------------------------------------------


def test_cityscapes_ids_are_its_nineteen_classes(masks):
    table = {
        7: 0,
        8: 1,
        11: 2,
        12: 3,
        13: 4,
        17: 5,
        19: 6,
        20: 7,
        21: 8,
        22: 9,
        23: 10,
        24: 11,
        25: 12,
        26: 13,
    }
    table |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    array = np.arange(34, dtype=np.uint8).reshape(2, 17)
    root = masks(array)
    for options in ({"palette": "cityscapes"}, {"map": "cityscapes"}):
        dataset = mask_pairs(str(root), "", **options)
        assert len(dataset.classes) == 19 and dataset.classes[13] == "car"
        expected = np.vectorize(lambda id_: table.get(id_, 255))(array)
        assert (dataset.mask(0, 64) == expected).all()
    colours = masks(NAMED_PALETTES["cityscapes"].array[np.resize(np.arange(19), (2, 19))], folder="colours")
    assert counted(mask_pairs(str(colours), "", palette="cityscapes")) == [2] * 19 + [0]


def test_masks_that_already_hold_classes_are_not_read_as_ids(masks):
    root = masks(ids(*range(19), 255, shape=(10, 40)))
    with pytest.raises(DataError, match="seem to hold class indices, 0 to 18") as error:
        mask_pairs(str(root), "", palette="cityscapes")
    assert error.value.next == "-o data.palette=cityscapes_train"
    dataset = mask_pairs(str(root), "", palette="cityscapes_train")
    assert dataset.classes[0] == "road" and counted(dataset) == [20] * 20


def test_ade20k_and_loveda_leave_zero_out(masks):
    dataset = mask_pairs(str(masks(ids(*range(151), shape=(2, 151)))), "", palette="ade20k")
    assert len(dataset.classes) == 150 and dataset.classes[0] == "wall" and dataset.classes[149] == "flag"
    assert counted(dataset) == [2] * 151
    dataset = mask_pairs(str(masks(ids(*range(8)), folder="loveda")), "", palette="loveda")
    assert dataset.classes == ["background", "building", "road", "water", "barren", "forest", "agriculture"]
    assert counted(dataset) == [12] * 8


@pytest.mark.parametrize("name", list(NAMED_PALETTES))
def test_named_palettes_are_sound(name):
    palette = NAMED_PALETTES[name]
    assert palette.source == name and as_text(palette) == name and read_palette(name) == palette
    assert len(set(palette.names)) == len(palette.names) and len(set(palette.colours)) == len(palette.colours)
    listed = [id_ for each in palette.values for id_ in each] + list(palette.void_values)
    assert len(set(listed)) == len(listed)
    assert not set(palette.colours) & set(palette.void)


def test_ids_that_are_ignored_besides(masks):
    root = masks(ids(1, 2, 3))
    paths = [root / "0_mask.png"]
    reader, _ = detect_encoding(paths, apply_map("1:0,2:1,3:2"), void=[3])
    assert reader.palette.exclude == ("2",)
    assert (reader.read(paths[0]) == np.array([255, 0, 1, 255])[ids(1, 2, 3)]).all()


# --- files of labelling tools -----------------------------------------------------------------------


def test_the_label_map_of_cvat(masks):
    colours = np.array([[0, 0, 0], [250, 50, 83], [50, 183, 250]], np.uint8)
    root = masks(colours[np.resize([0, 0, 1, 2], (4, 6))])
    text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nbig dog:50,183,250::\n"
    (root / "labelmap.txt").write_text(text)
    dataset = mask_pairs(str(root), "")
    assert dataset.classes == ["background", "cat", "big dog"] and counted(dataset) == [12, 6, 6, 0]
    (root / "labelmap.txt").write_text("cat:250,50\n")
    with pytest.raises(
        DataError, match=r"labelmap.txt is not a palette: line 1: 'cat:250,50' is not NAME:RED"
    ):
        mask_pairs(str(root), "")


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 3, 5)])
def test_the_classes_of_roboflow(masks, values):
    root = masks(ids(*values))
    names = ("background", "cat", "dog")
    lines = [f"{value}, {name}" for value, name in zip(values, names, strict=True)]
    (root / "_classes.csv").write_text("\n".join(["Pixel Value, Class", *lines]))
    dataset = mask_pairs(str(root), "")
    assert dataset.classes == list(names) and counted(dataset) == [32, 32, 32, 0]
    again = mask_pairs(str(root), "", palette=dataset.palette_text)
    assert counted(again) == [32, 32, 32, 0]
    (root / "_classes.csv").write_text("filename, cat\n")
    with pytest.raises(DataError, match="first line is not 'Pixel Value, Class'"):
        mask_pairs(str(root), "")
