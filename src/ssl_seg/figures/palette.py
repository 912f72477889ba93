"""The colors and markers of classes and runs: one palette for figures, the report page and its charts."""

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

PALETTE = tuple(light for light, _ in SERIES)  # figures are drawn on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")  # of matplotlib; the page draws the first four
PAGE_MARKERS = 4


def css_variables() -> dict[str, tuple[str, str]]:
    """Return the CSS variables of all colors as {name: (light, dark)}; `--k0` is the first of `SERIES`."""
    series = {f"--k{index}": pair for index, pair in enumerate(SERIES)}
    return {"--ink": TEXT, "--soft": MUTED, "--rule": RULE, **series}
