"""What `predict` writes of a segmentation besides masks."""

import json

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from PIL import Image

from ssl_seg.augment.views import normalize_images
from ssl_seg.weights.load import load
from ssl_seg.weights.model_file import save_model

CLASSES = ("meadow", "sea", "wood")
COLOURS = np.array([[0, 255, 0], [0, 0, 255], [255, 0, 0]], np.uint8)


@pytest.fixture
def scenes(tmp_path):
    """`scenes/a.png`, `scenes/b.png` and `scenes/deep/c.png`, the last of another size."""
    chance = np.random.default_rng(0)
    for name, (height, width) in {"a": (40, 56), "b": (40, 56), "deep/c": (33, 20)}.items():
        path = tmp_path / "scenes" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(chance.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.NEAREST).save(path)
    return tmp_path / "scenes"


@pytest.fixture
def masks(trained, scenes, cli, tmp_path):
    """`masks("--overlay")`: the folder of the masks."""
    run = trained("segment", CLASSES)
    model, metadata = load(run)
    chance = torch.Generator().manual_seed(1)
    for parameter in model.head.parameters():  # what has learnt nothing says one class everywhere
        torch.nn.init.normal_(parameter, std=1.0, generator=chance)
    model.head.last.bias.data.zero_()
    save_model(run / "model.safetensors", model, metadata)

    def predict(*words, out="masks", images=scenes):
        code, _, err = cli(
            "predict", run, images, "--out", tmp_path / out, "--cpu", "--precision", "fp32", *words
        )
        assert code == 0, err
        return tmp_path / out

    return predict


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def by_hand(tmp_path, path, flipped=False):
    """(C, H, W) probabilities."""
    model, metadata = load(tmp_path / "segment")
    images = torch.from_numpy(pixels(path).transpose(2, 0, 1)[None].copy())
    images = normalize_images(images, tuple(metadata["mean"]), tuple(metadata["std"]))
    with torch.no_grad():
        logits = model(images.flip(-1)).flip(-1) if flipped else model(images)
    powers = np.exp(logits[0].numpy().astype(float))
    return powers / powers.sum(axis=0)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_everything_of_an_image_is_about_the_same_probabilities(masks, scenes, tmp_path):
    out = masks("--probabilities", "--uncertainty", "--overlay", "--indices")
    for name in ("a", "b", "deep/c"):
        expected = by_hand(tmp_path, scenes / f"{name}.png")
        with np.load(out / "probabilities" / f"{name}.npz") as file:
            assert file["probabilities"].dtype == np.float16 and tuple(file["classes"]) == CLASSES
            np.testing.assert_allclose(file["probabilities"], expected, atol=1e-3)
        indices = pixels(out / f"{name}.png")
        np.testing.assert_array_equal(indices, expected.argmax(axis=0))
        assert len(np.unique(indices)) > 1
        entropy = -(expected * np.log(expected)).sum(axis=0) / np.log(3)
        np.testing.assert_allclose(pixels(out / "uncertainty" / f"{name}.png"), 255 * entropy, atol=0.51)
        mixed = (pixels(scenes / f"{name}.png").astype(float) + COLOURS[indices]) / 2
        np.testing.assert_allclose(pixels(out / "overlays" / f"{name}.png"), mixed, atol=0.51)
    kinds = (("", "png"), ("overlays/", "png"), ("probabilities/", "npz"), ("uncertainty/", "png"))
    listed = [f"{folder}{name}.{end}" for folder, end in kinds for name in ("a", "b", "deep/c")]
    assert files_in(out) == sorted([*listed, "result.json"])
    record = json.loads((out / "result.json").read_text())
    assert record["images"] == 3 and record["seconds_per_image"] > 0


def outlines_of(feature):
    return feature["geometry"]["coordinates"]


def test_polygons_filled_again_are_the_mask(masks, scenes, tmp_path):
    out = masks("--polygons", "geojson", "--indices")
    for name in ("a", "b", "deep/c"):
        mask = pixels(out / f"{name}.png")
        content = json.loads((out / "polygons" / f"{name}.geojson").read_text())
        assert content["type"] == "FeatureCollection"
        sure = by_hand(tmp_path, scenes / f"{name}.png").max(axis=0)
        again, times = np.full_like(mask, 255), np.zeros(mask.shape, int)
        for feature in content["features"]:
            assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
            assert all(ring[0] == ring[-1] for ring in outlines_of(feature))
            inside = filled([ring[:-1] for ring in outlines_of(feature)], mask.shape)
            said = feature["properties"]
            again[inside], times = said["class_index"], times + inside
            assert said["class"] == CLASSES[said["class_index"]] and said["pixels"] == inside.sum()
            assert said["confidence"] == pytest.approx(sure[inside].mean(), abs=1e-3)
        assert (again == mask).all() and (times == 1).all()
    assert "polygons/deep/c.geojson" in files_in(out)


