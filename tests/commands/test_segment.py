"""`segment`, `predict` and `evaluate` on masks, run whole on small tiles."""

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import ssl_seg
from ssl_seg.data.palettes import BUILT_IN_PALETTES
from ssl_seg.reporting.build import build
from ssl_seg.results.iou import mean_iou
from ssl_seg.results.mask_snapshots import read_mask_snapshots
from ssl_seg.utils.toml import read_toml
from ssl_seg.weights.model_file import read_model_metadata

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SHORT = ["--image-size", 32, "--batch-size", 4, "--epochs", 3, "--cpu"]
NET = ["--backbone", f"{TINY}:TinyBackbone"]  # code is named anew for every command
ON_TINY = [*NET, "--head", "deeplabv3", "-o", "head.width=8", *SHORT]
COLOURS = BUILT_IN_PALETTES["deepglobe"].array
VAL = {"0013": (40, 52), "0062": (33, 47), "0104": (52, 40)}


def tile(folder, key, shape):
    """A tile in coarse patches; the picture has the colour of its class, darkened, with noise."""
    random = np.random.default_rng(int(key))
    coarse = random.integers(0, 7, (-(-shape[0] // 10), -(-shape[1] // 10)))
    classes = coarse.repeat(10, 0).repeat(10, 1)[: shape[0], : shape[1]]
    picture = COLOURS[classes] // 2 + random.integers(0, 60, (*shape, 3))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(folder / f"{key}_sat.jpg", quality=92)
    Image.fromarray(COLOURS[classes]).save(folder / f"{key}_mask.png")


@pytest.fixture
def tiles(tmp_path):
    """The layout of the course, with tiles of several shapes."""
    root = tmp_path / "tiles"
    for index in range(9):
        tile(root / "train", f"{index:04d}", (48, 48 + index))
    for key, shape in VAL.items():
        tile(root / "validation", key, shape)
    return root


@pytest.fixture
def run(cli, tiles, tmp_path):
    """Trains: `run("name", flags...)` -> its folder."""

    def go(name, *flags, code=0):
        out = tmp_path / name
        words = ("segment", tiles / "train", "--val", tiles / "validation", *ON_TINY, *flags, "--out", out)
        ended, _, err = cli(*words)
        assert ended == code, err
        return err if code else out

    return go


def graders_iou(predicted, labels):
    """The course's mean IoU, written anew: colours as bits, classes 0 to 5 over the whole set."""

    def classes(path):
        bits = np.asarray(Image.open(path).convert("RGB")) >= 128
        code = 4 * bits[..., 0] + 2 * bits[..., 1] + bits[..., 2]
        table = np.array([6, 4, 3, 0, 7, 2, 1, 5])  # black blue green cyan red magenta yellow white
        return table[code]

    said = np.concatenate([classes(path).ravel() for path in predicted])
    true = np.concatenate([classes(path).ravel() for path in labels])
    values = []
    for index in range(6):
        both = np.sum((said == index) & (true == index))
        values.append(both / (np.sum(said == index) + np.sum(true == index) - both))
    return float(np.mean(values))


def numbers_of(cli, tmp_path, *words):
    code, text, err = cli("evaluate", *words, "--out", tmp_path / "n.json", "--cpu")
    assert code == 0, err
    return json.loads((tmp_path / "n.json").read_text()), text


def test_large_images_are_also_measured_in_tiles_of_the_crops(run, cli, tiles, tmp_path):
    out = run("a", "--epochs", 8, "--lr", 0.01)
    both, text = numbers_of(cli, tmp_path, out, tiles / "validation", *NET)
    assert both["tile"] == 32 and max(VAL["0013"]) >= 48
    in_tiles, other = numbers_of(cli, tmp_path, out, tiles / "validation", *NET, "--tile", 32, "--overlap", 8)
    assert both["miou_in_tiles"] == in_tiles["miou"] != both["miou"]
    assert "miou_in_tiles" in text and "miou_in_tiles" not in other


def test_the_folder_tells_the_same_story_everywhere(run, cli, tiles, tmp_path):
    out = run("a", "--watch", "0013,0104_sat.jpg", "--epochs", 5)
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    result = json.loads((out / "result.json").read_text())
    assert result["images"] == 3
    assert result["last"]["miou"] == scores[-1]["val_miou"]
    assert result["best"]["miou"] == max(line["val_miou"] for line in scores)
    assert {"val_miou", "val_fw_iou", "val_pixel_accuracy", "loss", "pixel_accuracy"} <= scores[0].keys()
    kept = sorted(path.relative_to(out / "masks").as_posix() for path in (out / "masks").rglob("*.png"))
    kinds = ("epoch-0001", "epoch-0003", "epoch-0005", "images", "labels")
    assert kept == [f"{kind}/{key}_mask.png" for kind in kinds for key in ("0013", "0104")]
    label = np.asarray(Image.open(out / "masks" / "labels" / "0013_mask.png"))
    assert np.array_equal(label, np.asarray(Image.open(tiles / "validation" / "0013_mask.png")))
    picture = np.asarray(Image.open(out / "masks" / "images" / "0013_mask.png"))
    assert np.array_equal(picture, np.asarray(Image.open(tiles / "validation" / "0013_sat.jpg")))
    assert json.loads((out / "masks.json").read_text())["classes"] == list(
        BUILT_IN_PALETTES["deepglobe"].names
    )
    assert (out / "figures" / "views.png").exists()

    code, _, err = cli("predict", out, tiles / "validation", *NET, "--out", tmp_path / "masks", "--cpu")
    assert code == 0, err
    written = sorted((tmp_path / "masks").glob("*.png"))
    assert [path.name for path in written] == [f"{key}_mask.png" for key in VAL]
    for key in ("0013", "0104"):
        last = out / "masks" / "epoch-0005" / f"{key}_mask.png"
        assert np.array_equal(
            np.asarray(Image.open(last)), np.asarray(Image.open(tmp_path / "masks" / last.name))
        )
        assert np.asarray(Image.open(last)).shape[:2] == VAL[key]

    by_run, text = numbers_of(cli, tmp_path, out, tiles / "validation", *NET)
    by_masks, _ = numbers_of(cli, tmp_path, tmp_path / "masks", tiles / "validation")
    by_best, _ = numbers_of(cli, tmp_path, out, tiles / "validation", *NET, "--which", "best")
    assert "unknown         n/a" in text
    assert by_run["miou"] == by_masks["miou"] == result["last"]["miou"]
    assert by_best["miou"] == result["best"]["miou"]
    for name in BUILT_IN_PALETTES["deepglobe"].names[:6]:
        assert by_run[f"iou/{name}"] == result["last"][f"iou/{name}"]
    labels = [tiles / "validation" / f"{key}_mask.png" for key in VAL]
    assert result["last"]["miou"] == pytest.approx(graders_iou(written, labels), abs=1e-9)
    with np.load(out / "val_confusions.npz") as file:
        assert file["confusions"].shape == (3, 7, 8)
        assert file["filenames"].tolist() == [f"{key}_sat.jpg" for key in VAL]
        sums = file["confusions"].sum(0).tolist()
    with (out / "confusion.csv").open(newline="") as file:
        assert [[int(n) for n in row[1:]] for row in list(csv.reader(file))[1:]] == sums


def test_masks_of_the_hardest_and_easiest_images_are_kept(run, cli, tiles, tmp_path):
    out = run("a", "--epochs", 2)  # nothing is watched
    with np.load(out / "val_confusions.npz") as file:
        confusions, names = file["confusions"].astype(float), file["filenames"].tolist()
    ious = mean_iou(confusions, np.arange(7) < 6)
    order = [names[index].replace("_sat.jpg", "_mask.png") for index in np.argsort(ious)]
    snapshots = read_mask_snapshots(out, extremes=True)
    assert snapshots.names == sorted([order[0], order[-1]]), "of three images, the hardest and the easiest"
    assert cli("predict", out, tiles / "validation", *NET, "--out", tmp_path / "m", "--cpu")[0] == 0
    for name in snapshots.names:
        kept = out / "extremes" / "masks" / "epoch-0002" / name
        assert np.array_equal(np.asarray(Image.open(kept)), np.asarray(Image.open(tmp_path / "m" / name)))
        iou = snapshots.iou(snapshots.prediction(2, name), snapshots.target(name))
        assert iou == pytest.approx(ious[names.index(name.replace("_mask.png", "_sat.jpg"))])
    ((_, shown),) = build([out]).figures.extremes
    assert [f"{each.name}_mask.png" for each in shown] == [order[0], order[-1]], "the hardest first"


def test_it_learns(run):
    out = run("a", "--epochs", 30, "--lr", 0.01, "--augment", "strong", "--val-every", 15)
    scores = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    looked = [line["epoch"] for line in scores if "val_miou" in line]
    assert looked == [1, 15, 30], "every 15 epochs, and when masks are kept"
    assert scores[-1]["val_miou"] > 0.3 > scores[0]["val_miou"]


def test_a_stopped_run_goes_on_as_if_nothing_had_been(run, cli, tmp_path, monkeypatch):
    whole = run("whole")
    from ssl_seg.workflows.segmentation_validator import SegmentationValidator

    evaluate = SegmentationValidator.evaluate

    def interrupted(self, epoch):
        if epoch == 2:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationValidator, "evaluate", interrupted)
        run("cut", code=143)
    code, _, err = cli("segment", *NET, "--resume", "--out", tmp_path / "cut")
    assert code == 0, err
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, tmp_path / "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole / "result.json").read_text() == (tmp_path / "cut" / "result.json").read_text()


@pytest.mark.parametrize(
    ("flags", "code", "what"),
    [
        (["--watch", "0014"], 2, "no validation image '0014' to watch; did you mean '01"),
        (["--watch-epochs", "1,9"], 2, "expected epochs from 1 to 3, got '9'"),
        (["--exclude", "watter"], 2, "no class 'watter' to exclude; did you mean 'water'?"),
        (["--head", "fcn"], 2, "fcn32s"),
        (
            ["--exclude", "urban,agriculture,rangeland,forest,water,barren,unknown"],
            3,
            "no mask contains a labeled pixel",
        ),
        (["-o", "val.palette=camvid"], 3, "masks cannot be used"),
    ],
)
def test_mistakes_are_told_before_the_first_step(run, tmp_path, flags, code, what):
    err = run("a", *flags, code=code)
    if what != "masks cannot be used":
        assert what in err
    assert not list((tmp_path / "a").glob("checkpoints/*"))


def test_a_colour_of_no_class_is_told_with_its_file_and_count(run, tiles, tmp_path):
    path = tiles / "train" / "0003_mask.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[:2, :3] = (255, 0, 0)
    Image.fromarray(mask).save(path)
    err = run("a", code=3)
    assert "0003_mask.png" in err and "6 pixels of color (255, 0, 0)" in err and "stray=ignore" in err
    run("b", "-o", "data.stray=ignore")


def test_masks_without_a_class_are_counted(cli, tiles, tmp_path):
    for key in ("0001", "0002"):
        Image.fromarray(np.zeros((48, 48 + int(key), 3), np.uint8)).save(tiles / "train" / f"{key}_mask.png")
    words = ("segment", tiles / "train", *ON_TINY, "--epochs", 1, "--out", tmp_path / "run")
    code, _, err = cli(*words)
    assert code == 0 and "2 of 9 masks have no pixel to learn from" in err
    assert "weights:" in err and not (tmp_path / "run" / "result.json").exists(), "nothing to measure on"


def test_validation_masks_are_read_as_those_of_training(cli, tmp_path):
    for part, count in (("train", 3), ("val", 5)):
        for index in range(4):
            folder = tmp_path / part
            folder.mkdir(exist_ok=True)
            picture = np.full((32, 32, 3), 40 * index + count, np.uint8)
            Image.fromarray(picture).save(folder / f"{index}_sat.png")
            Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32) % count).save(
                folder / f"{index}_mask.png"
            )
    words = ("segment", tmp_path / "train", "--val", tmp_path / "val", *ON_TINY, "--out", tmp_path / "run")
    code, _, err = cli(*words)
    assert code == 3 and "index 3, which is not one of 3" in err
    code, _, err = cli(*words, "-o", "data.palette=5")
    assert code == 0, err
    assert "contains 3, 4: not trained" in err and "contain 3, 4, which the training masks lack" in err
    (tmp_path / "val" / "palette.json").write_text('{"x": [1, 1, 1], "y": [2, 2, 2], "z": [3, 3, 3]}')
    code, _, err = cli(*words[:-1], tmp_path / "other", "-o", "val.stray=ignore")
    assert code == 3 and "are not those of the training masks" in err and "palette" in err


