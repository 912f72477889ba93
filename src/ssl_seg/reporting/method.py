"""How the networks of a report were pre-trained: the method, its options, and its views."""

from dataclasses import dataclass
from typing import Any

from ssl_seg.reporting.images import EncodedImage
from ssl_seg.reporting.method_drawing import draw_method
from ssl_seg.reporting.records import ReportData, ReportStage
from ssl_seg.reporting.settings_diff import shown_setting

_SETTINGS = {
    "ssl": "method",
    "backbone": "backbone",
    "init": "initial weights",
    "epochs": "epochs",
    "max_steps": "steps at most",
    "batch_size": "batch size",
    "image_size": "view size (px)",
    "optimizer": "optimizer",
    "lr": "learning rate",
    "schedule": "schedule",
    "warmup": "warm-up (share of the steps)",
    "weight_decay": "weight decay",
}
_VIEW = {
    "scale": "crop area (share of the image)",
    "ratio": "crop aspect ratio",
    "flip_x_p": "horizontal flip, probability",
    "flip_y_p": "vertical flip, probability",
    "turn_p": "quarter turn, probability",
    "jitter_p": "color jitter, probability",
    "gray_p": "grayscale, probability",
    "blur_p": "blur, probability",
    "blur_sigma": "blur, sigma (px)",
    "solarize_p": "solarization, probability",
}


@dataclass(frozen=True)
class Method:
    """The pre-training of a stage.

    Attributes:
        settings: (name, value), the method's own options last.
        head, views: the table of its views; without rows if unknown.
        drawing: SVG of its modules; empty if they are unknown.
        picture: images and their views; None if there is none.
    """

    label: str
    settings: list[list[str]]
    head: list[str]
    views: list[list[str]]
    drawing: str
    picture: EncodedImage | None


def methods(collected: ReportData, pictures: list[tuple[str, EncodedImage]]) -> list[Method]:
    """Return how each stage of pre-training was trained, by its first run.

    Args:
        pictures: sheets of views, by the label of their stage.
    """
    sheets = dict(pictures)
    return [_method(stage, sheets) for stage in collected.of("train") if stage.runs[0].settings]


def _method(stage: ReportStage, sheets: dict[str, EncodedImage]) -> Method:
    run = stage.runs[0]
    found = run.record.get("resolved")
    resolved: dict[str, Any] = found if isinstance(found, dict) else {}
    settings = [
        [name, shown_setting(run.settings[key])] for key, name in _SETTINGS.items() if run.settings.get(key)
    ]
    options = resolved.get("ssl")
    settings += [[key, shown_setting(value)] for key, value in _items(options)]
    views = [view for _, view in _items(resolved.get("views")) if isinstance(view, dict)]
    keys = dict.fromkeys(key for view in views for key in view if any(each.get(key) for each in views))
    rows = [[_VIEW.get(key, key), *(shown_setting(view.get(key)) for view in views)] for key in keys]
    head = ["transform", *(f"view {number}" for number in range(1, len(views) + 1))]
    drawing = draw_method(run.record.get("modules"), str(run.settings.get("ssl")))
    return Method(stage.label, settings, head, rows, drawing, sheets.get(stage.label))


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