def test_coco_annotations_filled_again_are_the_masks(masks, scenes):
    out = masks("--polygons", "coco", "--indices")
    content = json.loads((out / "polygons.json").read_text())
    assert content["categories"] == [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png", "deep/c.png"]
    assert len({each["id"] for each in content["annotations"]}) == len(content["annotations"])
    for image in content["images"]:
        mask = pixels(out / image["file_name"])
        assert mask.shape == (image["height"], image["width"])
        again, times = np.full_like(mask, 255), np.zeros(mask.shape, int)
        for each in content["annotations"]:
            if each["image_id"] != image["id"]:
                continue
            pieces = [list(zip(piece[::2], piece[1::2], strict=True)) for piece in each["segmentation"]]
            inside = sum(filled([piece], mask.shape).astype(int) for piece in pieces)
            again[inside == 1], times = each["category_id"] - 1, times + inside
            rows, columns = np.nonzero(inside)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert each["bbox"] == box and each["area"] == inside.sum() and each["iscrowd"] == 0
            assert 1 / 3 <= each["score"] <= 1
        assert (again == mask).all() and (times == 1).all()


def filled(rings, shape):
    """(H, W) bool: the pixels whose centres are inside an odd number of rings, by matplotlib."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    times = sum(Outline([*ring, ring[0]], closed=True).contains_points(centres).astype(int) for ring in rings)
    return (times % 2 == 1).reshape(shape)


def test_flips_average_probabilities(masks, scenes, tmp_path):
    out = masks("--tta", "flips", "--probabilities")
    for name in ("a", "deep/c"):
        path = scenes / f"{name}.png"
        expected = (by_hand(tmp_path, path) + by_hand(tmp_path, path, flipped=True)) / 2
        with np.load(out / "probabilities" / f"{name}.npz") as file:
            np.testing.assert_allclose(file["probabilities"], expected, atol=1e-3)
    again = masks("--flips", "--probabilities", out="again")
    assert (again / "a.png").read_bytes() == (out / "a.png").read_bytes()


def test_the_batch_size_changes_no_mask(masks, scenes):
    for number in range(3):  # their sizes change and change back
        Image.open(scenes / "a.png").transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(
            scenes / f"z{number}.png"
        )
    one, many = (
        masks("--tile", 32, "--overlap", 8),
        masks("--batch-size", 4, "--tile", 32, "--overlap", 8, out="many"),
    )
    assert len(files_in(one)) == 7
    for name in files_in(one)[:-1]:
        np.testing.assert_array_equal(pixels(one / name), pixels(many / name)) if name.endswith(
            ".png"
        ) else None


def test_single_files_and_patterns_lie_flat(masks, scenes):
    assert files_in(masks(out="one", images=scenes / "deep" / "c.png")) == ["c.png", "result.json"]
    assert files_in(masks(out="many", images=f"{scenes}/*.png")) == ["a.png", "b.png", "result.json"]
    assert files_in(masks(out="all", images=f"{scenes}/**/*.png")) == [
        "a.png",
        "b.png",
        "deep/c.png",
        "result.json",
    ]


@pytest.mark.parametrize("link", ["overlays", "overlays/a.png", "result.json"])
def test_no_further_output_goes_through_a_link(masks, scenes, cli, tmp_path, link):
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "masks" / link).parent.mkdir(parents=True)
    (tmp_path / "masks" / link).symlink_to(victim if link == "overlays" else victim / "x")
    words = ("--out", tmp_path / "masks", "--overlay", "--overwrite", "--cpu")
    code, _, err = cli("predict", tmp_path / "segment", scenes, *words)
    assert code == 2 and "is a symbolic link" in err and not list(victim.iterdir())


def test_existing_overlays_are_kept(masks, scenes, cli, tmp_path):
    masks("--overlay")
    for path in (tmp_path / "masks").glob("*.png"):
        path.unlink()
    words = ("predict", tmp_path / "segment", scenes, "--out", tmp_path / "masks", "--cpu")
    assert cli(*words, "--overlay")[0] == 9


def test_more_labels_are_for_classifiers(masks, scenes, cli, tmp_path):
    code, _, err = cli("predict", tmp_path / "segment", scenes, "--out", tmp_path / "m", "--cpu", "--top", 2)
    assert code == 2 and "--top: only for classifiers" in err and not (tmp_path / "m").exists()


def test_a_file_that_is_left_out_for_its_name_is_told(trained, scenes, cli, tmp_path):
    run = trained("segment", CLASSES)
    model, metadata = load(run)
    save_model(run / "model.safetensors", model, metadata | {"image_suffix": "_sat", "mask_suffix": "_mask"})
    (scenes / "a.png").rename(scenes / "a_sat.png")
    words = ("predict", run, scenes / "a_sat.png", scenes / "b.png", "--out", tmp_path / "m", "--cpu")
    code, _, err = cli(*words)
    assert code == 0 and f"1 file, for example {scenes / 'b.png'}" in err
    assert files_in(tmp_path / "m") == ["a_mask.png", "result.json"]
