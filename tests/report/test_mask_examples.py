"""The numbers and the errors of watched masks, against pixels counted anew."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

from ssl_seg.reporting.build import build

NAME = "0013_mask.png"


def pixels(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def test_each_prediction_has_its_iou_and_the_last_its_errors(study, make):
    run = study / "segment-30"
    (example,) = build([study]).figures.mask_examples
    row = example.rows[0]
    colors = np.array(make.COLOURS)
    classes = {kind: (pixels(run / "masks" / kind / NAME)[..., None, :] == colors).all(-1).argmax(-1)
               for kind in ("labels", "epoch-0001", "epoch-0003")}  # fmt: skip
    for epoch in (1, 3):
        found = classes[f"epoch-000{epoch}"]
        wanted = jaccard_score(classes["labels"].ravel(), found.ravel(), labels=[0, 1, 2], average="macro")
        assert row.ious[epoch] == pytest.approx(wanted)
    is_wrong = classes["labels"] != classes["epoch-0003"]
    assert row.wrong == pytest.approx(is_wrong.mean())
    with Image.open(io.BytesIO(row.errors.data)) as image:
        shown = np.array(image.convert("RGB")).astype(int)
    redness = shown[..., 0] - shown[..., 2]
    assert redness[is_wrong].mean() > 2 * redness[~is_wrong].mean() > 0, (
        "wrong pixels are red, the others gray"
    )
    assert [label for label, _ in row.captioned()][-1] == f"errors, {is_wrong.mean():.0%} of pixels"


def test_the_hardest_images_are_named(study):
    found = next(each for each in build([study]).extremes if each.command == "segment")
    values = [cell.value for _, cell in found.rows]
    assert values == sorted(values)
    assert len(found.rows) == 2, "of three images"
