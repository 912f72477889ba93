"""Chosen bands of files, as NumPy has them; percentiles and statistics; what has no such band is refused."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.bands import as_rgb, parse_bands, read_bands
from ssl_seg.data.decode import read_image
from ssl_seg.data.files import FileDataset
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.levels import Levels, Percentiles, PixelError
from ssl_seg.data.tiff_bands import tiff_size
from ssl_seg.errors import DataError, UsageError

from .by_hand import write_tiff


def noise(bands, kind=np.uint8, height=12, width=9, top=250):
    return np.random.default_rng(bands).integers(0, top, (height, width, bands)).astype(kind)


def folder_of(tmp_path, *arrays, **options):
    """A dataset of PNG (uint8, at most four bands) or TIFF files."""
    names = []
    for index, array in enumerate(arrays):
        if array.dtype == np.uint8 and array.shape[2] in (1, 2, 3, 4):
            names.append(f"{index}.png")
            Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(tmp_path / names[-1])
        else:
            names.append(f"{index}.tif")
            write_tiff(tmp_path / names[-1], array)
    return FileDataset(tmp_path, [(name, -1) for name in names], **options)


@pytest.mark.parametrize(
    ("text", "bands"),
    [("4,3,2", (4, 3, 2)), ("1-13", tuple(range(1, 14))), ("1", (1,)), ("8, 2-3", (8, 2, 3))],
)
def test_bands_are_numbers_from_1(text, bands):
    assert parse_bands(text) == bands
    assert parse_bands(None) == ()


@pytest.mark.parametrize("text", ["", "0", "3-1", "nir", "1,,2", "1.5", "-1", "99999"])
def test_what_is_no_list_of_bands_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="no list of bands") as caught:
        parse_bands(text)
    assert "data.bands=4,3,2" in caught.value.next


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_bands_of_png_files_are_taken_as_they_are(tmp_path, bands):
    pixels = noise(bands)
    dataset = folder_of(tmp_path, pixels, bands=f"1-{bands}")
    image, size = dataset.image(0, 64)
    assert size == (12, 9) == dataset.size(0) and dataset.channels == bands
    assert np.array_equal(image, pixels)  # nothing is laid over white
    turned = folder_of(tmp_path, pixels, bands=",".join(map(str, range(bands, 0, -1))))
    assert np.array_equal(turned.image(0, 64)[0], pixels[..., ::-1])
    plain = folder_of(tmp_path, pixels)
    assert len({each.identity(0) for each in (dataset, plain, *[turned] * (bands > 1))}) == 2 + (bands > 1)


def test_three_bands_of_a_photograph_are_its_colours_bit_by_bit(tmp_path):
    pixels = noise(3, height=90, width=70)
    plain, chosen = (folder_of(tmp_path, pixels, bands=bands) for bands in (None, "1-3"))
    for canvas in (64, 200):
        assert np.array_equal(plain.image(0, canvas)[0], chosen.image(0, canvas)[0])


def test_deep_and_turned_png_files(tmp_path):
    values = noise(1, np.uint16, top=4096)[..., 0]
    Image.fromarray(values).save(tmp_path / "deep.png")
    image, _ = read_bands(tmp_path / "deep.png", 64, (1,), Levels((0, 4095)))
    assert np.array_equal(image[..., 0], np.rint(values / 4095 * 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(3)).save(tmp_path / "turned.png", exif=exif)
    image, size = read_bands(tmp_path / "turned.png", 64, (1, 2, 3), Levels())
    assert size == (9, 12)
    assert np.array_equal(image, read_image(tmp_path / "turned.png", 64)[0])


def test_a_band_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    dataset = folder_of(tmp_path, noise(3), bands="4,3,2")
    with pytest.raises(PixelError, match=r"band 4 is not in the file, which has 3 bands.*data.bands=1-3"):
        dataset.image(0, 64)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_bands_of_tiff_files(tmp_path, bands, kind, order, planar):
    pytest.importorskip("tifffile")
    values = noise(bands, kind, top=120)
    path = write_tiff(
        tmp_path / "x.tif", values, photometric=1, extra=[0] * (bands - 1), planar=planar, order=order
    )
    image, size = read_bands(path, 64, range(1, bands + 1), Levels((0.0, 120.0)))
    expected = values if kind == np.uint8 else np.rint(values / 120 * 255)
    assert size == (12, 9) == tiff_size(path)
    assert np.array_equal(image, expected)


def test_pages_twelve_bits_and_orientation_of_tiff_files(tmp_path):
    pytest.importorskip("tifffile")
    pages = [noise(1, np.uint16, top=4000)] * 3
    write_tiff(tmp_path / "pages.tif", *pages, photometric=1)
    image, _ = read_bands(tmp_path / "pages.tif", 64, (2, 3), Levels((0, 4000)))
    assert image.shape == (12, 9, 2)
    write_tiff(tmp_path / "turned.tif", noise(3), turn=8)
    image, size = read_bands(tmp_path / "turned.tif", 64, (1, 2, 3), Levels())
    assert np.array_equal(image, read_image(tmp_path / "turned.tif", 64)[0])
    assert size == tiff_size(tmp_path / "turned.tif") == (9, 12)


def test_a_tiff_file_that_ends_early_is_refused(tmp_path):
    pytest.importorskip("tifffile")
    path = write_tiff(tmp_path / "x.tif", noise(5), extra=[0, 0])
    content = bytearray(path.read_bytes())
    place = content.find(struct.pack("<HHI", 273, 4, 1)) + 8
    struct.pack_into("<I", content, place, len(content) - 10)  # the strip begins just before the end
    path.write_bytes(content)
    with pytest.raises(ValueError, match="truncated"):
        read_bands(path, 64, (1, 2), Levels())


def test_percentiles_are_numpys(tmp_path):
    arrays = [noise(1, np.uint16, height=5 + index, top=1000 * (index + 1)) for index in range(4)]
    for index, array in enumerate(arrays):
        Image.fromarray(array[..., 0]).save(tmp_path / f"{index}.png")
    pairs = [(f"{index}.png", -1) for index in range(4)]
    dataset = FileDataset(tmp_path, pairs, range=Percentiles(2, 98), bands="1")
    values = np.concatenate([array.ravel() for array in arrays])
    assert dataset.levels.range == tuple(np.percentile(values, [2, 98]))
    with pytest.raises(DataError, match="at both percentiles"):
        Image.fromarray(np.full((4, 4), 7, np.uint16)).save(tmp_path / "flat.png")
        FileDataset(tmp_path, [("flat.png", -1)], range=Percentiles(2, 98))


def test_percentiles_of_each_band_leave_out_what_is_no_number(tmp_path):
    pytest.importorskip("tifffile")
    values = noise(2, np.float32, height=40)
    values[3, 3, 0], values[4, 4, 1] = np.nan, np.inf
    write_tiff(tmp_path / "x.tif", values, photometric=1, extra=[0])
    dataset = FileDataset(tmp_path, [("x.tif", -1)], range=Percentiles(1, 90), bands="2,1")
    values[~np.isfinite(values)] = np.nan
    expected = [np.nanpercentile(values[..., band].astype(np.float64), [1, 90]) for band in (1, 0)]
    assert np.array_equal(dataset.levels.range, np.concatenate(expected))


@pytest.mark.parametrize("text", ["p98,p2", "p2", "p2,p101", "2p,98p"])
def test_what_is_no_percentile_is_refused(text):
    with pytest.raises(ValueError, match="percentiles"):
        Percentiles.read(text)
    assert str(Percentiles.read("p0.5,p99")) == "p0.5,p99"


def test_a_range_for_each_band_scales_each(tmp_path):
    values = noise(2, np.uint16, top=3000)
    levels = Levels((0, 1000, 500, 3000))
    expected = [np.clip((values[..., 0] - 0.0) / 1000, 0, 1), np.clip((values[..., 1] - 500.0) / 2500, 0, 1)]
    assert np.array_equal(levels.scale(values), np.rint(np.stack(expected, axis=2) * 255))
    with pytest.raises(UsageError, match="2 pairs of numbers, for 3 bands"):
        folder_of(tmp_path, noise(3), bands="1-3", range=(0, 1000, 500, 3000))
    with pytest.raises(UsageError, match="got 3"):
        Levels((0, 1, 2))


def test_mean_and_deviation_of_a_cache_are_numpys(tmp_path):
    arrays = [noise(4, height=7 + index, width=9 + 3 * index) for index in range(5)]
    cache = open_image_cache(folder_of(tmp_path, *arrays, bands="1-4"), 64, tmp_path / "cache")
    pixels = np.concatenate([array.reshape(-1, 4) for array in arrays]) / 255
    assert cache.channels == 4
    assert np.allclose(cache.statistics["mean"], pixels.mean(axis=0), rtol=1e-12, atol=0)
    assert np.allclose(cache.statistics["std"], pixels.std(axis=0), rtol=1e-12, atol=0)
    plain = open_image_cache(folder_of(tmp_path, *[noise(3)] * 2), 64, tmp_path / "cache")
    assert plain.statistics == {} and plain.channels == 3
    assert not {"channels", "statistics"} & json.loads((plain.folder / "index.json").read_text()).keys()


def test_bands_as_people_see_them():
    pixels = np.arange(5 * 4).reshape(5, 2, 2)
    assert as_rgb(pixels[:3]) is not None and np.array_equal(as_rgb(pixels[:3]), pixels[:3])
    assert np.array_equal(as_rgb(pixels), pixels[:3])
    assert np.array_equal(as_rgb(pixels[:2]), pixels[[0, 0, 0]])


def test_a_file_that_asks_for_too_much_memory_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("tifffile")
    write_tiff(tmp_path / "many.tif", noise(13, np.uint16))
    monkeypatch.setattr("ssl_seg.data.tiff_bands._MOST_VALUES", 12 * 9 * 13)
    assert read_bands(tmp_path / "many.tif", 64, [13], Levels((0, 250)))[0].shape == (12, 9, 1)
    monkeypatch.setattr("ssl_seg.data.tiff_bands._MOST_VALUES", 12 * 9 * 13 - 1)
    with pytest.raises(ValueError, match="1,404 values, more than 1,403"):
        read_bands(tmp_path / "many.tif", 64, [13], Levels((0, 250)))
