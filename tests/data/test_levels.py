"""Values of more than 8 bits: scaled by a stated range, and doubted where they contradict the way they are."""

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.decode import read_image
from ssl_seg.data.files import FileDataset
from ssl_seg.data.first_look import look_at
from ssl_seg.data.levels import Levels, PixelError
from ssl_seg.errors import DataError, UsageError

from .by_hand import write_png, write_tiff


def deep(bands, most=65_535, height=5, width=6):
    return np.random.default_rng(bands).integers(0, most + 1, (height, width, bands)).astype(np.uint16)


def scaled(values, low=0, high=65_535):
    return np.rint((values.astype(float).clip(low, high) - low) / (high - low) * 255).astype(np.uint8)


def read(path, *range):
    return read_image(path, 64, Levels(range or None))[0]


def over_white(colours, alpha):
    return 255 - (255.0 - colours) * (alpha / 65_535)


# ---------------------------------------------------------------------------------------- colours of 16 bits


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("planar", "deflate"), [(1, False), (1, True), (2, False)])
@pytest.mark.parametrize("range", [(), (0, 4095), (1000, 60_000)])
def test_all_bits_of_a_tiff_count(tmp_path, order, planar, deflate, range):
    pixels = deep(3)
    path = write_tiff(tmp_path / "x.tif", pixels, order=order, planar=planar, deflate=deflate)
    assert np.array_equal(read(path, *range), scaled(pixels, *range))


@pytest.mark.parametrize("range", [(), (0, 4095)])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_all_bits_of_a_png_count(tmp_path, bands, range):
    pixels = deep(bands)
    got = read(write_png(tmp_path / "x.png", pixels), *range)
    colours = scaled(pixels[..., : bands - (bands % 2 == 0)], *range)
    want = over_white(colours, pixels[..., -1:].astype(float)) if bands % 2 == 0 else colours
    assert np.abs(got - want).max() <= 0.51


@pytest.mark.parametrize("extra", [1, 2])
def test_transparency_of_16_bits(tmp_path, extra):
    pixels = deep(4)
    pixels[..., 3] = np.maximum(pixels[..., 3], 20_000)
    stored = pixels.copy()
    if extra == 1:  # multiplied by it
        stored[..., :3] = np.rint(pixels[..., :3] * (pixels[..., 3:] / 65_535))
    got = read(write_tiff(tmp_path / "x.tif", stored, extra=[extra]), 0, 30_000)
    want = over_white(scaled(pixels[..., :3], 0, 30_000), pixels[..., 3:].astype(float))
    assert np.abs(got - want).max() <= 1.01


@pytest.mark.parametrize("bands", [1, 3])
def test_one_colour_may_stand_for_transparency(tmp_path, bands):
    pixels = deep(bands)
    got = read(write_png(tmp_path / "x.png", pixels, transparent=pixels[2, 3]))
    want = np.repeat(scaled(pixels), 4 - bands, axis=2) if bands == 1 else scaled(pixels)
    want = want.copy()
    want[2, 3] = 255
    assert np.array_equal(got, np.broadcast_to(want[..., :3] if bands == 3 else want[..., :1], got.shape))
    eight = Image.new("RGB", (2, 1), (10, 20, 30))
    eight.putpixel((1, 0), (9, 9, 9))
    eight.save(tmp_path / "y.png", transparency=(10, 20, 30))
    assert read(tmp_path / "y.png")[0].tolist() == [[255, 255, 255], [9, 9, 9]]


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("kind", ["tif", "png"])
def test_deep_images_are_turned_as_their_orientation_says(tmp_path, bands, kind):
    upright = deep(bands)
    stored = np.rot90(upright)  # 6: turned by a quarter clockwise to be seen
    if kind == "tif":
        path = write_tiff(tmp_path / "x.tif", stored, turn=6)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        path = write_png(tmp_path / "x.png", stored, exif=exif.tobytes()[6:])
    got, size = read_image(path, 64)
    assert size == upright.shape[:2] and np.array_equal(got[..., :bands], scaled(upright))


# ------------------------------------------------------------------------------------------------- grey values


