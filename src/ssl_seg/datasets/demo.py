"""Little painted scenes in eight classes, made on the fly: a first run needs no download."""

import math
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ssl_seg.base import Dataset
from ssl_seg.errors import UsageError
from ssl_seg.hooks import hookimpl

_SIDE = 96
_OVERSAMPLE = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Brush:
    """Draws in a square of side 1 that may be shifted, scaled, turned and mirrored.

    Attributes:
        touched: grey image of the same size; 1 where something has been drawn, 0 elsewhere.
    """

    def __init__(self, image: Image.Image, random: Random) -> None:
        self.touched = Image.new("L", image.size)
        self._draw, self._mark = ImageDraw.Draw(image), ImageDraw.Draw(self.touched)
        self._side = image.width
        self._scale = random.uniform(0.55, 1.0)
        self._angle = math.radians(random.uniform(-15, 15))
        self._mirror = random.choice((-1, 1))
        room = 0.5 * (1.0 - self._scale) + 0.06
        self._x = 0.5 + random.uniform(-room, room)
        self._y = 0.5 + random.uniform(-room, room)

    def _place(self, point: Point) -> Point:
        x, y = (point[0] - 0.5) * self._scale * self._mirror, (point[1] - 0.5) * self._scale
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        return (
            (self._x + x * cos - y * sin) * self._side,
            (self._y + x * sin + y * cos) * self._side,
        )

    def shape(self, points: list[Point], colour: Colour) -> None:
        """A filled polygon."""
        placed = [self._place(point) for point in points]
        self._draw.polygon(placed, fill=colour)
        self._mark.polygon(placed, fill=1)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse around (x, y)."""
        steps = [2 * math.pi * k / 28 for k in range(28)]
        self.shape([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in steps], colour)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)


def _colours(random: Random, hues: Sequence[float]) -> list[Colour]:
    """Around these hues; one picture in five has others, as a green car or a blue house is rare."""
    turn = random.random() if random.random() < 0.2 else 0.0
    return [
        _hsv(
            (hue + turn + random.gauss(0.0, 0.04)) % 1.0, random.uniform(0.4, 0.95), random.uniform(0.45, 1.0)
        )
        for hue in hues
    ]


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    channels = (
        value - value * saturation * max(0.0, min(1.0, 2 - abs((n + 6 * hue) % 6 - 2))) for n in (5, 3, 1)
    )
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def _house(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.box(0.2, 0.45, 0.8, 0.9, c[0])
    brush.shape([(0.12, 0.47), (0.5, 0.12), (0.88, 0.47)], c[1])
    brush.box(0.43, 0.65, 0.58, 0.9, c[2])
    for x in random.sample((0.26, 0.63), random.randint(1, 2)):
        brush.box(x, 0.53, x + 0.12, 0.64, c[3])


def _tree(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.box(0.44, 0.55, 0.56, 0.95, c[0])
    for _ in range(random.randint(4, 7)):
        brush.disc(random.uniform(0.32, 0.68), random.uniform(0.18, 0.5), 0.19, 0.17, c[1])
    for _ in range(random.randint(0, 5)):
        brush.disc(random.uniform(0.25, 0.75), random.uniform(0.15, 0.55), 0.035, 0.035, c[2])


def _fish(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.shape([(0.68, 0.5), (0.95, 0.28), (0.95, 0.72)], c[1])
    brush.disc(0.42, 0.5, 0.34, random.uniform(0.16, 0.24), c[0])
    brush.shape([(0.35, 0.35), (0.55, 0.2), (0.55, 0.38)], c[1])
    brush.disc(0.22, 0.45, 0.035, 0.035, c[2])
    for x in (0.4, 0.5, 0.6)[: random.randint(1, 3)]:
        brush.box(x, 0.4, x + 0.035, 0.6, c[3])


def _boat(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.shape([(0.08, 0.65), (0.92, 0.65), (0.75, 0.88), (0.25, 0.88)], c[0])
    brush.box(0.47, 0.12, 0.51, 0.65, c[1])
    brush.shape([(0.53, 0.15), (0.53, 0.6), (random.uniform(0.75, 0.9), 0.6)], c[2])
    if random.random() < 0.6:
        brush.shape([(0.45, 0.2), (0.45, 0.6), (0.2, 0.6)], c[3])


def _flower(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.box(0.48, 0.45, 0.52, 0.97, c[2])
    brush.disc(0.62, 0.78, 0.12, 0.045, c[2])
    petals = random.randint(5, 8)
    for k in range(petals):
        angle = 2 * math.pi * k / petals
        brush.disc(0.5 + 0.2 * math.cos(angle), 0.35 + 0.2 * math.sin(angle), 0.12, 0.12, c[0])
    brush.disc(0.5, 0.35, 0.11, 0.11, c[1])


def _car(brush: Brush, random: Random, c: list[Colour]) -> None:
    roof = random.uniform(0.26, 0.34)
    brush.shape([(0.25, 0.5), (0.36, roof), (0.66, roof), (0.78, 0.5)], c[1])
    brush.box(0.06, 0.48, 0.94, 0.7, c[0])
    brush.shape([(0.33, 0.49), (0.4, roof + 0.04), (0.5, roof + 0.04), (0.5, 0.49)], c[3])
    for x in (0.26, 0.74):
        brush.disc(x, 0.71, 0.11, 0.11, c[2])
        brush.disc(x, 0.71, 0.05, 0.05, c[3])


def _star(brush: Brush, random: Random, c: list[Colour]) -> None:
    points = random.randint(5, 7)
    inner = random.uniform(0.16, 0.22)
    corners = []
    for k in range(2 * points):
        radius, angle = (inner if k % 2 else 0.44), math.pi * k / points
        corners.append((0.5 + radius * math.sin(angle), 0.5 - radius * math.cos(angle)))
    brush.shape(corners, c[0])


def _cup(brush: Brush, random: Random, c: list[Colour]) -> None:
    brush.disc(0.76, 0.52, 0.17, 0.17, c[0])
    brush.disc(0.76, 0.52, 0.1, 0.1, c[1])
    brush.shape([(0.2, 0.28), (0.74, 0.28), (0.68, 0.85), (0.26, 0.85)], c[0])
    brush.disc(0.47, 0.28, 0.27, 0.06, c[2])
    if random.random() < 0.5:
        brush.box(0.24, 0.5, 0.7, 0.6, c[3])


Scene = Callable[[Brush, Random, list[Colour]], None]

# what draws a class, and the hues of its parts
_SCENES: dict[str, tuple[Scene, Sequence[float]]] = {
    "boat": (_boat, (0.60, 0.08, 0.15, 0.00)),
    "car": (_car, (0.00, 0.02, 0.70, 0.55)),
    "cup": (_cup, (0.78, 0.08, 0.06, 0.15)),
    "fish": (_fish, (0.07, 0.03, 0.65, 0.15)),
    "flower": (_flower, (0.90, 0.15, 0.33, 0.33)),
    "house": (_house, (0.12, 0.01, 0.07, 0.55)),
    "star": (_star, (0.15, 0.15, 0.15, 0.15)),
    "tree": (_tree, (0.07, 0.32, 0.00, 0.32)),
}

SCENES = tuple(_SCENES)


def render_scene(name: str, seed: int) -> Image.Image:
    """One 96 x 96 RGB scene of the class `name`; the same seed gives the same picture."""
    return render_scene_and_mask(name, seed)[0]


def render_scene_and_mask(name: str, seed: int) -> tuple[Image.Image, NDArray[np.bool_]]:
    """The same, and the pixels of which at least half show the thing and not what is behind it: (96, 96)."""
    random = Random(f"{name} {seed}")
    side = _SIDE * _OVERSAMPLE
    image = _background(random, side)
    draw, hues = _SCENES[name]
    brush = Brush(image, random)
    draw(brush, random, _colours(random, hues))
    covered = np.asarray(brush.touched).reshape(_SIDE, _OVERSAMPLE, _SIDE, _OVERSAMPLE).mean(axis=(1, 3))
    image = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grain = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(2, 9), (_SIDE, _SIDE, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8)), covered >= 0.5


def _background(random: Random, side: int) -> Image.Image:
    """A sky and a ground with clouds and bushes, softened.

    Much alike in all scenes: what tells one picture from another must be the thing in it.
    """

    def tone(hue: float, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
        return _hsv(
            (hue + random.gauss(0.0, 0.03)) % 1.0, random.uniform(*saturation), random.uniform(*value)
        )

    sky, ground = tone(0.56, (0.3, 0.55), (0.75, 0.95)), tone(0.28, (0.4, 0.65), (0.5, 0.7))
    image = Image.new("RGB", (side, side), sky)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, side * random.uniform(0.55, 0.8), side, side), fill=ground)
    for _ in range(random.randint(0, 5)):
        x, y, r = random.uniform(0, side), random.uniform(0, side), random.uniform(0.02, 0.1) * side
        draw.ellipse((x - r, y - r, x + r, y + r), fill=random.choice((sky, ground)))
    return image.filter(ImageFilter.GaussianBlur(random.uniform(1.0, 5.0)))


class DemoDataset(Dataset):
    """Painted scenes; image `i` has class `i % 8`.

    Args:
        split: `val` gives other pictures than any other split.
        count: number of images.
    """

    def __init__(self, split: str, count: int) -> None:
        self.classes: Sequence[str] = list(SCENES)
        self.samples = [(f"{split or 'train'}/{index:05d}", index % 8) for index in range(count)]

    def identity(self, index: int) -> str:
        return f"demo 3 {self.samples[index][0]}"

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        image, _ = self.render_scene(index)
        image.thumbnail((canvas, canvas), Image.Resampling.BICUBIC)
        return np.asarray(image), (_SIDE, _SIDE)

    def size(self, index: int) -> tuple[int, int]:
        return _SIDE, _SIDE  # nothing is painted to tell it

    def render_scene(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        """See `render_scene_and_mask`."""
        offset = 10_000_000 if self.samples[index][0].startswith("val/") else 0
        return render_scene_and_mask(SCENES[index % len(SCENES)], index + offset)


def demo(root: str, split: str, *, count: int = 2000) -> DemoDataset:
    """`demo`, or `demo:COUNT` for another number of images than `count`."""
    if root and not root.isdecimal():
        raise UsageError(f"demo requires a number of images, got {root!r}", next="demo:2000")
    return DemoDataset(split, int(root) if root else count)


@hookimpl
def datasets() -> dict[str, object]:
    return {"demo": demo}
