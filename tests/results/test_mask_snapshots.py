"""What is read of the masks that a run keeps."""

import json

import numpy as np
import pytest
from PIL import Image

from ssl_seg.errors import DataError
from ssl_seg.figures.masks import colorize_mask, save_image, save_mask
from ssl_seg.results.mask_snapshots import read_mask_snapshots

COLOURS = [[0, 255, 255], [255, 255, 0], [0, 0, 0]]
ABOUT = {"classes": ["urban", "water", "unknown"], "colours": COLOURS, "exclude": ["unknown"]}
LABEL = np.array([[0, 0, 1, 2], [0, 1, 1, 255]], np.uint8)
SAID = np.array([[0, 1, 1, 2], [0, 0, 1, 0]], np.uint8)


@pytest.fixture
def run(tmp_path):
    """A folder as a run leaves it, with one watched image."""
    folder, colours = tmp_path / "run", np.array(COLOURS, np.uint8)
    save_image(folder / "masks" / "images" / "a" / "7_mask.png", np.full((2, 4, 3), 70, np.uint8))
    save_mask(folder / "masks" / "labels" / "a" / "7_mask.png", LABEL, colours)
    for epoch in (1, 12):
        save_mask(folder / "masks" / f"epoch-{epoch:04d}" / "a" / "7_mask.png", SAID, colours)
    (folder / "masks.json").write_text(json.dumps({**ABOUT, "mask_suffix": "_mask"}))
    return folder


def test_what_was_kept_is_read(run):
    (run / "masks" / "epoch-0020").mkdir()  # stopped before anything was in it
    (run / "masks" / "epoch-x").mkdir()
    snapshots = read_mask_snapshots(run)
    assert snapshots.epochs == [1, 12] and snapshots.names == ["a/7_mask.png"]
    assert snapshots.title("a/7_mask.png") == "a/7" and snapshots.title("_mask.png") == "_mask"
    assert np.array_equal(snapshots.target("a/7_mask.png"), LABEL), "no class is not the class that is black"
    assert np.array_equal(snapshots.prediction(12, "a/7_mask.png"), SAID)
    assert (snapshots.image("a/7_mask.png") == 70).all()
    assert snapshots.image("a/7_mask.png", 2).shape == (1, 2, 3)
    assert snapshots.iou(SAID, LABEL) == pytest.approx((2 / 4 + 2 / 4) / 2)


def test_a_colour_of_no_class_is_wrong_in_a_prediction_and_nothing_in_a_label(run):
    path = run / "masks" / "epoch-0001" / "a" / "7_mask.png"
    save_image(path, np.full((2, 4, 3), 9, np.uint8))
    snapshots = read_mask_snapshots(run)
    assert (snapshots.prediction(1, "a/7_mask.png") == 254).all()
    assert snapshots.iou(snapshots.prediction(1, "a/7_mask.png"), LABEL) == 0.0
    save_image(run / "masks" / "labels" / "a" / "7_mask.png", np.full((2, 4, 3), 9, np.uint8))
    assert (snapshots.target("a/7_mask.png") == 255).all()


@pytest.mark.parametrize(
    ("option", "expected"), [("", (0 / 2 + 1 / 2) / 2), ("true", 1 / 2), ("false", 1 / 4)]
)
def test_excluded_pixels_count_as_the_run_counted_them(run, option, expected):
    """True 2 (excluded) is said to be 0: wrong for 0, unless the metric is lenient."""
    if option:
        (run / "run.toml").write_text(f'[o.metric]\nlenient = "{option}"\n')
    target = np.array([[2, 2, 1, 1]], np.uint8)
    prediction = np.array([[0, 0, 1, 2]], np.uint8)
    assert read_mask_snapshots(run).iou(prediction, target) == pytest.approx(expected)


def test_what_is_not_there_is_said(run):
    snapshots = read_mask_snapshots(run)
    for read in (snapshots.image, snapshots.target, lambda name: snapshots.prediction(12, name)):
        with pytest.raises(ValueError, match="^missing$"):
            read("b.png")
    (run / "masks" / "labels" / "a" / "7_mask.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not an image"):
        snapshots.target("a/7_mask.png")
    with pytest.raises(ValueError, match="differ in size"):
        snapshots.iou(SAID, LABEL[:1])


def test_classes_that_cannot_be_told_apart_have_no_number(run):
    (run / "masks.json").write_text(json.dumps({**ABOUT, "colours": [[1, 1, 1]] * 3}))
    with pytest.raises(ValueError, match="two classes have the same color"):
        read_mask_snapshots(run).iou(SAID, LABEL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot read"),
        ("[]", "cannot read"),
        ('{"classes": [], "colours": [], "exclude": []}', "0 classes"),
        ('{"classes": ["a"], "colours": [[1, 2]], "exclude": []}', "cannot read"),
        ('{"classes": ["a", "b"], "colours": [[1, 2, 3]], "exclude": []}', "2 classes, but 1 colors"),
        ('{"classes": ["a"], "colours": [[1, 2, 300]], "exclude": []}', "300"),
    ],
)
def test_a_damaged_masks_json_is_told(run, text, why):
    (run / "masks.json").write_text(text)
    with pytest.raises(DataError, match=why) as caught:
        read_mask_snapshots(run)
    assert "masks.json" in caught.value.what


def test_a_run_without_masks_is_told_how_to_get_them(run, tmp_path):
    with pytest.raises(DataError, match="run folder not found"):
        read_mask_snapshots(tmp_path / "nowhere")
    for path in (run / "masks").glob("epoch-*/a/*"):
        path.unlink()
    with pytest.raises(DataError, match="no saved masks yet"):
        read_mask_snapshots(run)
    (run / "masks.json").unlink()
    with pytest.raises(DataError, match="run without --watch") as caught:
        read_mask_snapshots(run)
    assert "--watch" in caught.value.next


def test_labels_are_painted_so_that_they_can_be_read_back(run):
    """Black is a class here; without one it stands for no class."""
    for colours in (COLOURS, [[9, 9, 9], [1, 2, 3], [4, 5, 6]]):
        (run / "masks.json").write_text(json.dumps({**ABOUT, "colours": colours}))
        path = run / "masks" / "labels" / "a" / "7_mask.png"
        save_mask(path, LABEL, np.array(colours, np.uint8))
        assert np.array_equal(np.asarray(Image.open(path)), colorize_mask(LABEL, np.array(colours, np.uint8)))
        assert np.array_equal(read_mask_snapshots(run).target("a/7_mask.png"), LABEL)
