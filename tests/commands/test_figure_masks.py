"""`figure masks` on runs that are whole, stopped, damaged, or of other classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_seg.figures.mask_gallery import MaskGallery
from ssl_seg.figures.masks import save_image, save_mask
from ssl_seg.results.iou import mean_iou, read_confusions
from ssl_seg.results.mask_snapshots import read_mask_snapshots

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
COLOURS = [[0, 255, 255], [255, 255, 0], [0, 0, 0]]


def written(folder, epochs=(1, 2, 3), names=("0013", "0062"), classes=3, metadata=()):
    """A run's folder with random masks."""
    colours, random = np.array(COLOURS[:classes], np.uint8), np.random.default_rng(0)
    for name in names:
        label = random.integers(0, classes, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        save_image(folder / "masks" / "images" / f"{name}_mask.png", label[..., None].repeat(3, 2) * 60)
        save_mask(folder / "masks" / "labels" / f"{name}_mask.png", label, colours)
        for epoch in epochs:
            said = np.where(random.random(label.shape) < 0.3, label, 0).astype(np.uint8)
            save_mask(folder / "masks" / f"epoch-{epoch:04d}" / f"{name}_mask.png", said, colours)
    names = ["urban", "water", "unknown"][:classes]
    known = {"classes": names, "colours": COLOURS[:classes], "exclude": names[2:], "mask_suffix": "_mask"}
    (folder / "masks.json").write_text(json.dumps(known | dict(metadata)))
    (folder / "run.toml").write_text("epochs = 3\n")
    return folder


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "deeplabv3")


def told(gallery):
    """What stands in each row: the text below a tile, with ! before it where there is no picture."""
    return {
        name: [("" if tile.pixels is not None else "!") + tile.caption for tile in tiles]
        for name, tiles in gallery.rows
    }


def test_a_trained_run_shows_the_numbers_it_has_measured(cli, tmp_path):
    out = tmp_path / "run"
    network = ["--backbone", f"{TINY}:TinyBackbone", "--head", "deeplabv3", "-o", "head.width=8"]
    short = ["--image-size", 32, "--batch-size", 4, "--epochs", 2, "--cpu", "--lr", 0.01]
    code, _, err = cli(
        "segment", "demo:8", "--val", "demo:4", *network, *short, "--watch", "00000,00003", "--out", out
    )
    assert code == 0, err
    code, text, err = cli("figure", "masks", out)
    assert (code, err) == (0, "") and "missing" not in text
    for ending in ("png", "svg"):
        assert f"{out / 'figures' / 'masks'}.{ending}" in text
        assert (out / "figures" / f"masks.{ending}").stat().st_size > 1000
    gallery = MaskGallery({"run": read_mask_snapshots(out)})
    assert gallery.titles == ["image", "target", "epoch 1", "epoch 2"]
    files, confusions, kept = read_confusions(out / "val_confusions.npz")
    rows = told(gallery)
    assert list(rows) == ["val/00000", "val/00003"]
    for name, row in rows.items():
        expected = mean_iou(confusions[files.index(name)].astype(float), kept)
        assert row[-1] == f"IoU {expected:.3f}" and row[:2] == ["", ""]


def test_one_row_per_image_one_column_per_epoch(run, cli):
    gallery = MaskGallery({"a": read_mask_snapshots(run)})
    assert gallery.titles == ["image", "target", "epoch 1", "epoch 2", "epoch 3"]
    rows = told(gallery)
    assert list(rows) == ["0013", "0062"] and gallery.missing == []
    label = np.asarray(Image.open(run / "masks" / "labels" / "0062_mask.png"))
    assert np.array_equal(gallery.rows[1][1][1].pixels, label)
    assert all(text.startswith("IoU 0.") for row in rows.values() for text in row[2:])
    assert gallery.legend() == [
        ("urban", (0, 255, 255)),
        ("water", (255, 255, 0)),
        ("unknown (excluded)", (0, 0, 0)),
    ]
    assert (
        "excluded classes omitted (unknown)" in gallery.note() and "summed over all images" in gallery.note()
    )
    code, _, _ = cli("figure", "masks", run, "--images", "0062", "--out", run / "x.png")
    assert code == 0 and {"x.png", "x.svg"} <= {path.name for path in run.iterdir()}
    assert not (run / "figures").exists(), "it is written where --out says and nowhere else"
    assert list(told(MaskGallery({"a": read_mask_snapshots(run)}, ["0062"]))) == ["0062"]


def test_several_runs_stand_beside_each_other(run, cli, tmp_path):
    other = written(tmp_path / "fcn32s", epochs=(1, 3), names=("0013", "0104"))
    gallery = MaskGallery({"A": read_mask_snapshots(run), "B": read_mask_snapshots(other)})
    assert gallery.titles == ["image", "target", "A, epoch 3", "B, epoch 3"]
    rows = told(gallery)
    assert rows["0062"][3] == rows["0104"][2] == "!no prediction"
    assert rows["0104"][:2] == ["", ""], "image and label are those of the run that has them"
    assert rows["0104"][3].startswith("IoU") and "B: epoch 3 of 0062" in gallery.missing
    code, text, _ = cli(
        "figure", "masks", run, other, "--names", "FCN-32s,DeepLabV3", "--out", tmp_path / "two"
    )
    assert code == 0 and (tmp_path / "two.png").exists() and "missing: DeepLabV3: epoch 3 of 0062" in text
    written(tmp_path / "three", classes=2)
    code, _, err = cli("figure", "masks", run, tmp_path / "three")
    assert code == 2 and "the runs have different classes" in err
    code, _, err = cli("figure", "masks", run, other, "--names", "one")
    assert code == 2 and "1 titles for 2 runs" in err
    code, _, err = cli("figure", "masks", run, run)
    assert code == 2 and "the same run is given twice" in err


