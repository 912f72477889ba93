"""No band is dropped silently: what has more of them than colours and transparency is refused, by their number."""

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.decode import read_image
from ssl_seg.data.levels import PixelError

from .by_hand import tiff, write_tiff


def noise(bands, kind=np.uint8, height=4, width=6):
    return np.random.default_rng(bands).integers(0, 127, (height, width, bands)).astype(kind)


def refused(path):
    with pytest.raises(PixelError) as caught:
        read_image(path, 64)
    assert caught.value.next and caught.value.next in str(caught.value)
    return caught.value.what


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("bands", "extra"), [(4, [0]), (4, None), (5, [0, 0]), (5, [2, 0]), (13, [0] * 10)])
def test_bands_beyond_colours_are_refused(tmp_path, bands, extra, order, planar, kind):
    path = write_tiff(tmp_path / "x.tif", noise(bands, kind), extra=extra, planar=planar, order=order)
    assert refused(path).startswith(f"{bands} bands, of which 3 would be read")


@pytest.mark.parametrize("extra", [[0], None])
def test_two_bands_are_not_grey(tmp_path, extra):
    path = write_tiff(tmp_path / "x.tif", noise(2), extra=extra)
    assert refused(path).startswith("2 bands, of which 1 would be read")


def test_bands_without_colours_are_counted(tmp_path):
    path = write_tiff(tmp_path / "x.tif", noise(13, np.uint16), photometric=1, extra=[0] * 12)
    assert refused(path).startswith("13 bands, of which 1 would be read")


def test_transparency_is_no_band_that_is_dropped(tmp_path):
    pixels = noise(4)
    path = write_tiff(tmp_path / "x.tif", pixels, extra=[2])
    got, _ = read_image(path, 64)
    share = pixels[..., 3:] / 255
    assert np.abs(got - (pixels[..., :3] * share + 255 * (1 - share))).max() <= 1
    Image.fromarray(noise(2), "LA").save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png", 64)[0].shape == (4, 6, 3)
    read_image(write_tiff(tmp_path / "grey.tif", noise(2), extra=[2]), 64)


def test_a_cmyk_tiff_has_four_colours(tmp_path):
    path = write_tiff(tmp_path / "x.tif", noise(4), photometric=5)
    assert read_image(path, 64)[0].shape == (4, 6, 3)
    assert refused(write_tiff(tmp_path / "y.tif", noise(5), photometric=5, extra=[0])).startswith("5 bands")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_pages_of_one_band_each_are_refused(tmp_path, kind):
    path = write_tiff(tmp_path / "x.tif", *[noise(1, kind)] * 7)
    assert refused(path).startswith("7 pages of one band each")


def test_reduced_copies_masks_and_text_are_no_bands(tmp_path):
    small, other = noise(1, height=2, width=3), noise(1, height=8)
    read_image(write_tiff(tmp_path / "a.tif", noise(1), small, kinds=[0, 1]), 64)
    read_image(write_tiff(tmp_path / "b.tif", noise(1), noise(1), kinds=[0, 4]), 64)
    read_image(write_tiff(tmp_path / "c.tif", noise(1), other), 64)
    fax = [Image.new("1", (8, 8))] * 3
    fax[0].save(tmp_path / "d.tif", save_all=True, append_images=fax[1:])
    read_image(tmp_path / "d.tif", 64)


def test_pages_that_lead_back_to_the_first_end(tmp_path):
    content = bytearray(tiff(noise(1), noise(1)))
    first = content[4:8]
    last = content.rindex(bytes(4))
    content[last : last + 4] = first
    (tmp_path / "x.tif").write_bytes(content)
    assert refused(tmp_path / "x.tif").startswith("2 pages")


def test_a_kind_that_is_not_read_is_described(tmp_path):
    path = write_tiff(tmp_path / "x.tif", noise(1).astype(np.float64))
    assert refused(path) == "a TIFF of 1 band of 64-bit floating-point values, an unsupported format"
    assert refused(write_tiff(tmp_path / "y.tif", noise(1, np.int8))) == "signed 8-bit values"
    apart = write_tiff(tmp_path / "z.tif", noise(3, np.uint16), planar=2, deflate=True)
    assert refused(apart) == "16-bit bands in separate compressed planes"
