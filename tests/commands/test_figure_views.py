"""`figure views` shows what training is going to see, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
SHORT = ["--epochs", 1, "--batch-size", 8, "--seed", 3, "--cpu", "--backbone", f"{TINY}:TinyBackbone"]


@pytest.fixture
def same(cli, tmp_path):
    """Trains with one command, draws with `figure views`, and compares the two files."""

    def compare(training, drawing):
        code, _, err = cli(*training, *SHORT, "--image-size", 32, "--out", tmp_path / "run")
        assert code == 0, err
        out = tmp_path / "views.png"
        code, text, err = cli("figure", "views", *drawing, "--image-size", 32, "--seed", 3, "--out", out)
        assert code == 0 and f"figure: {out}" in text, err
        return out.read_bytes() == (tmp_path / "run" / "figures" / "views.png").read_bytes()

    return compare


def test_without_labels(same, photos):
    assert same(["train", photos, "--on-collapse", "ignore"], [photos])


def test_of_another_method_with_options(same, photos):
    how = ["--ssl", "simclr"]
    assert same(["train", photos, *how, "--on-collapse", "ignore"], [photos, *how])


def test_for_classification(same, photos):
    assert same(["classify", photos, "--augment", "strong"], [photos, "--augment", "strong"])


def test_for_segmentation(same):
    how = ["--augment", "turns"]
    head = ["--head", "deeplabv3", "-o", "head.width=8"]
    assert same(["segment", "demo:8", *head, *how], ["demo:8", "--masks", *how])


def test_another_seed_shows_others(same, photos, cli, tmp_path):
    assert same(["train", photos, "--on-collapse", "ignore"], [photos])
    code, _, _ = cli("figure", "views", photos, "--image-size", 32, "--seed", 4, "--out", tmp_path / "b.png")
    assert code == 0 and (tmp_path / "b.png").read_bytes() != (tmp_path / "views.png").read_bytes()


def test_as_many_as_are_asked_for_or_there(cli, photos, tmp_path):
    widths = {}
    for count in (1, 5, 60):
        out = tmp_path / "a" / f"{count}.png"
        code, _, err = cli("figure", "views", photos, "--count", count, "--image-size", 16, "--out", out)
        assert code == 0, err
        with Image.open(out) as sheet:
            widths[count] = sheet.width
    assert widths[5] - widths[1] == 4 * 20 and widths[60] - widths[1] == 23 * 20


def test_an_image_and_its_mask_take_the_same_view(cli, tmp_path):
    """The thing in a picture stands out from the background where its mask says."""
    out = tmp_path / "views.png"
    code, _, err = cli("figure", "views", "demo:8", "--masks", "--image-size", 96, "--out", out)
    assert code == 0, err
    with Image.open(out) as image:
        sheet = np.asarray(image).astype(float)
    left, apart = sheet.shape[1] - 8 * 100, 0
    for column in range(8):
        x = left + column * 100
        view, mask = sheet[104:200, x : x + 96], sheet[204:300, x : x + 96]
        thing = (mask != 221).any(-1)
        if 0.05 < thing.mean() < 0.8:
            ring = np.zeros_like(thing)  # pixels just outside
            ring[2:-2, 2:-2] = thing[4:, 2:-2] | thing[:-4, 2:-2] | thing[2:-2, 4:] | thing[2:-2, :-4]
            ring &= ~thing
            inside = view[thing].mean(0)
            apart += np.abs(inside - view[ring].mean(0)).max() > 25
    assert apart >= 4


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["demo:8", "--ssl", "byol", "--augment", "light"], 2, "cannot be combined"),
        (["demo:8", "--ssl", "byol", "--masks"], 2, "cannot be combined"),
        (["demo:8", "--augment", "turns"], 2, "--masks --augment turns"),
        (["demo:8", "--ssl", "boyl"], 2, "did you mean 'byol'"),
        (["flat:{photos}", "--masks"], 3, "has no masks"),
        (["nowhere"], 3, "no such file or folder"),
        (["demo:8", "--out", "{photos}"], 6, "cannot write"),
    ],
)
def test_what_is_wrong_is_said(cli, photos, tmp_path, monkeypatch, words, code, what):
    monkeypatch.chdir(tmp_path)
    words = [word.format(photos=photos) for word in words]
    ended, _, err = cli("figure", "views", *words, "--image-size", 16)
    assert ended == code and what in err
    assert not (tmp_path / "views.png").exists()
