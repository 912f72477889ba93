"""Drawings of networks: one scale, nothing overlaps, nothing too small to read, the same bytes every time."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from ssl_seg.figures.architecture.draw import WIDTH, architecture
from ssl_seg.figures.architecture.network import Network, Part
from ssl_seg.figures.style import figure_style, save
from ssl_seg.utils.text import brief


def stage(number, channels, side, **more):
    before = f"stage {number - 1}" if number > 1 else "image"
    given = {"parameters": 10**number, "macs": 3 * 10**number, "layers": 2, "stride": 256 // side}
    return Part(
        f"stage {number}",
        f"stage {number}",
        "2 × Bottleneck",
        "stage",
        (channels, side, side),
        **{**given, "takes": (before,), **more},
    )


def layer(name, shape, takes, **more):
    return Part(
        name, name, "conv 3×3", "layer", shape, **{"parameters": 5, "macs": 6, "takes": takes, **more}
    )


STAGES = (stage(1, 64, 128), stage(2, 256, 64), stage(3, 512, 16, dilation=4))
ATROUS = tuple(layer(f"rate{n}", (256, 16, 16), ("stage 3",), dilation=n) for n in (6, 12, 18))
POOLED = Part("pool", "", "image pooling", "pooling", (256, 1, 1), 7, 8, takes=("stage 3",))
JOIN = layer("project", (256, 16, 16), ("rate6", "rate12", "rate18", "pool"))
UP = Part("up", "upsampling", "×16", "upsampling", (7, 256, 256), takes=("project",))
DEEPLAB = Network("deeplab", (256, 256), STAGES, ((*ATROUS, POOLED), (JOIN,), (UP,)), unused=1234)
SKIP = layer("skip", (64, 128, 128), ("dense", "stage 1"))
DENSE = layer("dense", (4096, 16, 16), ("stage 3",))
UNET = Network("unet", (256, 256), STAGES, ((DENSE,), (SKIP,)))
FLAT = Network("plain", (32, 32), (stage(1, 16, 8),), ((layer("linear", (7,), ("stage 1",)),),))
LONG = Network(
    "long",
    (256, 256),
    STAGES,
    tuple(
        (layer(f"decoder_block_{n}", (64, 32, 32), (f"decoder_block_{n - 1}" if n else "stage 3",)),)
        for n in range(24)
    ),
)


@pytest.fixture(autouse=True)
def _style():
    with figure_style():
        yield


def words(fig):
    return [text.get_text() for text in fig.axes[0].texts if text.get_text()]


def arrows(fig):
    return [text for text in fig.axes[0].texts if getattr(text, "arrow_patch", None) is not None]


def boxes(fig):
    """Width, height, shift of the back to the right, and up, of every box."""
    faces = [np.asarray(patch.get_xy())[:4] for patch in fig.axes[0].patches]
    tops, fronts = faces[0::3], faces[2::3]
    return [(*np.ptp(front, axis=0), *(top[3] - top[0])) for top, front in zip(tops, fronts, strict=True)]


@pytest.mark.parametrize(
    "networks", [[DEEPLAB, UNET], [FLAT], [LONG], [replace(DEEPLAB, head=())]], ids=lambda n: n[0].title
)
def test_texts_are_legible_inside_the_page_and_apart(networks):
    fig = architecture(networks)
    assert fig.get_size_inches()[0] * 2.54 == pytest.approx(WIDTH)
    fig.draw_without_rendering()
    frame = fig.bbox
    texts = [text for text in (*fig.axes[0].texts, *fig.legends[0].get_texts()) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 6
    spaces = [text.get_window_extent() for text in texts]
    for text, space in zip(texts, spaces, strict=True):
        assert frame.x0 <= space.x0 and space.x1 <= frame.x1, text.get_text()
        assert frame.y0 <= space.y0 and space.y1 <= frame.y1, text.get_text()
    for (one, a), (two, b) in combinations(zip(texts, spaces, strict=True), 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        tall = min(a.y1, b.y1) - max(a.y0, b.y0)
        # a pixel or two: the frame of a text has room for letters that reach below the line
        assert wide <= 1 or tall <= 2.5, (one.get_text(), two.get_text())


def test_boxes_of_all_networks_have_one_scale():
    parts = [layer("a", (64, 16, 16), ()), layer("b", (256, 16, 16), ()), layer("c", (64, 64, 16), ())]
    parts += [layer("d", (64, 16, 64), ()), layer("e", (64,), ()), layer("f", (64, 1, 1), ())]
    network = Network("boxes", (64, 64), (), tuple((part,) for part in parts))
    a, b, c, d, e, f = boxes(architecture([network]))[1:]  # without the image
    assert b == pytest.approx((2 * a[0], *a[1:]))
    assert c == pytest.approx((a[0], 2 * a[1], *a[2:]))
    assert d == pytest.approx((*a[:2], 2 * a[2], 2 * a[3]))
    assert e == pytest.approx(f)
    other = Network("other", (256, 256), (), ((layer("a", (64, 16, 16), ()),), (parts[1],)))
    both = boxes(architecture([other, network]))
    assert both[1] == pytest.approx(both[4])
    assert both[1][1] == pytest.approx(a[1] / 2)  # of a larger image in the same picture


def test_every_number_is_told():
    shown = words(architecture([DEEPLAB, UNET]))
    for text in ("stage 3", "2 ×", "Bottleneck", "512 ×", "16\u2009×\u200916", "1.00 k", "300", "dilation 4"):
        assert text in shown, text
    assert "4 branches" in shown
    branches = {f"conv 3×3, dilation {n}" for n in (6, 12, 18)}
    assert {*branches, "image pooling"} <= set(shown)
    assert "5 · 6" in shown
    assert "22" in shown  # parameters of the branches together
    assert "stage 1" in shown[shown.index("skip") :]  # what the skip connection brings
    totals = next(text for text in shown if "unused" in text)
    assert totals == (
        "2.371 k parameters, 3.362 kMACs; backbone 1.110 k, 3.330 kMACs; head 27, 32MACs; "
        "unused 1.234 k parameters; image 256 × 256"
    )
    assert DEEPLAB.parameters == 1110 + 27 + 1234
    assert DEEPLAB.macs == 3330 + 32
    assert "head" not in " ".join(words(architecture([replace(DEEPLAB, head=())])))


def test_a_wide_network_goes_on_below_and_its_head_stays_together():
    fig = architecture([LONG])
    assert words(fig).count("output") > 2
    heights = {text.get_text(): text.get_position()[1] for text in fig.axes[0].texts}
    assert heights["image"] == heights["stage 3"]
    assert heights["image"] - heights["block_23"] > heights["image"] - heights["block_0"] > 3
    assert words(architecture([FLAT])).count("output") == 1
    assert len(arrows(fig)) == 3 + 24  # from line to line too
    assert "skip input" not in words(fig)


def test_arrows_go_only_where_data_goes():
    linked = Network("a", (64, 64), (stage(1, 16, 8), stage(2, 16, 8)))
    apart = Network("b", (64, 64), (stage(1, 16, 8), stage(2, 16, 8, takes=("image",))))
    assert [len(arrows(architecture([network]))) for network in (linked, apart)] == [2, 1]
    assert (
        len(arrows(architecture([DEEPLAB]))) == 3 + 4 + 4 + 1
    )  # into stages, branches, their join, the last
    shown = words(architecture([apart]))
    assert "image" in shown[shown.index("skip input") :]
    starts = {tuple(arrow.xy) for arrow in arrows(architecture([DEEPLAB]))}
    assert len(starts) == 3 + 4 + 1 + 1


def test_arrows_are_drawn_in_the_order_in_which_a_part_takes_its_inputs():
    branches = tuple(layer(f"branch{n}", (8, 4, 4), ("stage 1",)) for n in range(8))
    join = layer("join", (8, 4, 4), tuple(part.name for part in branches))
    network = Network("a", (64, 64), (stage(1, 16, 8),), (branches, (join,)))
    heights = [arrow.xyann[1] for arrow in arrows(architecture([network]))[-len(branches) :]]
    assert heights == sorted(heights, reverse=True)


def test_files_are_the_same_whenever_they_are_drawn(tmp_path):
    hostile = replace(UNET, title="<script>$x_y$ \x00\n" + "w" * 200)
    first = [path.read_bytes() for path in save(architecture([hostile]), tmp_path / "a" / "one", dpi=300)]
    paths = save(architecture([hostile]), tmp_path / "two", dpi=300)
    assert first == [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == ["two.png", "two.svg"]
    assert b"<script" not in first[1].lower()
    assert b"<text" not in first[1]  # letters are shapes: no font is needed
    with Image.open(paths[0]) as image:
        assert image.width == pytest.approx(WIDTH / 2.54 * 300, abs=1)


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (0, 3, "0"),
        (999, 3, "999"),
        (1000, 3, "1.00 k"),
        (9994, 3, "9.99 k"),
        (999_999, 3, "1.00 M"),
        (134_284_000, 4, "134.3 M"),
        (134_284_000, 3, "134 M"),
        (110_790_000_000, 4, "110.8 G"),
        (2_500_000_000_000, 3, "2.50 T"),
    ],
)
def test_numbers_are_brief(number, digits, text):
    assert brief(number, digits) == text