def test_the_output_stride_follows_the_head(run, cli, tiles, tmp_path):
    flags = ["--backbone", "test_resnet", "--epochs", 1]
    out = run("a", *flags)
    assert read_model_metadata(out / "model.safetensors")["options"] == {"output_stride": "8"}
    out = run("b", *flags, "-o", "backbone.output_stride=16")
    assert read_model_metadata(out / "model.safetensors")["options"] == {"output_stride": "16"}
    code, _, err = cli("evaluate", out, tiles / "validation", "--cpu")
    assert code == 0, err


def test_a_frozen_backbone_stays_and_starts_from_a_run(run, cli, photos, tmp_path):
    tiny = [
        "--backbone",
        f"{TINY}:TinyBackbone",
        "--image-size",
        16,
        "--batch-size",
        8,
        "--epochs",
        1,
        "--cpu",
    ]
    code, _, err = cli("train", photos, *tiny, "--out", tmp_path / "ssl")
    assert code == 0, err
    out = run("a", "--init", tmp_path / "ssl", "--freeze")
    before, after = (load_file(folder / "backbone.safetensors") for folder in (tmp_path / "ssl", out))
    assert all(torch.equal(before[name], after[name]) for name in before)
    out = run("b", "--init", tmp_path / "ssl", "--backbone-lr", 1e-5)
    after = load_file(out / "backbone.safetensors")
    moved = [float((before[n] - after[n]).abs().max()) for n in before if n.endswith("0.weight")]
    assert 0 < max(moved) < 1e-3


