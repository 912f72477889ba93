"""Views with a user's values: every field is replaced, small crops keep their share, wrong values are refused."""

from dataclasses import asdict, replace

import pytest

from ssl_seg.augment.recipes import BYOL_VIEWS, View
from ssl_seg.augment.view_options import with_view_options
from ssl_seg.errors import UsageError
from ssl_seg.methods.visreg import VISReg
from ssl_seg.nn.tiny_backbone import TinyBackbone

TEXTS = {
    "scale": ("0.3,1", (0.3, 1.0)),
    "ratio": ("[1, 1.5]", (1.0, 1.5)),
    "blur_sigma": ("0.5,1", (0.5, 1.0)),
    "hue": ("0.02", 0.02),
    "gray_p": ("0", 0.0),
}


def test_every_field_can_be_set_alone():
    for key, value in asdict(View()).items():
        if key == "zoom":
            continue
        text, wanted = TEXTS.get(key, ("0.75", 0.75))
        assert wanted != value
        changed = with_view_options(BYOL_VIEWS, {key: text})
        assert changed == tuple(replace(view, **{key: wanted}) for view in BYOL_VIEWS)


def test_small_crops_keep_their_share():
    views = VISReg(TinyBackbone()).views
    assert {view.zoom for view in views} != {1.0}
    changed = with_view_options(views, {"scale": "0.5,1", "turn_p": "0.5"})
    for old, new in zip(views, changed, strict=True):
        assert new == replace(old, turn_p=0.5, scale=(0.5, 1.0) if old.zoom == 1.0 else old.scale)


def test_no_option_changes_nothing():
    assert with_view_options(BYOL_VIEWS, {}) == BYOL_VIEWS


@pytest.mark.parametrize(
    ("key", "text", "what"),
    [
        ("flip_x", "0.5", "no option 'flip_x'; did you mean 'flip_x_p'"),
        ("turn_p", "1.5", "views.turn_p must be a number from 0 to 1"),
        ("turn_p", "nan", "views.turn_p must be a number"),
        ("hue", "0.7", "from 0 to 0.5"),
        ("scale", "1,0.3", "two rising numbers"),
        ("scale", "0,1", "from 0.001 to 1"),
        ("scale", "0.3", "option 'scale'"),
        ("zoom", "0.5", "the method decides the zoom"),
        ("turn_p", "often", "option 'turn_p'"),
    ],
)
def test_what_no_view_can_have_is_refused(key, text, what):
    with pytest.raises(UsageError, match=what):
        with_view_options(BYOL_VIEWS, {key: text})
