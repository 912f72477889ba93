"""The section on pre-training: settings, views and the drawing of the method."""

import xml.etree.ElementTree as ET

import pytest

from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.dino import DINO
from ssl_seg.methods.moco_v2 import MoCoV2
from ssl_seg.nn.tiny_backbone import TinyBackbone
from ssl_seg.reporting.build import build
from ssl_seg.reporting.method_drawing import draw_method
from ssl_seg.reporting.svg import standalone_svg
from ssl_seg.workflows.module_summary import module_summary


@pytest.mark.parametrize(
    ("method", "follows", "kept"),
    [
        (BYOL, {"target_backbone": "backbone", "target_projector": "projector"}, True),
        (DINO, {"backbone": "student", "head": "student_head"}, False),
        (MoCoV2, {"target_backbone": "backbone", "target_projector": "projector"}, True),
    ],
)
def test_a_summary_tells_what_follows_what(method, follows, kept):
    made = method(TinyBackbone())
    found = module_summary(made)
    assert list(found) == [name for name, _ in made.named_children()]
    assert {name: each["follows"] for name, each in found.items() if "follows" in each} == follows
    assert found["backbone"]["trained"] == kept
    assert found["backbone"]["parameters"] == sum(p.numel() for p in made.backbone.parameters())
    svg = draw_method(found, "x")
    boxes = ET.fromstring(standalone_svg(svg)).findall("{http://www.w3.org/2000/svg}rect")
    assert len(boxes) == len(found) + 1, "one each, and the ground"
    assert svg.count(">average<") == len(follows)


@pytest.mark.parametrize(
    "wrong", [None, {}, [], {"a": 1}, {"a": {"parameters": "9"}}, {key: {} for key in "abcdefghijklmnop"}]
)
def test_what_is_no_summary_is_not_drawn(wrong):
    assert draw_method(wrong, "x") == ""


def test_the_report_has_settings_and_views(make, tmp_path):
    views = {
        "1": {"scale": [0.08, 1.0], "blur_p": 1.0, "flip_y_p": 0.0},
        "2": {"scale": [0.08, 1.0], "blur_p": 0.1, "flip_y_p": 0.0},
    }
    flags = {"ssl": "byol", "backbone": "resnet50", "lr": 2e-4, "batch_size": 64}
    make.write_run(
        tmp_path / "ssl", "train", 0, [{"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.5}], settings=flags
    )
    path = tmp_path / "ssl" / "run.toml"
    from ssl_seg.utils.toml import read_toml, to_toml

    known = read_toml(path)
    known["record"]["resolved"] = {"ssl": {"decay": 0.99}, "views": views}
    path.write_text(to_toml(known))
    (method,) = build([tmp_path / "ssl"]).methods
    assert [["method", "byol"], ["learning rate", "0.0002"], ["decay", "0.99"]] == [
        row for row in method.settings if row[0] in ("method", "learning rate", "decay")
    ]
    assert method.head == ["transform", "view 1", "view 2"]
    assert method.views == [
        ["crop area (share of the image)", "[0.08, 1]", "[0.08, 1]"],
        ["blur, probability", "1", "0.1"],
    ]
