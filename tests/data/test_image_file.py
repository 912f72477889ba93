"""Files that decoders would fill up: every place at which one can be lost to zeros, or end."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.decode import read_image, read_size
from ssl_seg.data.image_file import check_whole
from ssl_seg.data.mask_files import open_mask


def saved(kind, **how):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, format=kind, **how)
    return file.getvalue()


def thumbnail():
    """EXIF data with a JPEG inside, which has an end marker of its own."""
    exif = Image.Exif()
    exif[0x927C] = saved("JPEG")
    return exif


FILES = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "thumbnail": ("JPEG", {"exif": thumbnail()}),
    "restarts": ("JPEG", {"restart_marker_blocks": 1}),
    "png": ("PNG", {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_tail_of_zeros_is_refused_wherever_it_begins(name, tmp_path):
    kind, how = FILES[name]
    whole = saved(kind, **how)
    path = tmp_path / "x"
    path.write_bytes(whole)
    expected, _ = read_image(path, 99)
    for kept in range(3, len(whole) - 1, 7):
        path.write_bytes(whole[:kept] + bytes(len(whole) - kept))
        try:
            read, _ = read_image(path, 99)
        except ValueError:
            continue
        assert np.array_equal(read, expected), f"{kept} of {len(whole)} bytes made another picture"


@pytest.mark.parametrize("name", FILES)
def test_what_comes_after_the_end_does_not_matter(name):
    kind, how = FILES[name]
    for tail in (b"", bytes(5000), b"another file", saved("PNG")):
        check_whole(io.BytesIO(saved(kind, **how) + tail))


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_where_it_was(name):
    kind, how = FILES[name]
    file = io.BytesIO(b"1234" + saved(kind, **how))
    file.seek(4)
    check_whole(file)
    assert file.tell() == 4


@pytest.mark.parametrize(
    ("kind", "cut", "match"),
    [
        ("JPEG", lambda data: data[:-2], "no end marker"),
        ("JPEG", lambda data: data[:-2] + bytes(2), "no end marker"),
        ("PNG", lambda data: data[:-12], "the PNG has no end"),
        ("PNG", lambda data: data[:-20], "the PNG has no end"),
        ("PNG", lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "PNG checksum"),
    ],
)
def test_what_is_wrong_is_said(kind, cut, match):
    with pytest.raises(ValueError, match=match):
        check_whole(io.BytesIO(cut(saved(kind))))


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "WEBP"])
def test_other_formats_are_left_to_their_decoders(kind):
    check_whole(io.BytesIO(saved(kind)[:100]))


@pytest.mark.parametrize("read", [lambda path: read_image(path, 9), read_size, open_mask])
def test_a_file_that_would_be_waited_for_is_refused(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match="not a regular file"):
        read(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="the file is empty"):
        read(tmp_path / "empty.png")


def test_a_mask_with_a_lost_end_is_refused(tmp_path):
    whole = saved("PNG")
    (tmp_path / "x.png").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    with pytest.raises(ValueError, match="checksum"):
        open_mask(tmp_path / "x.png")
