"""What the views are drawn from, against the recipe of BYOL (Grill et al. 2020, appendix B).

The operations are replaced by ones that write down what they are asked to do. Each image is flat,
its colour is its number, so the writers know whom they work on.
"""

from collections import Counter, defaultdict
from itertools import permutations

import pytest
import torch
from scipy.stats import binomtest, ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop

from ssl_seg.augment import geometry, photometry, recipes, views

COUNT, HEIGHT, WIDTH, SIZE = 4000, 97, 160, 224
JITTER = ("adjust_brightness", "adjust_contrast", "adjust_saturation", "adjust_hue")
SIGNIFICANT = 1e-3


class Record:
    """What was done to each image, in order, and the boxes and flips."""

    def __init__(self):
        self.done = defaultdict(list)
        self.radii = set()

    def of(self, name):
        return {image: number for image, steps in self.done.items() for step, number in steps if step == name}

    def crop(self, images, boxes, flips, size):
        self.boxes, self.flips, self.size = boxes, flips, size
        flat = torch.arange(len(images)) * 255.0 / len(images)
        return flat.view(-1, 1, 1, 1).repeat(1, 3, 2, 2)

    def write(self, name):
        def operation(images, *numbers):
            who = (images[:, 0, 0, 0] * COUNT).round().long().tolist()
            values = numbers[0].tolist() if numbers else [None] * len(who)
            for image, value in zip(who, values, strict=True):
                self.done[image].append((name, value))
            if name == "gaussian_blur":
                self.radii.add(numbers[1])
            return images

        return operation


def record(view, size=SIZE, index=0):
    """The record of one view of COUNT images; `index` is its place among the views."""
    found = Record()
    sizes = torch.tensor([[HEIGHT, WIDTH]]).expand(COUNT, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "crop_resize", found.crop)
        for name in (*JITTER, "grayscale", "gaussian_blur", "solarize"):
            patch.setattr(photometry, name, found.write(name))
        idle = recipes.View(jitter_p=0, gray_p=0, blur_p=0)
        before = [idle] * index
        images = torch.zeros(COUNT, 3, 1, 1, dtype=torch.uint8)
        views.augment(images, [*before, view], sizes, torch.arange(COUNT), seed=5, epoch=2, size=size)
    return found


@pytest.fixture(scope="module", params=[0, 1])
def byol(request):
    return request.param, record(recipes.BYOL_VIEWS[request.param], index=request.param)


def agrees(hits, p, of=COUNT):
    """Whether `hits` out of `of` fit the probability p."""
    return binomtest(hits, of, p).pvalue > SIGNIFICANT