@pytest.mark.parametrize(
    ("values", "range"),
    [
        (np.array([[-500, 0, 1000, 2000]], np.int16), (-1000, 1000)),
        (np.array([[0, 70_000, 3_000_000_000, 4_294_967_295]], np.uint32), (0, 4_294_967_295)),
        (np.array([[-5, 100_000]], np.int32), (0, 100_000)),
        (np.array([[-0.1, 0.0, 0.25, 0.5, 0.7]], np.float32), (0, 0.5)),
        (np.array([[0, 100, 4095, 5000]], np.uint16), (0, 4095)),
    ],
)
def test_a_stated_range(tmp_path, values, range):
    got = read(write_tiff(tmp_path / "x.tif", values), *range)
    assert np.array_equal(got[..., 0], scaled(values, *range))


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array([[-5, 100]], np.int16), "whole values from -5 to 100 exceed 16 bits"),
        (np.array([[0, 3_000_000_000]], np.uint32), "whole values from 0 to 3000000000 exceed 16 bits"),
        (np.array([[0.25, 0.5]], np.float32), "floating-point values from 0.25 to 0.5 have no known range"),
    ],
)
def test_a_range_is_asked_for(tmp_path, values, what):
    path = write_tiff(tmp_path / "x.tif", values)
    with pytest.raises(PixelError) as caught:
        read(path)
    assert caught.value.what == what
    text = caught.value.next.split("range=")[1].split()[0]
    assert [float(word) for word in text.split(",")] == [values.min(), values.max()]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path, value):
    path = write_tiff(tmp_path / "x.tif", np.array([[1, value, 2]], np.float32))
    with pytest.raises(PixelError, match="1 of its 3 values are not finite"):
        read(path, 0, 2)


def test_a_file_that_says_it_has_12_bits_is_believed(tmp_path):
    values = deep(1, 4095)[..., 0]
    got = read(write_tiff(tmp_path / "x.tif", values, bits=12))
    assert np.abs(got[..., 0].astype(int) - scaled(values, 0, 4095)).max() <= 1
    assert look_at(FileDataset(tmp_path, [("x.tif", -1)])) is None


def test_zero_may_be_white(tmp_path):
    values = deep(1)[..., 0]
    assert np.array_equal(
        read(write_tiff(tmp_path / "x.tif", values, photometric=0))[..., 0], 255 - scaled(values)
    )


def test_eight_bits_do_not_change_with_a_range(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(read(tmp_path / "x.png", 0, 4095), pixels)


@pytest.mark.parametrize("range", [(5, 5), (5, 1), (0, np.inf), (np.nan, 1)])
def test_an_empty_range(range):
    with pytest.raises(UsageError, match="is empty"):
        Levels(range)


# --------------------------------------------------------------------------------------------- the first look


def dataset(folder, pixels, count=1, **options):
    for index in range(count):
        write_tiff(folder / f"{index:02d}.tif", pixels)
    names = sorted(path.name for path in folder.iterdir())
    return FileDataset(folder, [(name, -1) for name in names], **options)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("highest", "flag"), [(4094, "0,4095"), (10_000, "0,16383"), (200, "0,255")])
def test_values_that_leave_bits_unused_are_doubted(tmp_path, bands, highest, flag):
    pixels = deep(bands, highest)
    pixels[0, 0] = highest
    doubt = look_at(dataset(tmp_path, pixels, 20))
    assert f"the highest value is {highest:,}, which becomes {highest * 255 / 65_535:.0f} of 255" in doubt
    assert doubt.startswith("16 of the 16 inspected images") and doubt.endswith(f"-o data.range={flag}")
    assert "\n" not in doubt


def test_values_that_use_all_bits_are_not_doubted(tmp_path):
    assert look_at(dataset(tmp_path, deep(1))) is None
    assert look_at(dataset(tmp_path, deep(1, 4095), range=(0, 4095))) is None


def test_a_range_that_the_values_contradict(tmp_path):
    doubt = look_at(dataset(tmp_path, deep(1), range=(0, 4095)))
    assert doubt.startswith("9") and "lie outside range=0,4095" in doubt
    (tmp_path / "b").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "b" / "x.png")
    doubt = look_at(FileDataset(tmp_path / "b", [("x.png", -1)], range=(0, 4095)))
    assert doubt == "range=0,4095 has no effect: none of the 1 inspected images has more than 8 bits"


def test_what_all_files_are_refused_for_is_said_at_once_with_the_way_out(tmp_path):
    five = dataset(tmp_path, np.zeros((4, 4, 5), np.uint8), 3)
    with pytest.raises(DataError, match=r"00.tif: 5 bands, of which 3") as caught:
        look_at(five)
    assert (
        "all 3 inspected images" in caught.value.where and "-o data.bands=1,2,3, or 1-5" in caught.value.next
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "99.png")
    (tmp_path / "98.png").write_text("no image")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert look_at(FileDataset(tmp_path, [(name, -1) for name in names])) is None


def test_identity_follows_the_range(tmp_path):
    write_tiff(tmp_path / "x.tif", deep(1))
    stated = [FileDataset(tmp_path, [("x.tif", -1)], range=range) for range in (None, (0, 1), (0, 2))]
    assert len({one.identity(0) for one in stated}) == 3
