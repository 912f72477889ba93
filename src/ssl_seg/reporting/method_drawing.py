"""A drawing of an SSL method: what is trained, what follows as a moving average, what is kept."""

from collections.abc import Mapping
from html import escape
from typing import Any

from ssl_seg.utils.text import brief, strip_unprintable

_WIDTH, _HEIGHT, _GAP = 130, 46, 34  # of a box, and between boxes
_MOST = 12  # modules


def draw_method(modules: Any, name: str) -> str:
    """Return the drawing as SVG; empty if the record is not one of `module_summary`.

    Args:
        modules: name -> `parameters`, `trained`, `follows`, in the order of the method.
        name: of the method.
    """
    if not isinstance(modules, Mapping) or not 0 < len(modules) <= _MOST:
        return ""
    if not all(
        isinstance(each, Mapping) and type(each.get("parameters")) is int for each in modules.values()
    ):
        return ""
    trained = [key for key, each in modules.items() if each.get("trained")]
    copies = {key: each["follows"] for key, each in modules.items() if each.get("follows") in trained}
    others = [key for key in modules if key not in trained and key not in copies]
    column = {key: index for index, key in enumerate(trained)}
    rows = [("view", {key: column[key] for key in trained})]
    rows += [("other view", {key: column[source] for key, source in copies.items()})] if copies else []
    step, left = _WIDTH + _GAP, 98
    right = left + max(len(trained), len(others)) * step
    parts: list[str] = []
    for number, (entrance, boxes) in enumerate(rows):
        y = 10 + number * (_HEIGHT + 50)
        ends = [left - _GAP, *(left + index * step for index in boxes.values())]
        parts.append(f'<text x="0" y="{y + _HEIGHT / 2 + 4}">{entrance}</text>')
        for start, end in zip(ends, [*ends[1:], right], strict=True):
            begin = start if start == ends[0] else start + _WIDTH
            parts.append(_arrow(begin + 2, y + _HEIGHT / 2, end - 3, y + _HEIGHT / 2))
        parts += [_box(key, modules[key], left + index * step, y) for key, index in boxes.items()]
    for source in copies.values():
        x = left + column[source] * step + _WIDTH / 2
        parts.append(_arrow(x, 10 + _HEIGHT + 2, x, _HEIGHT + 57, dashed=True))
        parts.append(f'<text x="{x + 6}" y="{_HEIGHT + 40}">average</text>')
    bottom = 10 + (len(rows) - 1) * (_HEIGHT + 50) + _HEIGHT
    parts.append(f'<text x="{right + 2}" y="{(10 + bottom) / 2 + 4}">loss</text>')
    if len(rows) > 1:
        parts.append(
            f'<path class="axis" fill="none" d="M{right - 2} {10 + _HEIGHT / 2}V{bottom - _HEIGHT / 2}"/>'
        )
    for index, key in enumerate(others):
        parts.append(_box(key, modules[key], left + index * step, bottom + 22))
    height = bottom + (22 + _HEIGHT if others else 0) + 10
    label = escape(strip_unprintable(f"modules of {name}"), quote=True)
    style = f'style="max-width:{right + 40}px"'
    return f'<svg viewBox="0 0 {right + 40} {height}" {style} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _box(key: str, module: Mapping[str, Any], x: float, y: float) -> str:
    name = strip_unprintable(key.replace("_", " "))
    cut = escape(name if len(name) <= 17 else f"{name[:16]}…")
    color = "var(--k0)" if module.get("trained") else "var(--soft)"
    width = 3 if key == "backbone" else 1.2
    dashes = "" if module.get("trained") else ' stroke-dasharray="5 3"'
    count = module["parameters"]
    said = f"{brief(count)} parameters" if count else "no parameters"
    middle = x + _WIDTH / 2
    return (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="none" stroke="{color}" '
        f'stroke-width="{width}"{dashes}/><text class="label" x="{middle}" y="{y + 19}" text-anchor="middle">{cut}</text>'
        f'<text x="{middle}" y="{y + 36}" text-anchor="middle">{said}</text>'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    """From left to right; dashed, from above to below."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    tip = f"M{x2 - 4} {y2 - 7}h8l-4 7z" if dashed else f"M{x2 - 7} {y2 - 4}v8l7 -4z"
    line = f'<path class="axis" fill="none"{dashes} d="M{x1} {y1}L{x2} {y2}"/>'
    return f'{line}<path class="faint" d="{tip}"/>'
