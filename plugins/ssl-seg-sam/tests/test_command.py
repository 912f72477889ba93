"""`ssl-seg sam` whole: what it writes, what it says, and how it fails."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ssl_seg_sam.metrics import labels_of

from ssl_seg.metrics.mean_iou import MeanIoU
from ssl_seg.utils.text import shown

EASY = ("--quality", -9, "--stability", 0.01, "--points", 4, "--tile", 64, "--cpu", "--precision", "fp32")


@pytest.fixture
def sam(cli, tiny_sam, tmp_path):
    """`sam(target, flags...)` -> folder, `sam.json`, stdout, stderr."""

    def run(target, *flags, code=0, model=tiny_sam, out=tmp_path / "out"):
        words = ("sam", target, "--model", model, *EASY, *flags)
        ended, stdout, err = cli(*words, *(("--out", out) if out else ()))
        assert ended == code, err
        if code:
            return err
        out = out or target / "sam"
        return out, json.loads((out / "sam.json").read_text()), stdout, err

    return run


def test_a_folder_with_masks(sam, data):
    out, content, stdout, err = sam(data / "validation", "--images", "0013,0104_sat.jpg")
    assert sorted(path.name for path in out.iterdir()) == [
        "0013.png",
        "0013_masks.npz",
        "0104.png",
        "0104_masks.npz",
        "sam.json",
    ]
    assert [image["name"] for image in content["images"]] == ["0013", "0104"]
    assert content["classes"][0] == "urban" and content["exclude"] == ["unknown"]
    assert content["settings"]["points"] == 4
    metric, names = MeanIoU(content["classes"], exclude="unknown"), []
    for image in content["images"]:
        label = np.asarray(Image.open(data / "validation" / f"{image['name']}_mask.png"))
        with np.load(out / f"{image['name']}_masks.npz") as file:
            index, boxes, areas = file["index"], file["boxes"], file["areas"]
        picture = np.asarray(Image.open(out / f"{image['name']}.png"))
        assert picture.shape == label.shape == (image["height"], image["width"], 3)
        assert index.shape == label.shape[:2]
        assert image["segments"] == len(boxes) > 0 and list(areas) == sorted(areas, reverse=True)
        assert image["coverage"] == pytest.approx((index > 0).mean())
        one = MeanIoU(content["classes"], exclude="unknown")
        for each in (one, metric):
            each.update(*named_by_hand(index, label))
        assert image["agreement"] == pytest.approx(one.compute()["miou"])
        assert image["models"] == {}
        names.append(f"{image['agreement']:.4f}")
    assert content["all"] == {"agreement": pytest.approx(metric.compute()["miou"]), "models": {}}
    assert all(name in stdout for name in names) and "written:" in stdout
    assert "0013: " in err


def named_by_hand(index, painted):
    """Each segment has the colour that most of its pixels have; as classes of the course's palette."""
    code = painted.astype(int) // 255 @ (4, 2, 1)
    label = np.array([6, 4, 3, 0, 7, 2, 1, 5])[code]  # black blue green cyan red magenta yellow white
    predicted = np.full(index.shape, 99)
    for number in range(1, index.max() + 1):
        held = label[index == number].tolist()
        if held:
            predicted[index == number] = min(set(held), key=lambda cls: (-held.count(cls), cls))
    return torch.from_numpy(predicted)[None], torch.from_numpy(label)[None]


def test_a_run_has_its_images_and_its_number_beside(sam, trained, data):
    out, content, stdout, _ = sam(trained, out=None)
    assert out == trained / "sam"
    assert [image["name"] for image in content["images"]] == ["0013", "0104"], "those it watched"
    metric = MeanIoU(content["classes"], exclude="unknown")
    for image in content["images"]:
        one = MeanIoU(content["classes"], exclude="unknown")
        masks = [
            np.asarray(Image.open(path)).astype(int) // 255 @ (4, 2, 1)
            for path in (
                trained / "masks" / "epoch-0001" / f"{image['name']}_mask.png",
                data / "validation" / f"{image['name']}_mask.png",
            )
        ]
        table = np.array([6, 4, 3, 0, 7, 2, 1, 5])
        for each in (one, metric):
            each.update(*(torch.from_numpy(table[mask])[None] for mask in masks))
        assert image["models"] == {"fcn": pytest.approx(one.compute()["miou"])}
    assert content["all"]["models"] == {"fcn": pytest.approx(metric.compute()["miou"])}
    assert "fcn" in stdout


