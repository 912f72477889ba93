"""From masks as people have them to a run and back: what is said, recorded, refused, and read again."""

import json

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data import mask_coding
from ssl_seg.data.palettes import BUILT_IN_PALETTES
from ssl_seg.utils.toml import read_toml
from ssl_seg.weights.model_file import read_model_metadata
from ssl_seg.workflows.mask_metadata import palette_of

ON_TINY = ["--backbone", "test_resnet", "--head", "deeplabv3", "-o", "head.width=8"]
SHORT = ["--image-size", 32, "--batch-size", 4, "--epochs", 1, "--cpu"]
SHAPE = (40, 48)


def cells(seed, classes):
    return np.random.default_rng(seed).integers(0, classes, (5, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8)


@pytest.fixture
def tiles(tmp_path):
    """`tiles(encode, classes)` writes train and val; `encode(classes (H, W), index)` gives the mask's pixels."""

    def write(encode, classes=2, *, val=None, root="tiles"):
        for part, count, encoding in (("train", 6, encode), ("val", 2, val or encode)):
            folder = tmp_path / root / part
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                truth = cells(10 * (part == "val") + index, classes)
                shades = np.random.default_rng(index).integers(0, 60, (*SHAPE, 3))
                picture = truth[..., None] * (160 // max(1, classes - 1)) + shades
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index:02d}_sat.png")
                Image.fromarray(encoding(truth, index)).save(folder / f"{index:02d}_mask.png")
        return tmp_path / root

    return write


@pytest.fixture
def segment(cli, tmp_path):
    """`segment(folder, flags...)` -> exit code, what was said on stderr, and the run's folder."""

    def go(folder, *flags, name="run"):
        out = tmp_path / name
        words = ("segment", folder / "train", "--val", folder / "val", *ON_TINY, *SHORT, *flags, "--out", out)
        code, _, err = cli(*words)
        return code, err, out

    return go


def test_the_most_common_binary_masks(tiles, segment, cli, tmp_path):
    """0 and 255: in 0.1.0 one class, loss 0, mIoU 1.000."""
    root = tiles(lambda classes, _: classes * 255)
    code, err, out = segment(root)
    assert code == 0, err
    found = "two values: 0 is background, 255 is object"
    assert f"train: {found}; 2 classes: background, object" in err
    record = read_toml(out / "run.toml")["record"]["train"]
    assert record["masks"] == found and record["palette"] == "binary"
    result = json.loads((out / "result.json").read_text())["last"]
    truth = np.bincount(np.concatenate([cells(10 + index, 2).ravel() for index in range(2)]))
    assert [result["support/background"], result["support/object"]] == truth.tolist()
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    assert scores[-1]["loss"] > 0.01 and result["miou"] < 1.0

    code, _, err = cli("predict", out, root / "val", "--out", tmp_path / "said", "--cpu")
    assert code == 0, err
    code, _, err = cli("predict", out, root / "val", "--out", tmp_path / "said-i", "--cpu", "--indices")
    colours = np.asarray(Image.open(tmp_path / "said" / "00_mask.png"))
    indices = np.asarray(Image.open(tmp_path / "said-i" / "00_mask.png"))
    assert np.array_equal(colours[..., 0], indices * 255)
    for what in (out, tmp_path / "said", tmp_path / "said-i"):
        code, _, err = cli("evaluate", what, root / "val", "--out", tmp_path / "n.json")
        assert code == 0, err
        assert json.loads((tmp_path / "n.json").read_text())["miou"] == pytest.approx(result["miou"]), what


@pytest.mark.parametrize("val", ["empty", "bool", "rgb"])
def test_validation_masks_are_read_as_those_of_training(tiles, segment, cli, val):
    """All of them background, or the same two classes written in another way."""
    kinds = {
        "empty": lambda classes, _: classes * 0,
        "bool": lambda classes, _: classes.astype(bool),
        "rgb": lambda classes, _: np.repeat(classes[..., None] * 255, 3, 2),
    }
    root = tiles(lambda classes, _: classes * 255, val=kinds[val])
    code, err, out = segment(root)
    assert code == 0, err
    assert ("contain no scored class but background" in err) == (val == "empty")
    code, text, err = cli("evaluate", out, root / "val")
    assert code == 0 and "background" in text, err


def test_a_resumed_run_does_not_find_out_again(tiles, segment, cli, monkeypatch):
    root = tiles(lambda classes, _: classes, 3)
    code, err, out = segment(root)
    assert code == 0, err
    monkeypatch.setattr(mask_coding, "_found_out", None)
    code, _, err = cli("segment", "--resume", "--out", out)
    assert code == 0 and "class indices of palette=3" in err, err


def strayed(classes, index):
    classes = classes.copy()
    classes[0, :3] = 200 if index == 2 else classes[0, :3]
    return classes


def regions_of_255(classes, index):
    classes = classes.copy()
    classes[:24] = 255
    return classes


@pytest.mark.parametrize(
    ("encode", "classes", "flags", "what", "answer"),
    [
        (strayed, 5, [], "not class indices", ["-o", "data.palette=5", "-o", "data.stray=ignore"]),
        (regions_of_255, 3, [], "255 covers 60.0 %", ["-o", "data.palette=3", "-o", "data.ignore=255"]),
        (lambda c, _: c * 255, 2, ["-o", "data.palette=2"], "255, used as the ignore value", None),
        (lambda c, _: c * 0, 2, [], "fewer than two classes", None),
        (
            lambda c, _: c * 0,
            2,
            ["-o", "data.palette=2"],
            "only one class has labeled pixels: 0",
            None,
        ),
        (
            lambda c, _: c + 1,
            2,
            ["--exclude", "1"],
            "only one class has labeled pixels: 2",
            ["--exclude", ""],
        ),
    ],
)
def test_what_is_refused_and_the_answer_that_is_shown(tiles, segment, encode, classes, flags, what, answer):
    root = tiles(encode, classes)
    code, err, out = segment(root, *flags)
    assert code == 3 and what in err, err
    assert not list(out.glob("checkpoints/*")) and len(err[err.index("error[3]") :].splitlines()) <= 12
    if answer:
        assert (" ".join(answer) if answer[-1] else '--exclude ""') in err
        code, err, _ = segment(root, *answer, name="again")
        assert code == 0, err


def test_black_and_white_is_not_deepglobe(tiles, segment):
    root = tiles(lambda classes, _: np.repeat(classes[..., None] * 255, 3, 2))
    code, err, out = segment(root)
    assert code == 0 and "background, object" in err and "deepglobe" not in err
    metadata = read_model_metadata(out / "model.safetensors")
    assert metadata["classes"] == ["background", "object"] and metadata["exclude"] == []


def test_a_class_called_unknown_in_ones_own_palette(tiles, segment):
    colours = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], dtype=np.uint8)
    root = tiles(lambda classes, _: colours[classes], 3)
    (root / "palette.json").write_text('{"unknown": [0, 0, 0], "a": [200, 0, 0], "b": [0, 0, 200]}')
    code, err, out = segment(root)
    assert code == 0 and "unknown (excluded), a, b" in err
    assert read_model_metadata(out / "model.safetensors")["exclude"] == ["unknown"]
    code, err, out = segment(root, "--exclude", "", name="all")
    assert code == 0 and read_model_metadata(out / "model.safetensors")["exclude"] == []


