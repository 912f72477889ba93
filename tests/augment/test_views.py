"""A view is a function of (seed, epoch, view, sample) and of the image, and of nothing else."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from ssl_seg.augment.recipes import BYOL_VIEWS, SMALL_CROP, View, multi_crop
from ssl_seg.augment.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    augment,
    augment_with_masks,
    eval_view,
    normalize_images,
)

if __name__ != "another process":  # which has no need of it
    from torchvision.transforms.v2 import functional as F

PLAIN = View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip_x_p=0, jitter_p=0, gray_p=0)


def canvases(count=16, canvas=48):
    """Smooth colourful pictures of several sizes, on canvases with noise around them."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, canvas, canvas), dtype=torch.uint8, generator=random)
    sizes = torch.randint(canvas // 2, canvas + 1, (count, 2), generator=random)
    coarse = torch.randint(0, 256, (count, 3, 5, 5), generator=random).float()
    for image, small, (height, width) in zip(images, coarse, sizes.tolist(), strict=True):
        picture = interpolate(small[None], (height, width), mode="bilinear", antialias=True)[0]
        image[:, :height, :width] = picture.to(torch.uint8)
    return images, sizes, 100 + 7 * torch.arange(count)


def make(images, sizes, samples, recipe=BYOL_VIEWS, **options):
    given = {"seed": 3, "epoch": 1, "size": 32} | options
    return augment(images, recipe, sizes, samples, **given)


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_shape_type_and_layout():
    views = make(*canvases(), (View(), View(zoom=0.5), View(zoom=0.29)))
    assert [tuple(view.shape) for view in views] == [(16, 3, 32, 32), (16, 3, 16, 16), (16, 3, 9, 9)]
    for view in views:
        assert view.dtype == torch.float32 and torch.isfinite(view).all()
        assert view.is_contiguous(memory_format=torch.channels_last)


def test_every_image_of_a_batch_has_a_draw_of_its_own():
    images, sizes, samples = canvases()
    images, sizes = images[:1].expand(16, -1, -1, -1), sizes[:1].expand(16, -1)
    for view in make(images, sizes, samples):
        for i in range(16):
            assert not any(torch.equal(view[i], view[j]) for j in range(i))


def test_the_same_sample_gets_the_same_view_wherever_it_stands():
    images, sizes, samples = canvases()
    whole = make(images, sizes, samples)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert equal([view[order] for view in whole], make(images[order], sizes[order], samples[order]))
    twice = torch.tensor([3, 5, 3])
    for view in make(images[twice], sizes[twice], samples[twice]):
        assert torch.equal(view[0], view[2]) and not torch.equal(view[0], view[1])


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 2}])
def test_another_seed_or_epoch_gives_other_views(change):
    for one, two in zip(make(*canvases()), make(*canvases(), **change), strict=True):
        assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_views_of_an_image_differ():
    one, two = make(*canvases(), (View(), View()))
    assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_size_and_threads_change_no_bit(size, threads):
    images, sizes, samples = canvases(8)
    whole = make(images, sizes, samples, size=size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in (1, 7, 8):
            cuts = zip(images.split(step), sizes.split(step), samples.split(step), strict=True)
            parts = [make(*cut, size=size) for cut in cuts]
            assert equal(whole, [torch.cat(part) for part in zip(*parts, strict=True)]), step
    finally:
        torch.set_num_threads(before)


def fingerprint():
    views = make(*canvases())
    return hashlib.sha256(b"".join(view.contiguous().numpy().tobytes() for view in views)).hexdigest()


def test_another_process_makes_the_same_views():
    code = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('another process', sys.argv[1])\n"
        "there = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(there)\n"
        "print(there.fingerprint())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == fingerprint()


def test_the_noise_around_a_picture_is_never_seen():
    images, sizes, samples = canvases()
    clean = images.clone()
    for image, (height, width) in zip(clean, sizes.tolist(), strict=True):
        image[:, height:], image[:, :, width:] = 0, 0
    assert not torch.equal(images, clean)
    assert equal(make(images, sizes, samples), make(clean, sizes, samples))
    assert torch.equal(eval_view(images, sizes, size=32), eval_view(clean, sizes, size=32))


def test_the_canvases_are_left_alone():
    images, sizes, samples = canvases()
    before = images.clone()
    make(images, sizes, samples)
    eval_view(images, sizes, size=32)
    assert torch.equal(images, before)


def test_without_operations_a_view_is_the_normalised_picture():
    images, _, samples = canvases(canvas=32)
    (view,) = make(images, torch.full((16, 2), 32), samples, (PLAIN,))
    want = F.normalize(images.float() / 255, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(view, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("option", "operation"),
    [
        ("flip_x_p", lambda x: F.horizontal_flip(x)),
        ("flip_y_p", lambda x: F.vertical_flip(x)),
        ("gray_p", lambda x: F.rgb_to_grayscale(x, 3)),
        ("solarize_p", lambda x: F.solarize(x, 0.5)),
    ],
)
def test_an_operation_of_probability_one(option, operation):
    images, _, samples = canvases(canvas=32)
    recipe = (replace(PLAIN, **{option: 1.0}),)
    (view,) = make(images, torch.full((16, 2), 32), samples, recipe, mean=(0, 0, 0), std=(1, 1, 1))
    torch.testing.assert_close(view, operation(images.float() / 255), atol=1e-5, rtol=0)


def test_a_blur_of_one_sigma():
    images, _, samples = canvases(canvas=224)
    recipe = (replace(PLAIN, blur_p=1.0, blur_sigma=(1.5, 1.5)),)
    images, samples = images[:2], samples[:2]
    whole = torch.full((2, 2), 224)
    (view,) = make(images, whole, samples, recipe, size=224, mean=(0, 0, 0), std=(1, 1, 1))
    want = F.gaussian_blur(images.float() / 255, [23, 23], [1.5, 1.5])
    torch.testing.assert_close(view, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_views(size):
    for view in make(*canvases(), size=size):
        assert view.shape == (16, 3, size, size) and torch.isfinite(view).all()


def test_multi_crop_adds_small_views_of_small_parts():
    recipe = multi_crop(BYOL_VIEWS, 4, zoom=0.5)
    assert len(recipe) == 6
    for view, own in zip(recipe, BYOL_VIEWS, strict=False):
        assert view == replace(own, scale=(0.14, 1.0))
    for view in recipe[2:]:
        assert view.scale == (0.05, 0.14) and view.zoom == 0.5
        assert replace(view, scale=(0.08, 1.0), zoom=1.0) == BYOL_VIEWS[-1]
    views = make(*canvases(), recipe)
    assert [view.shape[-1] for view in views] == [32, 32, 16, 16, 16, 16]
    small = views[2:]
    assert not any(torch.equal(small[i], small[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    ("size", "multiple", "side"),
    [
        (128, 16, 48),
        (96, 16, 48),
        (64, 16, 32),
        (224, 16, 96),
        (32, 16, 16),
        (16, 16, 16),
        (126, 14, 56),
        (128, 4, 56),
    ],
)
def test_the_side_of_a_small_crop_is_the_nearest_multiple(size, multiple, side):
    small = View(zoom=SMALL_CROP)
    assert small.side(size, multiple) == side
    assert abs(side - size * SMALL_CROP) <= multiple / 2 or side == multiple
    assert View().side(size, multiple) == size, "the run's own size is the user's"
    views = make(*canvases(), (View(), small), size=size, multiple=multiple)
    assert [tuple(view.shape[2:]) for view in views] == [(size, size), (side, side)]


def test_without_a_multiple_the_side_is_the_nearest_pixel():
    for size in range(8, 300):
        assert View(zoom=SMALL_CROP).side(size) == max(1, round(size * SMALL_CROP))
    assert View(zoom=0.01).side(8) == 1


def test_a_zoomed_view_is_the_view_of_a_smaller_run():
    """Its blur included: sigma scales with the size of the view itself."""
    recipe = (View(blur_p=1.0, zoom=0.5),)
    assert equal(
        make(*canvases(), recipe, size=64), make(*canvases(), (replace(recipe[0], zoom=1.0),), size=32)
    )


@pytest.mark.parametrize("share", [1.0, 0.875, 0.5])
def test_evaluation_view_is_the_central_square(share):
    images, sizes, _ = canvases()
    got = eval_view(images, sizes, size=24, share=share)
    assert got.is_contiguous(memory_format=torch.channels_last)
    for image, (height, width), ours in zip(images, sizes.tolist(), got, strict=True):
        side = round(min(height, width) * share)
        picture = image[:, :height, :width].float() / 255
        top, left = (height - side) // 2, (width - side) // 2
        want = F.resized_crop(picture, top, left, side, side, [24, 24], antialias=True)
        want = F.normalize(want, list(IMAGENET_MEAN), list(IMAGENET_STD))
        torch.testing.assert_close(ours, want, atol=1e-4, rtol=0)


def test_evaluation_view_of_an_image_does_not_depend_on_its_neighbours():
    images, sizes, _ = canvases()
    whole = eval_view(images, sizes, size=24)
    alone = [eval_view(images[i : i + 1], sizes[i : i + 1], size=24) for i in range(16)]
    assert torch.equal(whole, torch.cat(alone))


def test_values_stay_in_the_range_of_an_image():
    strong = View(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5, jitter_p=1.0, blur_p=0.5)
    (view,) = make(*canvases(), (strong,), mean=(0, 0, 0), std=(1, 1, 1))
    assert view.min() >= -1e-6 and view.max() <= 1 + 1e-6
    assert np.ptp(view.numpy()) > 0.9


def test_views_are_float32_where_the_caller_computes_in_bfloat16():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    sizes, ids = torch.full((4, 2), 32), torch.arange(4)
    masks = torch.zeros(4, 32, 32, dtype=torch.uint8)
    fixed = {"seed": 0, "epoch": 0, "size": 16}

    def all_views():
        return [
            *augment(images, BYOL_VIEWS, sizes, ids, **fixed),
            augment_with_masks(images, masks, sizes, ids, BYOL_VIEWS[0], **fixed)[0],
            eval_view(images, sizes, size=16),
            normalize_images(images),
        ]

    plain = all_views()
    with torch.autocast("cpu", torch.bfloat16):
        inside = all_views()
    for one, two in zip(plain, inside, strict=True):
        assert two.dtype == torch.float32 and torch.equal(one, two)


def test_pictures_that_fill_their_canvases_need_no_more_than_recipes():
    images = canvases(count=4, canvas=40)[0]
    whole, ids = torch.full((4, 2), 40), torch.arange(4)
    assert equal(augment(images, BYOL_VIEWS), make(images, whole, ids, seed=0, epoch=0, size=40))
    assert not equal(augment(images, BYOL_VIEWS), augment(images, BYOL_VIEWS, seed=1))
    assert augment(images[..., :30], [PLAIN])[0].shape == (4, 3, 30, 30)