def test_any_validation_image_of_a_run(sam, trained):
    _, content, _, _ = sam(trained, "--images", "0062")
    assert content["images"][0]["models"]["fcn"] is not None


def test_a_run_whose_data_are_gone_uses_what_it_kept(sam, trained, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    text = (moved / "run.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("val = "))
    (moved / "run.toml").write_text(text.replace(line, 'val = "nowhere"'))
    _, content, _, err = sam(moved)
    _, there, _, _ = sam(trained)
    assert "the 2 saved images of" in err
    for one, two in zip(content["images"], there["images"], strict=True):
        assert one["name"] == two["name"] and one["models"]["moved"] == two["models"]["fcn"]
        assert (one["width"], one["height"]) == (two["width"], two["height"])
    shutil.rmtree(moved / "masks")
    assert "it has no saved images" in sam(moved, code=3)


def test_a_run_that_was_stopped_has_no_number(sam, trained, tmp_path):
    early = tmp_path / "early"
    shutil.copytree(trained, early)
    (early / "val_confusions.npz").unlink()
    _, content, stdout, err = sam(early, "--compare", trained)
    assert "early: no comparison" in err
    assert content["images"][0]["models"] == {"early": None, "fcn": content["images"][0]["models"]["fcn"]}
    assert content["all"]["models"]["early"] is None and "n/a" in stdout


@pytest.mark.parametrize("prompt", ["boxes", "points"])
def test_prompts_from_what_the_run_predicted(sam, trained, prompt):
    from ssl_seg_sam.prompts import regions

    _, content, _, _ = sam(trained, "--prompt", prompt, "--images", "0013", "--batch", 2)
    mask = np.asarray(Image.open(trained / "masks" / "epoch-0001" / "0013_mask.png"))
    assert 0 < content["images"][0]["segments"] <= len(regions(mask, [(0, 0, 0)])[0])
    assert "has no saved prediction of '0062'" in sam(trained, "--prompt", prompt, "--images", "0062", code=2)


def test_prompts_on_the_command_line(sam, data):
    flags = ("--images", "0013", "--box", "1,2,30,40", "--box", "10,10,60,40")
    _, content, _, err = sam(data / "validation", *flags)
    assert content["images"][0]["segments"] + err.count("of 2 prompts") * 2 >= 2
    _, content, _, _ = sam(data / "validation", "--images", "0013", "--point", "20,20")
    assert content["images"][0]["segments"] == 1
    assert "outside 0062" in sam(data / "validation", "--point", "50,40", "--images", "0062", code=2)


def test_sam_2(sam, data, tiny_sam2):
    _, content, _, _ = sam(data / "validation", "--images", "0013", model=tiny_sam2)
    assert content["images"][0]["segments"] > 0


def test_images_without_masks_have_no_agreement(sam, tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, shape in {"a.png": (1, 70), "sub/b.jpg": (90, 3), "c.webp": (65, 65)}.items():
        Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / name)
    out, content, stdout, err = sam(folder)
    assert [image["name"] for image in content["images"]] == ["a", "c", "sub/b"]
    assert (
        all(image["agreement"] is None for image in content["images"]) and content["all"]["agreement"] is None
    )
    assert (out / "sub" / "b.png").is_file()
    assert np.asarray(Image.open(out / "a.png")).shape == (1, 70, 3)
    assert "n/a" in stdout and "achievable" not in err


def test_nothing_found_is_said(sam, data):
    _, content, _, err = sam(data / "validation", "--images", "0013", "--quality", 99)
    assert content["images"][0]["segments"] == 0 and content["images"][0]["agreement"] == 0.0
    assert "no mask passed --quality 99 and --stability 0.01" in err


def test_one_class(sam, tmp_path, make_tile):
    make_tile(tmp_path / "one", "0001", (40, 40), classes=1)
    _, content, _, err = sam(tmp_path / "one", "-o", "data.palette=deepglobe")
    assert "warning: the masks of these images contain no scored class but urban" in err
    covered = content["images"][0]["coverage"]
    assert content["images"][0]["agreement"] == pytest.approx(covered)


def test_a_label_map_that_cannot_be_used_costs_the_agreement_only(sam, tmp_path, make_tile):
    folder = tmp_path / "tiles"
    for key in ("0001", "0002"):
        make_tile(folder, key, (40, 40))
    mask = np.array(Image.open(folder / "0002_mask.png"))
    mask[3, 3] = (255, 0, 0)
    Image.fromarray(mask).save(folder / "0002_mask.png")
    _, content, _, err = sam(folder)
    assert content["images"][0]["agreement"] is not None and content["images"][1]["agreement"] is None
    assert "0002: no achievable mIoU" in err and content["all"]["agreement"] is None
    _, content, _, _ = sam(folder, "-o", "data.stray=ignore")
    assert content["all"]["agreement"] is not None


def test_hostile_file_names(sam, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    names = ["<script>alert(1)<", "line\nbreak", "\x1b[31mred", "a" * 200, "sam.json", "%s {x}", "-rf", " "]
    names.append(os.fsdecode(b"\xff\xfe"))
    for name in names:
        Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    out, content, stdout, err = sam(folder)
    assert sorted(image["name"] for image in content["images"]) == sorted(names)
    assert all((out / f"{name}.png").is_file() for name in names)
    assert "\x1b" not in stdout + err and "line\nbreak" not in stdout + err
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"bad", "out"}, "nothing beside OUT"


def test_names_that_are_not_there(sam, data):
    err = sam(data / "validation", "--images", "0013,0063", code=2)
    assert "no image '0063'; did you mean '0062'?" in err
    assert "no such file or folder" in sam(data / "nowhere", code=3)


def test_two_images_of_one_name(sam, tmp_path):
    for name in ("x/1.png", "y/1.png", "1.jpg", "1.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(tmp_path / "in" / name)
    assert "4 images match '1'" in sam(tmp_path / "in", "--images", "1", code=2)
    _, content, _, _ = sam(tmp_path / "in", "--images", "x/1.png,1.jpg")
    assert [image["name"] for image in content["images"]] == ["x/1", "1"]
    assert "1.jpg and 1.png would have the same output 1.png" in sam(tmp_path / "in", code=2)


def test_a_damaged_image_keeps_what_was_done(sam, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1", "2"):
        Image.fromarray(np.zeros((9, 9, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
    assert "cannot read '2.png'" in sam(folder, code=3)
    content = json.loads((tmp_path / "out" / "sam.json").read_text())
    assert [image["name"] for image in content["images"]] == ["1"]


def test_without_weights_it_says_what_to_download(sam, data, tmp_path):
    err = sam(data / "validation", model="facebook/sam-vit-base", code=4)
    assert "hf download facebook/sam-vit-base config.json" in err and "Traceback" not in err
    assert len(err.strip().splitlines()) <= 12
    (tmp_path / "empty").mkdir()
    assert "missing config.json" in sam(data / "validation", model=tmp_path / "empty", code=4)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--prompt", "boxes"), "is not a run folder"),
        (("--point", "1,1", "--box", "1,1,2,2"), "use only one"),
        (("--point", "x"), "expected 2 comma-separated numbers"),
        (("--compare", "nowhere"), "not a run folder"),
        (("-o", "ssl.decay=1"), "only data options are supported"),
        (("--prompt", "text"), "text"),
    ],
)
def test_flags_that_make_no_sense(sam, data, flags, text):
    assert text in sam(data / "validation", *flags, code=2)


def test_a_run_of_another_command(sam, tmp_path):
    (tmp_path / "run.toml").write_text('train = "x"\n[record]\ncommand = "classify"\n')
    assert "expected one of `ssl-seg segment`" in sam(tmp_path, code=2)


def test_labels_of_runs():
    one, two, other = Path("a/x"), Path("b/x"), Path("c/y")
    assert labels_of([one, other]) == {one: "x", other: "y"}
    assert labels_of([one, two, other, one]) == {one: "a/x", two: "b/x", other: "y"}
    assert list(labels_of([other, one]).values()) == ["y", "x"]
    assert shown("Köln") == "Köln" and shown("a\nb") == r"a\nb"


def test_nothing_heavy_is_loaded_for_help(installed):
    code = (
        "import sys\nfrom ssl_seg.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('loaded', [name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    for words in (["--help"], ["sam", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "sam" in done.stdout and done.stdout.splitlines()[-1] == "loaded []"


def test_a_name_that_is_no_unicode_is_told(sam, data):
    assert "no image" in sam(data / "validation", "--images", "\udcff", code=2)
