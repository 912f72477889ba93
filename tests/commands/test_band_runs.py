"""Images of four bands through all commands, which are told of them once; and a GeoTIFF keeps its place."""

import json
import tomllib

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ssl_seg.data.decode import read_image
from ssl_seg.data.tiff_bands import GEO_TAGS, georeference
from ssl_seg.weights.backbone_file import read_metadata
from ssl_seg.weights.load import load

QUICK = ["--image-size", 16, "--batch-size", 4, "--epochs", 1, "--cpu"]
BANDS = ["-o", "data.bands=4,3,2,1"]
GEO = {
    33550: (10.0, 10.0, 0.0),
    33922: (0.0, 0.0, 0.0, 500000.0, 4000000.0, 0.0),
    34735: (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633),
}


def scene(random, kind=np.uint8, top=250):
    """A picture of four bands whose right half is bright in the last one, and its mask."""
    pixels = random.integers(0, top // 2, (20, 24, 4)).astype(kind)
    mask = np.zeros((20, 24), np.uint8)
    mask[:, 12:] = 1
    pixels[..., 3] += mask.astype(kind) * kind(top // 2)
    return pixels, mask


def write(path, pixels, tiff):
    path.parent.mkdir(parents=True, exist_ok=True)
    if tiff:
        tifffile = pytest.importorskip("tifffile")
        tags = [(33550, "d", 3, GEO[33550], True), (33922, "d", 6, GEO[33922], True)]
        tags += [(34735, "H", 16, GEO[34735], True)]
        options = {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"}
        tifffile.imwrite(path.with_suffix(".tif"), pixels, extratags=tags, **options)
    else:
        Image.fromarray(pixels).save(path.with_suffix(".png"))


def made(folder, tiff=False):
    """`labels/train/a/0.png`, ... and `masks/train/0_sat.png` with `0_mask.png`, ..."""
    random = np.random.default_rng(0)
    kind, top = (np.uint16, 4000) if tiff else (np.uint8, 250)
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            for name in "ab":
                pixels, _ = scene(random, kind, top)
                pixels[..., 3] //= 1 + 3 * (name == "a")
                write(folder / "labels" / split / name / str(index), pixels, tiff)
            pixels, mask = scene(random, kind, top)
            write(folder / "masks" / split / f"{index}_sat", pixels, tiff)
            Image.fromarray(mask).save(folder / "masks" / split / f"{index}_mask.png")


def run(cli, *words):
    code, out, err = cli(*words)
    assert code == 0, err
    return out + err


def pretrained(cli, folder, *stated):
    words = ["train", folder / "labels" / "train", "--ssl", "simsiam", "--backbone", "test_resnet", *QUICK]
    return run(cli, *words, *stated, "--out", folder / "pre", "--on-collapse", "ignore")


def test_four_bands_from_pretraining_to_labels(cli, tmp_path):
    made(tmp_path)
    said = pretrained(cli, tmp_path, *BANDS, "--probe", tmp_path / "labels")
    assert "normalization, measured on 8 training images: mean " in said
    assert "views of 4 channels: without saturation, hue, grayscale" in said
    header = read_metadata(tmp_path / "pre" / "backbone.safetensors")
    assert header["bands"] == [4, 3, 2, 1] and header["options"] == {"in_chans": "4"}
    paths = sorted((tmp_path / "labels" / "train").rglob("*.png"))
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 4) for path in paths])[:, ::-1] / 255
    assert np.allclose(header["mean"], pixels.mean(axis=0)) and np.allclose(header["std"], pixels.std(axis=0))
    record = tomllib.loads((tmp_path / "pre" / "run.toml").read_text())["record"]
    assert record["data"]["mean"] == header["mean"]
    assert record["resolved"]["views"]["1"]["hue"] == 0.0
    with Image.open(tmp_path / "pre" / "figures" / "views.png") as sheet:
        assert sheet.mode == "RGB"

    labels = tmp_path / "labels"  # from here on nobody says how images are read
    words = [
        "classify",
        labels,
        "--val",
        labels,
        "--init",
        tmp_path / "pre",
        *QUICK,
        "--out",
        tmp_path / "cls",
    ]
    said = run(cli, *words)
    assert "normalization" not in said
    metadata = load(tmp_path / "cls")[1]
    assert (metadata["bands"], metadata["mean"]) == ([4, 3, 2, 1], header["mean"])
    run(cli, "predict", tmp_path / "cls", labels / "val", "--out", tmp_path / "p.csv", "--cpu")
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 5
    code, _, err = cli("predict", tmp_path / "cls", "demo", "--out", tmp_path / "q.csv", "--cpu")
    assert code == 2 and "takes images of 4 channels, and the images of demo have 3 channels" in err
    words = ["train", labels / "train", "--init", tmp_path / "pre", *QUICK, "-o", "data.bands=1,2,3"]
    code, _, err = cli(*words, "--out", tmp_path / "q")
    assert code == 2 and "for images of 4 channels, and these have 3" in err

    run(cli, "export", tmp_path / "pre", "--to", "timm", "--out", tmp_path / "timm")
    net = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    assert next(part for part in net.parameters() if part.ndim == 4).shape[1] == 4
    assert net.pretrained_cfg["input_size"][0] == 4
    assert np.allclose(net.pretrained_cfg["mean"], header["mean"])
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    assert config["bands"] == [4, 3, 2, 1]
    run(cli, "export", tmp_path / "cls", "--to", "hub", "--out", tmp_path / "hub")
    model, metadata = load(tmp_path / "hub")
    assert model(torch.zeros(1, 4, 16, 16)).shape == (1, 2) and metadata["bands"] == [4, 3, 2, 1]


