"""Maps of features as static charts."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from ssl_seg.figures.palette import SHAPES, style_indices
from ssl_seg.reporting.embedding_maps import EmbeddingMap
from ssl_seg.reporting.svg import svg_image

_MANY = 800  # points, of which a small chart shows smaller ones


def map_charts(embedding: EmbeddingMap) -> list[str]:
    """Return the epochs of a map as static charts; classes without a color of their own lie below."""
    charts = []
    order = sorted(range(len(embedding.classes)), key=lambda index: index not in embedding.gray)
    for epoch in embedding.epochs:
        groups: dict[int, list[tuple[float, float]]] = {index: [] for index in order}
        for xy, target in zip(epoch.xy, embedding.targets, strict=True):
            groups[target].append(xy)
        radius = 4 if len(epoch.xy) < _MANY else 2.6
        title = f"{embedding.method}, epoch {epoch.epoch}"
        charts.append(scatter_plot(groups, title, gray=embedding.gray, radius=radius))
    return charts


def scatter_plot(
    groups: Mapping[int, Sequence[tuple[float, float]]],
    title: str,
    *,
    gray: Collection[int] = (),
    size: int = 300,
    radius: float = 4,
) -> str:
    """Return a scatter plot of points in [0, 1] with the color and marker of their class; y points up.

    Args:
        groups: class index -> points; later ones lie above.
        gray: classes without a color of their own.
    """
    pad = 2 * radius
    inner = size - 2 * pad
    parts = []
    for index, group in groups.items():
        color, shape = style_indices(index)
        tint = "var(--gray)" if index in gray else f"var(--k{color})"
        places = [(pad + x * inner, pad + (1 - y) * inner) for x, y in group]
        if places and (index in gray or not SHAPES[shape]):
            # zero-length lines with round caps: a fifth of the size of circles
            dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places)
            look = f'stroke-width="{2 * radius:g}" stroke-linecap="round" stroke-opacity=".8"'
            parts.append(f'<path d="{dots}" stroke="{tint}" {look}/>')
        elif places:
            corners = [(radius * x, radius * y) for x, y in SHAPES[shape]]
            steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(corners)]
            outline = f"l{' '.join(f'{x:.1f} {y:.1f}' for x, y in steps)}z"
            first_x, first_y = corners[0]
            dots = "".join(f"M{x + first_x:.1f} {y + first_y:.1f}{outline}" for x, y in places)
            parts.append(f'<path d="{dots}" fill="{tint}" fill-opacity=".8"/>')
    return svg_image(size, size, title, parts)
