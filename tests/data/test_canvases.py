"""How far pictures are reduced, and that those longer than their canvas come back whole."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_seg.augment.views import eval_view
from ssl_seg.data.canvases import WHOLE, laid, reduced, side_of, unfolded
from ssl_seg.data.files import FileDataset
from ssl_seg.data.image_cache import open_image_cache


@pytest.mark.parametrize("limit", [16, 32, 256, 448, 257])
def test_ordinary_images_are_reduced_to_the_limit(limit):
    for height, width in itertools.product((1, 10, 100, 300, 1000, 5000), repeat=2):
        long, short = max(height, width), min(height, width)
        if long <= limit or 2 * short >= long:
            assert side_of(height, width, limit) == limit


@pytest.mark.parametrize("limit", [2, 16, 32, 255, 256, 448])
def test_elongated_ones_keep_half_of_it_as_far_as_the_area_allows(limit):
    for long in (limit + 1, 2 * limit, 3 * limit, 10 * limit, 100 * limit, 7 * limit + 3):
        for short in {
            max(1, round(long / ratio)) for ratio in (2.01, 2.5, 3, 3.9, 4, 4.1, 6, 9, 16, 30, 1000)
        }:
            if 2 * short >= long:
                continue
            side = side_of(long, short, limit)
            assert side == side_of(short, long, limit)
            assert limit <= side <= min(long, 4 * limit)
            shorter = short * side / long
            assert side * -(-short * side // long) <= limit * limit
            if long <= 4 * short:
                # rounding may cost a row of a tiny picture
                assert shorter >= min(short, limit / 2) - 1, (long, short, limit)


def test_the_example():
    """400 x 1600 at 128 px was stored as 64 x 256."""
    assert side_of(400, 1600, 256) == 512
    assert side_of(1600, 400, 256) == 512
    assert side_of(200, 1600, 256) == 720  # 90 rows
    assert side_of(100, 25_600, 256) == 1024
    assert side_of(4000, 30_000, WHOLE) == WHOLE


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "sizes", [[(8, 8), (3, 5)], [(8, 8), (4, 16), (16, 4), (2, 32), (1, 1)], [(4, 16)], [(9, 1)]]
)
def test_what_is_laid_comes_back(channels, sizes):
    chance = np.random.default_rng(0)
    pictures = [chance.integers(0, 256, (channels, *size), dtype=np.uint8) for size in sizes]
    flat = b"".join(laid(picture, 8, 7) for picture in pictures)
    canvases = torch.frombuffer(bytearray(flat), dtype=torch.uint8).view(-1, channels, 8, 8)
    for batch in (canvases, canvases[:, 0]):
        seen = unfolded(batch, torch.tensor(sizes), 7)
        tall = max(h for h, _ in sizes) if any(max(size) > 8 for size in sizes) else 8
        wide = max(w for _, w in sizes) if any(max(size) > 8 for size in sizes) else 8
        assert seen.shape == (*batch.shape[:-2], tall, wide)
        if batch.ndim == 3 and channels == 3:
            continue  # folded pictures of three channels do not lie so that one can be cut out
        for row, (picture, (height, width)) in enumerate(zip(pictures, sizes, strict=True)):
            wanted = np.full(seen.shape[1:], 7, np.uint8)
            wanted[..., :height, :width] = picture if batch.ndim == 4 else picture[0]
            assert np.array_equal(seen[row], wanted)


def test_canvases_without_elongated_pictures_are_not_copied():
    canvases = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    assert unfolded(canvases, torch.tensor([[8, 8], [1, 8], [8, 1]])) is canvases


def test_too_many_pixels():
    with pytest.raises(ValueError, match="9 x 8 pixels exceed the canvas of 8 x 8"):
        laid(np.zeros((3, 9, 8), np.uint8), 8)


@pytest.fixture
def mixed(tmp_path):
    """Photographs of ordinary shapes, and three that are long."""
    folder, chance = tmp_path / "mixed", np.random.default_rng(0)
    folder.mkdir()
    shapes = [(300, 400), (400, 300), (200, 800), (800, 200), (100, 1500), (40, 90), (256, 256)]
    for index, (height, width) in enumerate(shapes):
        coarse = chance.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(
            folder / f"{index}.png"
        )
    return FileDataset(folder, [(f"{index}.png", -1) for index in range(len(shapes))])


def test_a_store_keeps_the_shorter_side_and_its_size(mixed, tmp_path):
    image_cache = open_image_cache(mixed, 128, tmp_path / "cache")
    sizes = [[96, 128], [128, 96], [64, 256], [256, 64], [33, 495], [40, 90], [128, 128]]
    assert image_cache.sizes.tolist() == sizes
    assert (
        image_cache.canvas == 128 and (image_cache.folder / "images.u8").stat().st_size == 7 * 3 * 128 * 128
    )
    for row in range(7):
        image, _ = reduced(mixed, row, 128)
        (seen,) = image_cache.at(torch.tensor([row]))[0]
        height, width = sizes[row]
        assert np.array_equal(seen[:, :height, :width], image.transpose(2, 0, 1))


def test_a_view_of_an_elongated_image_is_as_sharp_as_of_any(mixed, tmp_path):
    """The central square at 64 px, from 64 rows and not from 32, is that of the whole image."""
    image_cache = open_image_cache(mixed, 128, tmp_path / "cache")
    rows = torch.tensor([2, 3])
    view = eval_view(image_cache.at(rows)[0], image_cache.sizes[rows], size=64, mean=(0, 0, 0), std=(1, 1, 1))
    for place, row in enumerate(rows.tolist()):
        whole = torch.from_numpy(np.array(mixed.image(row, WHOLE)[0])).permute(2, 0, 1)[None]
        sharp = eval_view(whole, torch.tensor([whole.shape[-2:]]), size=64, mean=(0, 0, 0), std=(1, 1, 1))
        assert (view[place] - sharp[0]).abs().mean() < 0.02
        small = torch.from_numpy(np.array(mixed.image(row, 128)[0])).permute(2, 0, 1)[None]
        blurred = eval_view(small, torch.tensor([small.shape[-2:]]), size=64, mean=(0, 0, 0), std=(1, 1, 1))
        assert (view[place] - sharp[0]).abs().mean() < 0.5 * (blurred - sharp).abs().mean()


def test_what_is_kept_of_an_image_depends_on_no_other(mixed, tmp_path):
    together = open_image_cache(mixed, 128, tmp_path / "cache")
    for row, (name, _) in enumerate(mixed.samples):
        alone = open_image_cache(FileDataset(mixed.root, [(name, -1)]), 128, tmp_path / "cache")
        height, width = together.sizes[row].tolist()
        assert alone.sizes.tolist() == [[height, width]] and alone.digests[0] == together.digests[row]
        one, two = alone.at(torch.tensor([0]))[0], together.at(torch.tensor([row]))[0]
        assert torch.equal(one[..., :height, :width], two[..., :height, :width])
