from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from ssl_seg.figures.gallery_drawing import Tile, draw_gallery
from ssl_seg.figures.style import DPI, figure_style, save

RED, BLUE = (200, 10, 20), (0, 0, 250)


def flat(colour, height=30, width=40):
    return np.full((height, width, 3), colour, np.uint8)


def example(name="0013", title="epoch 1"):
    rows = [
        (
            name,
            [Tile(flat(RED)), Tile(flat(BLUE), nearest=True), Tile(flat(BLUE), "IoU 0.500", nearest=True)],
        ),
        ("b", [Tile(flat(RED, 60, 30)), Tile(None, "no label"), Tile(None, "no prediction")]),
    ]
    legend = [(f"class {index}", (index * 20, 90, 90)) for index in range(7)] + [(name, RED)]
    return rows, ["image", "label", title], legend, "What the numbers mean. " * 6


def boxes(fig):
    """Text and its place in pixels, of everything that is written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw(renderer)
    shown = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("0013", "epoch 1"),
        ("$x_{1}$ " * 9, "a-run-with-a-very-long-name-that-goes-on, epoch 1000"),
        ("_a\n\tb", "<b>$"),
        ("x" * 200, "y" * 200),
    ],
)
def test_nothing_is_written_over_anything(name, title):
    with figure_style():
        fig = draw_gallery(*example(name, title))
        written = boxes(fig)
    width, height = fig.get_size_inches() * fig.dpi
    assert any("IoU 0.500" in text for text, _ in written) and any("class 6" in text for text, _ in written)
    for text, box in written:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (one, here), (two, there) in combinations(written, 2):
        assert not here.overlaps(there), (one, two)
    for axes in fig.axes:
        frame = axes.get_window_extent()
        for text, box in written:
            assert not frame.overlaps(box) or text.startswith("no "), text


def test_files_are_the_same_whenever_they_are_drawn(tmp_path):
    for name in ("a", "b"):
        with figure_style():
            save(draw_gallery(*example()), tmp_path / name)
    for ending in ("png", "svg"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_tiles_lie_in_rows_and_columns_in_their_colours(tmp_path):
    with figure_style():
        fig = draw_gallery(*example())
        save(fig, tmp_path / "a")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    frames = [axes.get_position() for axes in fig.axes]

    def middle(frame):
        y, x = 1 - (frame.y0 + frame.y1) / 2, (frame.x0 + frame.x1) / 2
        return tuple(pixels[int(y * len(pixels)), int(x * pixels.shape[1])].tolist())

    image, tall, printable_label, _, said, _ = frames  # column by column
    assert [middle(frame) for frame in (image, tall, printable_label, said)] == [RED, RED, BLUE, BLUE]
    assert (
        image.x0 < printable_label.x0 < said.x0 and image.y0 == pytest.approx(said.y0) and tall.y1 < image.y0
    )
    inches = fig.get_size_inches()
    for frame, ratio in ((image, 3 / 4), (tall, 2)):
        assert frame.height * inches[1] / (frame.width * inches[0]) == pytest.approx(ratio)
    assert pixels.shape[:2] == pytest.approx(inches[::-1] * DPI, abs=1)


def test_without_legend_and_note():
    with figure_style():
        fig = draw_gallery([("a", [Tile(flat(RED))])], ["image"])
        assert [text for text, _ in boxes(fig)] == ["image", "a"]
