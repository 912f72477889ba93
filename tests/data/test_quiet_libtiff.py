"""Nothing that a decoder thinks of a file reaches the terminal."""

import ast
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssl_seg
from ssl_seg.data import quiet_libtiff as module
from ssl_seg.data.decode import read_image, read_size
from ssl_seg.data.mask_files import open_mask

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SOURCE = Path(ssl_seg.__file__).parent
KINDS = ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """TIFF files with wrong bytes, of which libtiff has something to say."""
    folder, chance = tmp_path_factory.mktemp("tiffs"), random.Random(0)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for index in range(60):
        path = folder / f"{index:03d}.tif"
        Image.fromarray(pixels).save(path, compression=KINDS[index % len(KINDS)])
        data = bytearray(path.read_bytes())
        for _ in range(1 + index // 10):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        path.write_bytes(data)
    return folder


def read(path):
    for way in (lambda: read_image(path, 32), lambda: read_size(path), lambda: open_mask(path).load()):
        try:
            way()
        except ValueError:
            yield path


def test_libtiff_is_quiet_in_many_threads(damaged, capfd):
    assert module._setters(), "Pillow's libtiff is not found: it would be loud"
    paths = sorted(damaged.iterdir())
    with ThreadPoolExecutor(8) as pool:
        bad = {path for found in pool.map(lambda path: list(read(path)), paths * 3) for path in found}
    assert len(bad) > 10
    assert capfd.readouterr() == ("", "")
    assert module._decoding == 0


def test_it_speaks_again_afterwards(damaged, capfd):
    """Its handlers belong to whoever uses Pillow besides."""

    def loud():
        for path in sorted(damaged.iterdir()):
            with suppress(Exception), Image.open(path) as image:
                image.load()
        return capfd.readouterr().err

    before = loud()
    assert before
    with module.quiet_libtiff():
        with module.quiet_libtiff():
            assert loud() == ""
        assert loud() == ""
    assert loud() == before
    with pytest.raises(ZeroDivisionError), module.quiet_libtiff():
        raise ZeroDivisionError
    assert loud() == before


def test_without_a_libtiff_nothing_is_done(damaged, monkeypatch):
    def nowhere(path):
        raise OSError

    monkeypatch.setattr(module.ctypes, "CDLL", nowhere)
    assert module._setters.__wrapped__() == []


@pytest.mark.parametrize("bad_images", ["stop", "skip"])
def test_a_command_says_what_is_wrong_and_nothing_else_does(damaged, tmp_path, bad_images):
    """The whole program, its warnings and loggers, too."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in damaged.iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    for index in range(4):  # Pillow warns of their EXIF data, and of a size that could be an attack
        Image.new("RGB", (20, 20), (index, 0, 0)).save(
            photos / f"odd-{index}.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05"
        )
    Image.new("1", (100, 90)).save(photos / "large.png")
    code = "from PIL import Image; Image.MAX_IMAGE_PIXELS = 8_000; from ssl_seg.cli import main; main()"
    words = (
        f"train {photos} --backbone {TINY}:TinyBackbone -o ssl.hidden=8 -o ssl.dimensions=4 --image-size 16"
    )
    words += f" --batch-size 4 --epochs 1 --cpu --bad-images {bad_images} --out {tmp_path / 'run'}"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        capture_output=True,
        text=True,
        env=os.environ | {"SSL_SEG_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "always"},
        timeout=300,
        check=False,
    )
    assert done.returncode == (3 if bad_images == "stop" else 0), done.stderr
    first, *rest = done.stderr.splitlines()
    assert ("images are unreadable" if bad_images == "stop" else "images cannot be read") in first
    told = ("where:", "next:", "       ", "byol on ", "run: ", "finished: ", "weights: ", "training: ")
    assert [line for line in rest if not line.startswith(told)] == []
    assert first.startswith("error[3]") or f"all are in {tmp_path / 'run' / 'bad_images.csv'}" in first


def test_every_file_is_decoded_where_libtiff_is_quiet():
    """Decoding is done inside `open_regular`; elsewhere Pillow opens PNG, JPEG or what this program wrote."""
    allowed = {
        "data/bands.py": "from `open_regular`",
        "data/contained.py": "from `open_image`",
        "data/decode.py": "from `open_regular`",
        "data/deep_colours.py": "from `open_regular`, by its caller",
        "data/mask_files.py": "from `open_regular`",
        "data/shards/encoding.py": "JPEG and PNG alone",
        "reporting/images.py": "what runs have written: PNG and JPEG",
    }
    found = set()
    for path in SOURCE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(ast.unparse(call.func) == "Image.open" for call in calls):
            found.add(path.relative_to(SOURCE).as_posix())
    assert found == set(allowed)