@pytest.mark.parametrize("tiff", [False, True])
def test_four_bands_from_pretraining_to_masks(tiff, cli, tmp_path):
    made(tmp_path, tiff)
    pretrained(cli, tmp_path, *BANDS, *(["-o", "data.range=p2,p98"] if tiff else []))
    header = read_metadata(tmp_path / "pre" / "backbone.safetensors")
    assert ("range" in header) == tiff
    masks = tmp_path / "masks"
    words = ["segment", masks, "--val", masks, "--init", tmp_path / "pre", *QUICK, "--out", tmp_path / "seg"]
    run(cli, *words, "--watch", "0", "--image-size", 32)
    metadata = load(tmp_path / "seg")[1]
    assert all(metadata[key] == header[key] for key in ("mean", "std", "bands"))
    assert metadata.get("range") == header.get("range") and len(metadata.get("range", [0] * 8)) == 8
    assert read_image(tmp_path / "seg" / "masks" / "images" / "0_mask.png", 64)[0].shape == (20, 24, 3)
    words = ["predict", tmp_path / "seg", masks / "val", "--out", tmp_path / "out", "--cpu", "--overlay"]
    run(cli, *words)
    assert (tmp_path / "out" / f"0_mask.{'tif' if tiff else 'png'}").is_file()
    if tiff:
        tags = georeference(tmp_path / "out" / "overlays" / "0_mask.tif")
        assert {tag: tags[tag] for tag in GEO} == GEO
        assert "miou" in run(cli, "evaluate", tmp_path / "out", masks, *BANDS)


def geotiff(path, height=20, width=24):
    tags = ImageFileDirectory_v2()
    for tag, value in GEO.items():
        tags.tagtype[tag] = 3 if tag == 34735 else 12
        tags[tag] = value
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, tiffinfo=tags)


@pytest.mark.parametrize("indices", [False, True])
def test_the_mask_of_a_geotiff_lies_where_its_image_lies(indices, trained, cli, tmp_path):
    geotiff(tmp_path / "pics" / "a.tif")
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(tmp_path / "pics" / "b.tif")
    out, words = tmp_path / "out", ["--indices"] * indices
    run(cli, "predict", trained("segment"), tmp_path / "pics", "--out", out, "--cpu", *words)
    assert sorted(path.name for path in out.glob("?.*")) == ["a.tif", "b.png"]
    with Image.open(out / "a.tif") as mask, Image.open(out / "b.png") as other:
        assert mask.mode == other.mode == ("L" if indices else "RGB") and mask.size == (24, 20)
        assert {tag: mask.tag_v2[tag] for tag in GEO_TAGS if tag in mask.tag_v2} == GEO
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(tmp_path / "pics" / "a.tif") as image, rasterio.open(out / "a.tif") as mask:
        assert mask.transform == image.transform and mask.crs == image.crs
        assert mask.transform.c == 500000 and mask.crs.to_epsg() == 32633


def test_shards_keep_no_bands(cli, tmp_path):
    made(tmp_path)
    code, _, err = cli("pack", tmp_path / "labels", "--out", tmp_path / "shards", *BANDS)
    assert code == 2 and "do not keep data.bands" in err