def torchvision_boxes(height, width, count):
    torch.manual_seed(0)
    picture = torch.empty(3, height, width)
    boxes = [RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    return torch.tensor(boxes)


def sides(boxes):
    """What a distribution of boxes can differ in: area, aspect, sides, place, rest."""
    top, left, height, width = boxes.double().unbind(1)
    return {
        "area": height * width,
        "aspect": width / height,
        "height": height,
        "width": width,
        "top": top,
        "left": left,
        "bottom": top + height,
        "right": left + width,
    }


def test_boxes_are_distributed_as_torchvision_s(byol):
    ours, theirs = sides(byol[1].boxes), sides(torchvision_boxes(HEIGHT, WIDTH, COUNT))
    for name, values in ours.items():
        assert ks_2samp(values, theirs[name]).pvalue > SIGNIFICANT, name


@pytest.mark.parametrize(("height", "width"), [(60, 60), (20, 90), (200, 55)])
def test_boxes_of_other_pictures_are_too(height, width):
    """Also of long ones, where many attempts fail and some fall back to the central box."""
    draws = torch.rand(22, 3000, generator=torch.Generator().manual_seed(1))
    sizes = torch.tensor([[height, width]]).expand(3000, 2)
    ours = sides(geometry.random_resized_crop_boxes(draws, sizes, (0.08, 1.0), (3 / 4, 4 / 3)))
    theirs = sides(torchvision_boxes(height, width, 3000))
    for name, values in ours.items():
        assert ks_2samp(values, theirs[name]).pvalue > SIGNIFICANT, name


def test_area_and_aspect_of_the_first_attempt():
    """In a picture so large that rounding does not show: uniform, and uniform in the logarithm."""
    draws = torch.rand(22, COUNT, generator=torch.Generator().manual_seed(1))
    sizes = torch.full((COUNT, 2), 20_000)
    _, _, height, width = (
        geometry.random_resized_crop_boxes(draws, sizes, (0.08, 0.5), (3 / 4, 4 / 3)).double().unbind(1)
    )
    share, aspect = height * width / 20_000**2, (width / height).log()
    limit = torch.tensor(4 / 3).log().item()
    assert kstest(share, "uniform", args=(0.08, 0.42)).pvalue > SIGNIFICANT
    assert kstest(aspect, "uniform", args=(-limit, 2 * limit)).pvalue > SIGNIFICANT
    assert abs(torch.corrcoef(torch.stack([share, aspect]))[0, 1]) < 4.5 / COUNT**0.5


def test_half_are_mirrored_and_none_is_upside_down(byol):
    flips = byol[1].flips
    assert not flips[0].any()
    assert agrees(int(flips[1].sum()), 0.5)


def test_colour_is_jittered_in_four_of_five(byol):
    found = byol[1]
    jittered = found.of("adjust_hue")
    assert agrees(len(jittered), 0.8)
    for name in JITTER:
        assert found.of(name).keys() == jittered.keys()


@pytest.mark.parametrize(("name", "low", "high"), [
    ("adjust_brightness", 0.6, 1.4),
    ("adjust_contrast", 0.6, 1.4),
    ("adjust_saturation", 0.8, 1.2),
    ("adjust_hue", -0.1, 0.1),
])  # fmt: skip
def test_factors_are_uniform(byol, name, low, high):
    factors = list(byol[1].of(name).values())
    assert low <= min(factors) and max(factors) <= high + 1e-6
    assert kstest(factors, "uniform", args=(low, high - low)).pvalue > SIGNIFICANT


def test_all_orders_of_the_jitter_are_equally_likely(byol):
    orders = Counter(tuple(name for name, _ in steps if name in JITTER) for steps in byol[1].done.values())
    orders.pop((), None)
    total = sum(orders.values())
    assert set(orders) == set(permutations(JITTER))
    chi2 = sum((count - total / 24) ** 2 / (total / 24) for count in orders.values())
    assert chi2 < 55  # 23 degrees of freedom: 0.02 % lie beyond


def test_gray_blur_and_solarize(byol):
    index, found = byol
    blur_p, solarize_p = ((1.0, 0.0), (0.1, 0.2))[index]
    assert agrees(len(found.of("grayscale")), 0.2)
    assert agrees(len(found.of("gaussian_blur")), blur_p)
    assert agrees(len(found.of("solarize")), solarize_p)


def test_the_rest_comes_after_the_jitter_in_the_paper_s_order(byol):
    rest = ["grayscale", "gaussian_blur", "solarize"]
    for steps in byol[1].done.values():
        names = [name for name, _ in steps]
        places = [max(names.index(name) for name in JITTER if name in names)] if "adjust_hue" in names else []
        places += [names.index(name) for name in rest if name in names]
        assert places == sorted(places) and len(set(names)) == len(names)


@pytest.mark.parametrize(("size", "radius"), [(224, 11), (112, 5), (32, 1)])
def test_sigma_is_uniform_and_scales_with_the_size(size, radius):
    found = record(recipes.BYOL_VIEWS[0], size)
    sigmas = list(found.of("gaussian_blur").values())
    low, high = 0.1 * size / 224, 2.0 * size / 224
    assert kstest(sigmas, "uniform", args=(low, high - low)).pvalue > SIGNIFICANT
    assert found.radii == {radius}, "at 224 px the paper's kernel has 23 taps"


def test_decisions_are_independent(byol):
    """Whether an image is mirrored, jittered, grey, blurred and where its box lies: no pair goes together."""
    index, found = byol
    top, left, height, width = found.boxes.unbind(1)
    facts = [found.flips[1], (top + 0.5) / (HEIGHT - height + 1), (left + 0.5) / (WIDTH - width + 1)]
    facts += [height * width, width / height]
    for name in ("adjust_hue", "grayscale", *(("gaussian_blur", "solarize") if index else ())):
        fact = torch.zeros(COUNT)
        fact[list(found.of(name))] = 1.0
        facts.append(fact)
    between = torch.corrcoef(torch.stack([fact.double() for fact in facts]))
    between[3, 4] = between[4, 3] = 0  # a large box must be of the picture's aspect to fit
    between.fill_diagonal_(0)
    assert between.abs().max() < 4.5 / COUNT**0.5


def test_views_of_an_image_are_drawn_apart():
    one, two = record(recipes.View()), record(recipes.View(), index=1)
    same = (one.boxes == two.boxes).all(dim=1).sum()
    assert same < 10
    both = torch.stack([sides(one.boxes)["area"], sides(two.boxes)["area"]])
    assert abs(torch.corrcoef(both)[0, 1]) < 4.5 / COUNT**0.5
