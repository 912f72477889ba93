"""A class has on the page the color and marker of the figures of its run."""

import json
import re

from ssl_seg.figures.class_marks import class_marks
from ssl_seg.figures.palette import MARKERS, PALETTE
from ssl_seg.reporting.build import build
from ssl_seg.reporting.page import page


def test_a_classifiers_table_and_map_have_the_marks_of_its_figures(study):
    report = build([study])
    text, made = page(report), report.figures.maps[0]
    data = next(
        json.loads(part) for part in re.findall(r'json">({.*?})</script>', text) if '"styles"' in part
    )
    marks = class_marks(made.run.folder, made.classes)
    assert [(PALETTE[place], MARKERS[shape]) for place, shape in data["styles"]] == marks
    for name, (place, shape) in zip(made.classes, data["styles"], strict=True):
        swatch = f'<span class="swatch k{place} s{shape}" aria-hidden="true"></span>'
        assert f'<th scope="row">{swatch}{name}</th>' in text, "the table of classes"
        assert f"<li>{swatch}{name}</li>" in text, "the legend of the static maps"


def test_classes_of_masks_have_the_color_of_the_masks(study):
    text, run = page(build([study])), study / "segment-30"
    known = json.loads((run / "masks.json").read_text())
    marks = class_marks(run, known["classes"])
    assert [color for color, _ in marks] == ["#{:02x}{:02x}{:02x}".format(*each) for each in known["colours"]]
    for name, (color, _) in zip(known["classes"], marks, strict=True):
        swatch = f'<span class="swatch s1" style="background:{color}" aria-hidden="true"></span>'
        assert f"<li>{swatch}{name}</li>" in text, "the legend of the masks"
        assert f'<th scope="row">{swatch}{name}</th>' in text, "the table of classes"
