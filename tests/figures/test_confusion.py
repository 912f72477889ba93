"""The confusion matrix: read from the run's file, its shares and pairs, and the picture."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from ssl_seg.errors import DataError
from ssl_seg.figures.confusion import draw_confusion
from ssl_seg.results.confusion import Confusion, read_confusion


def random_confusion(classes, *, extra=0):
    random = np.random.default_rng(classes)
    names = [f"class {index}" for index in range(classes)]
    counts = random.integers(0, 9, size=(classes, classes + extra))
    return Confusion(names, [*names, *["no class"] * extra], counts)


def test_a_runs_matrix_is_that_of_its_predictions(cli, tmp_path):
    words = [
        "demo:24",
        "--val",
        "demo:24",
        "--backbone",
        "test_resnet",
        "--image-size",
        "32",
        "--batch-size",
        "8",
        "--epochs",
        "1",
        "--cpu",
    ]
    assert cli("classify", *words, "--out", tmp_path / "run")[0] == 0
    found = read_confusion(tmp_path / "run")
    lines = (tmp_path / "run" / "val_predictions.csv").read_text().splitlines()[1:]
    targets, predicted = zip(*[line.split(",")[1:3] for line in lines], strict=True)
    expected = confusion_matrix(targets, predicted, labels=found.classes)
    assert (found.counts == expected).all() and found.counts.sum() == 24
    code, out, err = cli("figure", "confusion", tmp_path / "run")
    assert code == 0, err
    files = [tmp_path / "run" / "figures" / f"confusion{suffix}" for suffix in (".png", ".svg")]
    assert out.split() == [str(file) for file in files]
    assert all(file.exists() for file in files)


def test_shares_and_pairs():
    counts = np.array([[6, 3, 1], [0, 0, 0], [5, 0, 15]])
    confusion = Confusion(["a", "b", "c"], ["a", "b", "c"], counts)
    shares = confusion.shares()
    assert shares[0].tolist() == [0.6, 0.3, 0.1] and np.isnan(shares[1]).all()
    assert confusion.most_confused(2) == [("a", "b", 0.3, 3), ("c", "a", 0.25, 5)]
    assert len(confusion.most_confused(10)) == 3


@pytest.mark.parametrize(("classes", "extra"), [(1, 0), (2, 1), (7, 1), (30, 0), (130, 0)])
def test_any_number_of_classes_is_drawn(tmp_path, classes, extra):
    paths = draw_confusion(tmp_path / "c", random_confusion(classes, extra=extra))
    with Image.open(paths[0]) as image:
        assert image.width > image.height / 2 and max(image.size) < 6000


def test_the_picture_of_a_thousand_classes_has_a_usual_size(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr("ssl_seg.figures.confusion.save", lambda fig, stem: figures.append(fig))
    draw_confusion(tmp_path / "c", random_confusion(1000))
    assert max(figures[0].get_size_inches()) < 30


def test_a_perfect_matrix_has_no_pairs(tmp_path):
    paths = draw_confusion(tmp_path / "c", Confusion(["a", "b"], ["a", "b"], np.eye(2, dtype=np.int64)))
    assert paths[0].exists()


@pytest.mark.parametrize(
    "text",
    ["", "x\n", "true,a\na,b\n", "true,a\na,-1\n", "true,a\na,1,2\n", "true,a,b\n", f"true,a\na,{10**30}\n"],
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "confusion.csv").write_text(text)
    with pytest.raises(DataError, match=r"cannot read .*confusion\.csv"):
        read_confusion(tmp_path)


def test_a_run_without_validation_images_says_so(tmp_path):
    with pytest.raises(DataError, match="has no confusion matrix"):
        read_confusion(tmp_path)
