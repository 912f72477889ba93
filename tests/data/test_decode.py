"""The rules of reading an image, one by one."""

import os
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from ssl_seg.data.decode import MAX_PIXELS, read_image

ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
ORIENTATION = 0x0112


def smooth(height, width, seed=0):
    """A smooth picture: lossy formats and filters change it little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def array(image):
    return np.asarray(image).astype(int)


def read(path, canvas=1000):
    image, size = read_image(path, canvas)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert max(image.shape[:2]) <= canvas
    return image.astype(int), size


def save(image, path, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("kind", ENDINGS)
def test_formats(tmp_path, kind):
    picture = smooth(40, 60)
    path = save(picture, tmp_path / f"x{ENDINGS[kind]}", format=kind)
    got, size = read(path)
    assert size == (40, 60) and got.shape == (40, 60, 3)
    limit = 25 if kind in ("JPEG", "WEBP") else 0
    assert np.abs(got - array(picture)).max() <= limit


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "TGA"])
def test_other_formats_are_refused(tmp_path, kind):
    path = save(smooth(32, 32), tmp_path / "x.png", format=kind)
    with pytest.raises(ValueError, match="not an image, or an unsupported format"):
        read(path)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    path = save(smooth(20, 30), tmp_path / "x.png", format="JPEG")
    assert read(path)[1] == (20, 30)


def test_grey_becomes_rgb(tmp_path):
    grey = smooth(20, 30).convert("L")
    got, _ = read(save(grey, tmp_path / "x.png"))
    assert np.array_equal(got, np.repeat(array(grey)[:, :, None], 3, 2))


def test_one_bit_becomes_black_and_white(tmp_path):
    bits = np.random.default_rng(0).random((9, 13)) < 0.5
    got, _ = read(save(Image.fromarray(bits), tmp_path / "x.png"))
    assert np.array_equal(got, np.repeat(bits[:, :, None] * 255, 3, 2))


def over_white(colour, alpha):
    return 255 + (colour - 255.0) * alpha / 255


@pytest.mark.parametrize(
    ("mode", "kind"), [("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF")]
)
def test_transparency_is_laid_over_white(tmp_path, mode, kind):
    random = np.random.default_rng(0)
    channels = random.integers(0, 256, (8, 9, len(mode)), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    path = save(Image.fromarray(channels, mode), tmp_path / "x", format=kind, **options)
    got, _ = read(path)
    want = over_white(channels[:, :, :-1].astype(float), channels[:, :, -1:].astype(float))
    assert np.abs(got - want).max() <= 1


def test_invisible_colour_does_not_bleed_when_reduced(tmp_path):
    channels = np.zeros((64, 64, 4), dtype=np.uint8)
    channels[:, :32] = (200, 10, 10, 255)
    channels[:, 32:] = (0, 255, 0, 0)
    got, _ = read(save(Image.fromarray(channels), tmp_path / "x.png"), canvas=8)
    assert (got[:, 6:] > 240).all() and np.abs(got[:, :2] - (200, 10, 10)).max() <= 5


def test_palette(tmp_path):
    picture = smooth(20, 30).quantize(16)
    got, _ = read(save(picture, tmp_path / "x.png"))
    assert np.array_equal(got, array(picture.convert("RGB")))


def test_palette_with_transparency(tmp_path):
    picture = Image.new("P", (4, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1, 0, 1, 1, 1, 0, 0])
    got, _ = read(save(picture, tmp_path / "x.png", transparency=0))
    assert got[0, 0].tolist() == [255, 255, 255] and got[0, 1].tolist() == [200, 100, 50]
    got, _ = read(save(picture, tmp_path / "y.png", transparency=bytes([128, 255])))
    assert np.abs(got[0, 0] - over_white(np.array([10, 20, 30]), 128)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(tmp_path, kind):
    path = save(smooth(20, 30).convert("CMYK"), tmp_path / "x", format=kind)
    got, _ = read(path)
    assert np.abs(got - array(smooth(20, 30))).max() <= (25 if kind == "JPEG" else 3)


def test_lab(tmp_path):
    flat = np.zeros((4, 4, 3), dtype=np.uint8)
    flat[:] = (round(255 * 0.5429), 81, 70)  # red is L* 54.29, a* 80.81, b* 69.89 under D50
    got, _ = read(save(Image.fromarray(flat, "LAB"), tmp_path / "x.tif"))
    assert np.abs(got - (255, 0, 0)).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(tmp_path, kind):
    levels = np.array([[0, 128, 129, 257, 511, 32_767, 32_768, 65_535]], dtype=np.uint16)
    path = save(Image.fromarray(levels), tmp_path / "x", format=kind)
    got, _ = read(path)
    assert np.array_equal(got[:, :, 0], np.round(levels / 65_535 * 255))


def test_thirty_two_bit_grey_must_fit_sixteen(tmp_path):
    fitting = np.array([[0, 65_535]], dtype=np.int32)
    got, _ = read(save(Image.fromarray(fitting), tmp_path / "x.tif"))
    assert got[0, :, 0].tolist() == [0, 255]
    for wrong in (70_000, -1):
        path = save(Image.fromarray(np.array([[0, wrong]], dtype=np.int32)), tmp_path / "y.tif")
        with pytest.raises(ValueError, match="exceed 16 bits"):
            read(path)


def test_floating_point_is_refused(tmp_path):
    path = save(Image.fromarray(np.ones((4, 4), dtype=np.float32)), tmp_path / "x.tif")
    with pytest.raises(ValueError, match="floating-point"):
        read(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    path = save(frames[0], tmp_path / "x", format=kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as image:
        assert image.n_frames == 3
    assert (read(path)[0] == (255, 0, 0)).all()


# How a reader must turn what is stored, by the EXIF standard: row 0 is the visual ... of the picture.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


WITH_ORIENTATION = [
    *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
    *(("PNG", mode) for mode in ("RGB", "L", "RGBA")),
    *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    *(("TIFF", mode) for mode in ("RGB", "L", "CMYK", "RGBA")),
]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("kind", "mode"), WITH_ORIENTATION)
def test_orientation(tmp_path, orientation, kind, mode):
    upright = smooth(40, 64).convert("L").convert("RGB")
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](np.asarray(upright)))).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(stored, tmp_path / "x", format=kind, exif=exif)
    got, size = read(path)
    assert got.shape == (40, 64, 3)
    assert np.abs(got - array(upright)).max() <= (30 if kind in ("JPEG", "WEBP") else 3)
    assert size == (40, 64)
    got, size = read(path, canvas=16)
    assert got.shape == (10, 16, 3) and size == (40, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(700, 500), (333, 1000), (90, 89)])
def test_a_large_image_is_reduced_like_pillow_s_own_reduction_of_it_all(tmp_path, kind, size):
    """Noise on a smooth picture: aliasing, or a coarse reduction before the fine one, would show."""
    random = np.random.default_rng(0)
    picture = (array(smooth(*size)) + random.normal(0, 30, (*size, 3))).clip(0, 255).astype(np.uint8)
    options = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {}
    path = save(Image.fromarray(picture), tmp_path / "x", format=kind, **options)
    got, true = read(path, canvas=64)
    assert true == size and max(got.shape[:2]) == 64
    with Image.open(path) as image:
        whole = image.convert("RGB").resize((got.shape[1], got.shape[0]), Image.Resampling.BICUBIC)
    exact = [side * 64 / max(size) for side in size]
    assert max(abs(a - b) for a, b in zip(got.shape[:2], exact, strict=True)) < 1
    difference = np.abs(got - array(whole))
    assert difference.mean() < 1.5 and difference.max() < 16


def test_a_small_image_keeps_its_size(tmp_path):
    picture = smooth(20, 30)
    got, size = read(save(picture, tmp_path / "x.png"), canvas=30)
    assert size == (20, 30) and np.array_equal(got, array(picture))


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_slivers(tmp_path, shape):
    got, size = read(save(smooth(*shape), tmp_path / "x.png"), canvas=32)
    assert size == shape and min(got.shape[:2]) == 1


def refused(path, match):
    """`read_image` says why; it must do so at once, so a hanging read fails the test."""
    said = []

    def ask():
        try:
            read_image(path, 64)
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it hangs"
    assert said, "it was read"
    assert type(said[0]) is ValueError
    assert match in str(said[0]) and "\n" not in str(said[0])


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    refused(tmp_path / "fifo.png", "not a regular file")
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "not a regular file")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    refused(tmp_path / "link.png", "No such file")
    refused(tmp_path / "never.png", "No such file")


def test_what_is_not_an_image_is_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "the file is empty")
    (tmp_path / "text.jpg").write_text("404 not found\n" * 99)
    refused(tmp_path / "text.jpg", "not an image, or an unsupported format")
    (tmp_path / "zeros.jpg").write_bytes(bytes(4096))
    refused(tmp_path / "zeros.jpg", "not an image, or an unsupported format")


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_early_is_refused(tmp_path, monkeypatch, kind, share, tolerant):
    """Also when another library has asked Pillow to fill up what is missing with grey."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8))
    path = save(noise, tmp_path / "x", format=kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    refused(path, "")


def test_a_damaged_png_is_refused(tmp_path):
    path = save(smooth(90, 90), tmp_path / "x.png")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    refused(path, "")


def png_that_claims(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [50_000, 11_000, 9_460])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    assert side**2 > MAX_PIXELS
    (tmp_path / "x.png").write_bytes(png_that_claims(side, side))
    refused(tmp_path / "x.png", "pixels")