def test_a_model_file_holds_the_palette_where_the_palettes_file_is_gone(tiles, segment, cli, tmp_path):
    colours = np.array([(1, 2, 3), (200, 0, 0), (0, 0, 200)], dtype=np.uint8)
    root = tiles(lambda classes, _: colours[classes], 3)
    (tmp_path / "mine.json").write_text('{"x": [1, 2, 3], "y": [200, 0, 0], "void": [0, 0, 200]}')
    code, err, out = segment(root, "-o", f"data.palette={tmp_path / 'mine.json'}")
    assert code == 0, err
    (tmp_path / "mine.json").unlink()
    code, text, err = cli("evaluate", out, root / "val")
    assert code == 0 and "void  " in text and "n/a" in text, err


def test_evaluate_warns_of_masks_that_say_little(tiles, segment, cli):
    root = tiles(lambda classes, _: classes, 3)
    code, err, out = segment(root)
    other = tiles(
        lambda classes, _: np.where(np.arange(48) < 30, 255, classes).astype(np.uint8), 3, root="other"
    )
    code, _, err = cli("evaluate", out, other / "val")
    assert code == 0 and "warning: 62.5 % of the pixels of" in err and "no class: 62.5 %" in err
    nothing = tiles(lambda classes, _: classes * 0 + 255, 3, root="nothing")
    code, _, err = cli("evaluate", out, nothing / "val")
    assert code == 3 and "no mask contains a labeled pixel for validation" in err


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"classes": ["0", "1"], "colours": [[0, 0, 0], [128, 0, 0]], "exclude": []}, "2"),
        (
            {
                "classes": list(BUILT_IN_PALETTES["deepglobe"].names),
                "colours": BUILT_IN_PALETTES["deepglobe"].array.tolist(),
                "exclude": ["unknown"],
            },
            "deepglobe",
        ),
    ],
)
def test_models_of_0_1_0_say_their_palette_by_classes_and_colours(metadata, text):
    assert palette_of(metadata) == text
    assert palette_of({**metadata, "palette": "/etc/hostname"}) == text, "a weight file opens no other file"
    assert palette_of({**metadata, "palette": "binary"}) == "binary"


def test_figure_views_says_how_masks_are_read(tiles, cli, tmp_path):
    root = tiles(lambda classes, _: classes * 255)
    code, _, err = cli(
        "figure", "views", root / "train", "--masks", "--image-size", 32, "--out", tmp_path / "v.png"
    )
    assert code == 0 and "two values: 0 is background, 255 is object" in err
