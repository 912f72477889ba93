"""Drawings of networks: one scale, nothing overlaps, nothing too small to read, the same bytes every time."""

from dataclasses import astuple, replace
from itertools import combinations, pairwise

import pytest
from PIL import Image

from ssl_seg.figures.architecture.boxes import scale_for, text_width
from ssl_seg.figures.architecture.draw import architecture, draw_architecture
from ssl_seg.figures.architecture.layout import WIDTH, columns_of, lines_of
from ssl_seg.figures.architecture.network import Network, Part, brief
from ssl_seg.figures.style import figure_style


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
    tuple((layer(f"decoder_block_{n}", (64, 32, 32), (f"decoder_block_{n - 1}",)),) for n in range(24)),
)


@pytest.fixture(autouse=True)
def _style():
    with figure_style():
        yield


def words(fig):
    return [text.get_text() for text in fig.axes[0].texts if text.get_text()]


@pytest.mark.parametrize(
    "networks", [[DEEPLAB, UNET], [FLAT], [LONG], [replace(DEEPLAB, head=())]], ids=lambda n: n[0].title
)
def test_texts_are_legible_inside_the_page_and_apart(networks):
    fig = architecture(networks)
    assert fig.get_size_inches()[0] * 2.54 == pytest.approx(WIDTH)
    fig.canvas.draw()
    frame = fig.bbox
    texts = [text for text in fig.axes[0].texts if text.get_text()]
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
    shapes = [part.shape for network in (DEEPLAB, UNET) for part in network.parts()]
    scale = scale_for(shapes)

    def box(*shape):
        return astuple(scale.box(shape))

    front, height, right, up = box(64, 16, 16)
    assert box(256, 16, 16) == pytest.approx((2 * front, height, right, up))
    assert box(64, 64, 16) == pytest.approx((front, 2 * height, right, up))
    assert box(64, 16, 64) == pytest.approx((front, height, 2 * right, 2 * up))
    assert box(64) == box(64, 1, 1)

    def drawn(networks):
        fronts = [patch.get_xy()[:4] for patch in architecture(networks).axes[0].patches]
        return {tuple((corners.max(0) - corners.min(0)).round(6)) for corners in fronts}

    both, single = drawn([DEEPLAB, UNET]), drawn([UNET])
    for channels, side in ((64, 128), (256, 64), (512, 16), (4096, 16)):
        expected = box(channels, side, side)[:2]
        assert any(found == pytest.approx(expected, abs=1e-5) for found in both)
    # alone, the widest and the tallest are the same ones, so the scale is too
    assert single <= both


def test_every_number_is_told():
    shown = words(architecture([DEEPLAB, UNET]))
    for text in ("stage 3", "2 ×", "Bottleneck", "512 ×", "16\u2009×\u200916", "1.00 k", "300", "dilation 4"):
        assert text in shown, text
    assert "4 branches" in shown
    assert {"3×3, dilation 6", "3×3, dilation 12", "3×3, dilation 18", "image pooling"} <= set(shown)
    assert "5 · 6" in shown
    assert "22" in shown  # parameters of the branches together
    assert "stage 1" in shown[shown.index("skip") :]  # what the skip connection brings
    totals = next(text for text in shown if "parameters (" in text)
    assert totals.startswith("2.371 k parameters (backbone 1.110 k + head 27, unused 1.234 k)")
    assert "3.362 kMACs (backbone 3.330 k + head 32), image 256 × 256" in totals
    assert DEEPLAB.parameters == 1110 + 27 + 1234
    assert DEEPLAB.macs == 3330 + 32


def test_columns_lie_side_by_side_and_a_wide_network_goes_on_below():
    scale = scale_for([part.shape for part in LONG.parts()])
    lines = lines_of(columns_of(LONG, scale))
    assert len(lines) > 2
    assert [column.parts for line in lines for column in line] == [c.parts for c in columns_of(LONG, scale)]
    assert lines[1][0].owner == "head"  # which begins a line, so that it stays together
    for line in lines:
        assert all(one.x + one.width < two.x for one, two in pairwise(line))
        assert line[-1].x + line[-1].width <= WIDTH
    for column in columns_of(LONG, scale):
        assert column.width >= max(text_width(line) for cell in column.cells for line in cell.split("\n"))
    short = lines_of(columns_of(FLAT, scale_for([(16, 8, 8)])))
    assert len(short) == 1


def test_arrows_go_only_where_data_goes():
    def arrows(network):
        return sum(
            getattr(text, "arrow_patch", None) is not None for text in architecture([network]).axes[0].texts
        )

    linked = Network("a", (64, 64), (stage(1, 16, 8), stage(2, 16, 8)))
    apart = Network("b", (64, 64), (stage(1, 16, 8), stage(2, 16, 8, takes=("image",))))
    assert (arrows(linked), arrows(apart)) == (2, 1)
    assert arrows(DEEPLAB) == 3 + 4 + 2  # into stages, into branches, into what follows
    assert "image" in words(architecture([apart]))[-20:]
    other = layer("other", (8, 8, 8), ("image",))
    join = layer("join", (8, 8, 8), ("one", "other"))
    mixed = replace(linked, head=((layer("one", (8, 8, 8), ("stage 2",)), other), (join,)))
    assert arrows(mixed) == 2 + 1 + 1
    assert "image: conv 3×3" in words(architecture([mixed]))


def test_files_are_the_same_whenever_they_are_drawn(tmp_path):
    hostile = replace(UNET, title="<script>$x_y$ \x00\n" + "w" * 200)
    first = [path.read_bytes() for path in draw_architecture(tmp_path / "a" / "one", [hostile])]
    paths = draw_architecture(tmp_path / "two", [hostile])
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
        (110_790_000_000, 4, "110.8 G"),
        (2_500_000_000_000, 3, "2.50 T"),
    ],
)
def test_numbers_are_brief(number, digits, text):
    assert brief(number, digits) == text
