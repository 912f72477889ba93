"""The colors and markers of classes and runs: one palette for figures, the report page and its charts."""

import math

# (light theme, dark theme): at least 3:1 against the background (WCAG 1.4.11), and distinct without red or green cones
SERIES = (
    ("#0072b2", "#62b5ea"),
    ("#d55e00", "#ff9152"),
    ("#008f68", "#35c79c"),
    ("#aa3377", "#e88cc2"),
    ("#a87900", "#e8bd4e"),
    ("#3d8fb8", "#a3dcff"),
    ("#6b6b6b", "#b4b4b4"),
    ("#1b1b1b", "#f0f0f0"),
)
TEXT = ("#1d2126", "#e4e7ea")
MUTED = ("#545b64", "#a7b0ba")  # text of less weight; at least 4.5:1
RULE = ("#dcdfe3", "#343a42")  # frames and grids
GRAY = ("#c3c8ce", "#4a515a")  # of classes without a color of their own

PALETTE = tuple(light for light, _ in SERIES)  # figures are drawn on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")  # names of matplotlib

_CROSS = ((0.4, 1.1), (0.4, 0.4), (1.1, 0.4), (1.1, -0.4), (0.4, -0.4), (0.4, -1.1))
_DIAGONAL = ((0.5, 1.1), (1.1, 0.5), (0.55, 0.0), (1.1, -0.5), (0.5, -1.1), (0.0, -0.55))
_STAR = tuple(
    (round(r * math.sin(math.pi * i / 5), 2), round(-r * math.cos(math.pi * i / 5), 2))
    for i, r in enumerate([1.35, 0.6] * 5)
)
# The same markers on the page, in radii; x to the right, y down. A circle has no corners.
SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    ((0.0, -1.1), (1.1, 1.1), (-1.1, 1.1)),
    ((0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)),
    ((0.0, 1.1), (1.1, -1.1), (-1.1, -1.1)),
    (*_CROSS, *((-x, -y) for x, y in _CROSS)),
    (*_DIAGONAL, *((-x, -y) for x, y in _DIAGONAL)),
    ((-1.1, 0.0), (1.1, -1.1), (1.1, 1.1)),
    ((1.1, 0.0), (-1.1, -1.1), (-1.1, 1.1)),
    _STAR,
)


def style_indices(index: int) -> tuple[int, int]:
    """The color in `SERIES` and the marker in `MARKERS` of the class or run at `index`; 80 differ.

    All figures of a run and its page ask this function, so that a class looks the same in all of them.
    """
    return index % len(SERIES), index // len(SERIES) % len(MARKERS)


def css_variables() -> dict[str, tuple[str, str]]:
    """Return the CSS variables of all colors as {name: (light, dark)}; `--k0` is the first of `SERIES`."""
    series = {f"--k{index}": pair for index, pair in enumerate(SERIES)}
    return {"--ink": TEXT, "--soft": MUTED, "--rule": RULE, "--gray": GRAY, **series}