def test_fcn_starts_from_a_classifier_in_the_file(run, tmp_path):
    """Backbone and classifier of a VGG come from one file; here both are tiny."""
    weights = load_file(run("base", "--epochs", 1) / "backbone.safetensors")
    torch.manual_seed(3)
    weights["classifier.0.weight"], weights["classifier.0.bias"] = torch.randn(8, 16 * 49), torch.randn(8)
    weights["classifier.3.weight"], weights["classifier.3.bias"] = torch.randn(8, 8), torch.randn(8)
    save_file(weights, tmp_path / "vgg.safetensors")
    flags = ["--init", tmp_path / "vgg.safetensors", "--head", "fcn32s", "--lr", 0, "--epochs", 1]
    out = run("a", *flags)
    model = load_file(out / "model.safetensors")
    assert torch.equal(model["head.fc6.weight"].flatten(1), weights["classifier.0.weight"])
    assert torch.equal(model["head.fc7.bias"], weights["classifier.3.bias"])


def test_predict_finds_images_among_masks_and_below_folders(run, cli, tiles, tmp_path):
    out = run("a", "--epochs", 1)
    deep = tmp_path / "deep"
    tile(deep / "b" / "c", "0001", (70, 90))
    tile(deep, "0002", (32, 32))
    code, _, err = cli("predict", out, deep, *NET, "--out", tmp_path / "m", "--cpu", "--flips")
    assert code == 0, err
    found = {
        path.relative_to(tmp_path / "m").as_posix(): np.asarray(Image.open(path))
        for path in (tmp_path / "m").rglob("*.png")
    }
    assert {name: image.shape[:2] for name, image in found.items()} == {
        "0002_mask.png": (32, 32),
        "b/c/0001_mask.png": (70, 90),
    }
    code, _, err = cli("predict", out, deep, *NET, "--out", tmp_path / "i", "--cpu", "--flips", "--indices")
    indices = np.asarray(Image.open(tmp_path / "i" / "b" / "c" / "0001_mask.png"))
    assert np.array_equal(COLOURS[indices], found["b/c/0001_mask.png"])
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("x.jpg", "y.png"):
        Image.open(deep / "0002_sat.jpg").save(plain / name)
    code, _, err = cli("predict", out, plain, *NET, "--out", tmp_path / "p", "--cpu")
    assert sorted(path.name for path in (tmp_path / "p").glob("*.png")) == ["x_mask.png", "y_mask.png"]