def test_runs_of_one_name_are_told_apart(cli, tmp_path):
    from ssl_seg.figures.mask_runs import open_runs

    for seed in "01":
        written(tmp_path / f"seed{seed}" / "run")
    found, missing = open_runs([tmp_path / "seed0" / "run", tmp_path / "seed1" / "run"], [])
    assert list(found) == ["seed0/run", "seed1/run"] and missing == []


def test_a_stopped_run_shows_what_there_is(run, cli):
    for path in (run / "masks" / "epoch-0003").iterdir():
        path.unlink()
    (run / "masks" / "labels" / "0013_mask.png").unlink()
    (run / "masks" / "images" / "0062_mask.png").write_bytes(b"\x89PNG cut off")
    (run / "masks" / "epoch-0002" / "0062_mask.png").unlink()
    gallery = MaskGallery({"run": read_mask_snapshots(run)})
    rows = told(gallery)
    assert rows["0013"] == ["", "!no target", "", ""], "without a target there is no number"
    assert rows["0062"][0] == "!no image" and rows["0062"][3] == "!no prediction"
    assert rows["0062"][2].startswith("IoU")
    code, text, err = cli("figure", "masks", run)
    assert (code, err) == (0, "")
    for line in (
        "missing: deeplabv3: epoch 3 (not reached)",
        "missing: deeplabv3: target of 0013",
        "missing: deeplabv3: image of 0062: not an image",
        "missing: deeplabv3: epoch 2 of 0062",
    ):
        assert line in text
    assert (run / "figures" / "masks.png").exists()


def test_one_class_and_nothing_to_measure(tmp_path, cli):
    run = written(tmp_path / "run", classes=1)
    assert told(MaskGallery({"run": read_mask_snapshots(run)}))["0013"][2] == "IoU 1.000"
    save_image(run / "masks" / "labels" / "0013_mask.png", np.full((48, 64, 3), 9, np.uint8))
    gallery = MaskGallery({"run": read_mask_snapshots(run)})
    assert told(gallery)["0013"][2] == "n/a"
    assert gallery.legend() == [("urban", (0, 255, 255)), ("unlabeled", (0, 0, 0))]
    assert cli("figure", "masks", run)[0] == 0


def test_many_lines_and_many_images_are_cut_short(tmp_path, cli):
    run = written(tmp_path / "run", names=[f"{index:04d}" for index in range(42)], epochs=(1, 2, 3))
    for path in (run / "masks" / "labels").iterdir():
        path.unlink()
    gallery = MaskGallery({"run": read_mask_snapshots(run)})
    assert len(gallery.rows) == 40
    code, text, _ = cli("figure", "masks", run)
    assert code == 0 and "missing: and 33 more" in text
    assert len([line for line in text.splitlines() if line.startswith("missing")]) == 9


def test_large_masks_are_reduced_to_what_can_be_shown(tmp_path):
    run = written(tmp_path / "run", names=["0013"], epochs=(1,))
    big = np.zeros((1300, 2600), np.uint8)
    big[:, 1300:] = 1
    save_mask(run / "masks" / "labels" / "0013_mask.png", big, np.array(COLOURS, np.uint8))
    ((_, tiles),) = MaskGallery({"run": read_mask_snapshots(run)}).rows
    assert tiles[1].pixels.shape == (320, 640, 3)
    assert tiles[1].pixels[5, 319].tolist() == COLOURS[0] and tiles[1].pixels[5, 320].tolist() == COLOURS[1]
    assert tiles[2].caption == "", "target and prediction differ in size: no number"


def test_hostile_names_are_only_text(tmp_path, cli):
    metadata = {"classes": ["$x_{$", "_b\n<script>", "\\frac"], "exclude": []}
    run = written(tmp_path / "$a_b$ run", names=["_$^0013"], metadata=metadata.items())
    code, _, err = cli("figure", "masks", run)
    assert (code, err) == (0, "")
    assert "<script" not in (run / "figures" / "masks.svg").read_text()


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["nowhere"], 3, "run folder not found: nowhere"),
        (["empty"], 3, "--watch 0013,0062"),
        (["run", "--images", "0014"], 2, "no saved masks of image '0014'; did you mean '0013'?"),
        (["run", "--out", "file/x"], 6, "cannot"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, cli, monkeypatch, words, code, what):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    ended, _, err = cli("figure", "masks", *words)
    assert ended == code and what in err


def test_of_several_runs_one_without_masks_is_named_and_the_rest_drawn(run, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, text, _ = cli("figure", "masks", run, tmp_path / "empty")
    assert code == 0 and f"missing: {tmp_path / 'empty'} has no saved masks" in text and "--watch" in text
    assert {"masks.png", "masks.svg"} <= {path.name for path in tmp_path.iterdir()}