def test_predict_refuses_what_would_lose_something(run, cli, tmp_path):
    out = run("a", "--epochs", 1)
    twins = tmp_path / "twins"
    twins.mkdir()
    for name in ("x.jpg", "x.png"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(twins / name)
    code, _, err = cli("predict", out, twins, *NET, "--out", tmp_path / "m", "--cpu")
    assert code == 2 and "x.jpg" in err and "x.png" in err and not (tmp_path / "m").exists()
    (tmp_path / "pred.csv").write_text("mine")
    code, _, err = cli("predict", out, twins, *NET, "--out", tmp_path / "pred.csv", "--cpu")
    assert code == 2 and (tmp_path / "pred.csv").read_text() == "mine"
    code, _, err = cli("predict", out, twins, *NET, "--out", tmp_path / "m", "--tile", 64, "--overlap", 64)
    assert code == 2 and "--overlap 64 must be less than --tile 64" in err
    (twins / "x.png").unlink()
    (twins / "bad.jpg").write_bytes(b"no image")
    code, _, err = cli("predict", out, twins, *NET, "--out", tmp_path / "m", "--cpu")
    assert code == 3 and "bad.jpg" in err
    code, text, err = cli(
        "predict", out, twins, *NET, "--out", tmp_path / "m", "--cpu", "--bad-images", "skip"
    )
    assert code == 0 and "bad.jpg" in err and text.startswith("1 masks")


def test_masks_of_other_programs(run, cli, tiles, tmp_path):
    """A perfect copy, one with a colour of no class, one too small, and one that is missing."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for key in VAL:
        Image.open(tiles / "validation" / f"{key}_mask.png").save(copy / f"{key}_mask.png")
    numbers, _ = numbers_of(cli, tmp_path, copy, tiles / "validation")
    assert numbers["miou"] == numbers["pixel_accuracy"] == 1.0

    path = copy / "0013_mask.png"
    mask = np.asarray(Image.open(path)).copy()
    wrong = (mask == COLOURS[1]).all(-1)
    assert wrong.any()
    mask[wrong] = (255, 0, 0)
    Image.fromarray(mask).save(path)
    numbers, _ = numbers_of(cli, tmp_path, copy, tiles / "validation")
    total = sum(
        int((np.asarray(Image.open(tiles / "validation" / f"{key}_mask.png")) == COLOURS[1]).all(-1).sum())
        for key in VAL
    )
    assert numbers["iou/agriculture"] == pytest.approx(1 - wrong.sum() / total)
    assert numbers["iou/urban"] == 1.0

    Image.fromarray(mask[:10]).save(path)
    code, _, err = cli("evaluate", copy, tiles / "validation")
    assert code == 3 and "0013" in err and "10 x 52" in err
    path.unlink()
    code, _, err = cli("evaluate", copy, tiles / "validation")
    assert code == 3 and "1 of 3 masks are not in" in err and "0013_mask.png" in err


ABSOLUTE = '''
from pathlib import Path
from ssl_seg.data.file_list import FileList
from ssl_seg.datasets.mask_pairs import mask_pairs

def absolute(root, split):
    """Masks and images by their absolute names."""
    found = mask_pairs(root, split)
    found.samples = FileList((str(Path(root, name).absolute()), -1) for name, _ in found.samples)
    return found
'''


def test_kept_masks_stay_in_the_run_whatever_the_images_are_called(cli, tiles, tmp_path):
    """Absolute names joined to the run's folder would lead to the images themselves."""
    (tmp_path / "absolute.py").write_text(ABSOLUTE)
    before = {path: path.read_bytes() for path in tiles.rglob("*.*")}
    spec, out = f"{tmp_path}/absolute.py:absolute={tiles}/validation", tmp_path / "r"
    words = ("segment", tiles / "train", "--val", spec, *ON_TINY, "--epochs", 1, "--watch", "0013,0062")
    code, _, err = cli(*words, "--out", out)
    assert code == 0, err
    kept = {path.relative_to(out).as_posix() for path in (out / "masks").rglob("*.png")}
    assert kept == {
        f"masks/{kind}/{name}_mask.png"
        for kind in ("images", "labels", "epoch-0001")
        for name in ("0013", "0062")
    }
    assert {path: path.read_bytes() for path in tiles.rglob("*.*")} == before


def test_a_link_among_kept_masks_is_found_before_the_training(cli, tiles, tmp_path):
    out, victim = tmp_path / "r", tmp_path / "victim"
    words = ("segment", tiles / "train", "--val", tiles / "validation", *ON_TINY, "--watch", "0013")
    assert cli(*words, "--out", out, "--epochs", 1)[0] == 0
    victim.mkdir()
    (out / "masks").rename(tmp_path / "elsewhere")
    (out / "masks").symlink_to(victim)
    code, _, err = cli("segment", *NET, "--resume", "--out", out)
    assert code == 2 and f"{out}/masks is a symbolic link" in err and not list(victim.iterdir())


def test_the_rates_suit_the_crops_and_are_recorded(run):
    """At stride 4 crops of 32 pixels give a map of 8 x 8 cells: the published rates would train 3 of 27 taps."""
    folder = run("small")
    assert read_toml(folder / "run.toml")["o"]["head"]["rates"] == "1,2,3"
    model, _ = ssl_seg.load(folder, backbone=NET[1])
    assert [branch[0].dilation[0] for branch in model.head.classifier[0].convs[1:-1]] == [1, 2, 3]


def test_rates_beyond_the_map_are_said_with_the_size_that_trains_them(cli, tiles, tmp_path):
    words = ("segment", tiles / "train", *ON_TINY, "-o", "head.rates=4,8,16", "--out", tmp_path / "run")
    code, _, err = cli(*words)
    assert code == 0, err
    assert "images of 32 pixels leave weights untrained that act in larger images: " in err
    assert "dilation 8 on 8 x 8 cells: 8 of 9 taps" in err
    assert "the smallest size that trains all is 68 pixels" in err  # 17 cells of 4 pixels
    assert read_toml(tmp_path / "run" / "run.toml")["o"]["head"]["rates"] == "4,8,16"
