"""`predict` as a person uses it: which images, what is written of each, and what the numbers are."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import ssl_seg
from ssl_seg.augment.views import eval_view
from ssl_seg.weights.load import load

CLASSES = ("meadow", "sea", "wood")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four photographs below `photos`, `photos/list.csv`, a text, and the current folder around them."""
    chance = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "c.jpg", "deep/d.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def labels(trained, photos, cli, tmp_path):
    """`labels("photos", "--top", 2)`: the rows of the CSV file."""
    run = trained("classify", CLASSES)

    def predict(*words, code=0):
        found, _, err = cli("predict", run, *words, "--out", tmp_path / "p.csv", "--cpu", "--overwrite")
        assert found == code, err
        return err if code else rows_of(tmp_path / "p.csv")

    return predict


def names(rows):
    return [row["filename"] for row in rows]


def test_a_label_has_its_confidence_and_those_below_it(labels, tmp_path):
    rows = labels("photos", "--top", 5, "--probabilities", "--uncertainty")
    columns = ["id", "filename", "label", "confidence", "label_2", "confidence_2", "label_3", "confidence_3"]
    assert list(rows[0]) == [*columns, "uncertainty"], "there are three classes"
    model, metadata = load(tmp_path / "classify")
    with np.load(tmp_path / "p.npz") as file:
        found, listed, classes = (file[key] for key in ("probabilities", "filenames", "classes"))
    assert listed.tolist() == names(rows) and tuple(classes) == CLASSES and found.dtype == np.float32
    for row, probabilities in zip(rows, found, strict=True):
        pixels = np.array(Image.open(tmp_path / "photos" / row["filename"]).convert("RGB"))
        images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        options = {"size": 16, "mean": metadata["mean"], "std": metadata["std"]}
        with torch.no_grad():
            logits = model(eval_view(images, torch.tensor([[20, 24]]), **options)).numpy()[0].astype(float)
        wanted = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(probabilities, wanted, atol=1e-4)
        order = wanted.argsort()[::-1]
        assert [row["label"], row["label_2"], row["label_3"]] == [CLASSES[index] for index in order]
        assert float(row["confidence_2"]) == pytest.approx(wanted[order[1]], abs=1e-4)
        entropy = -(wanted * np.log(wanted)).sum() / np.log(3)
        assert float(row["uncertainty"]) == pytest.approx(entropy, abs=1e-4)


def test_the_plain_file_has_one_label_and_its_confidence(labels, tmp_path):
    rows = labels("photos")
    assert list(rows[0]) == ["id", "filename", "label", "confidence"] and len(rows) == 4
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows) and not (tmp_path / "p.npz").exists()
    record = json.loads((tmp_path / "p.result.json").read_text())
    assert record["images"] == 4 and record["temperature"] == 1.0 and record["tta"] is None
    assert (
        record["seconds_per_image"] == pytest.approx(record["seconds"] / 4, abs=1e-5)
        and record["seconds"] > 0
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["photos/b.png"], ["photos/b.png"]),
        (["photos/c.jpg", "photos/a.jpg", "./photos/c.jpg"], ["photos/c.jpg", "photos/a.jpg"]),
        (["photos/*.jpg"], ["photos/a.jpg", "photos/c.jpg"]),
        (["photos/*"], ["photos/a.jpg", "photos/b.png", "photos/c.jpg"]),
        (
            ["photos/**/*.jpg", "photos/b.png"],
            ["photos/a.jpg", "photos/c.jpg", "photos/deep/d.jpg", "photos/b.png"],
        ),
        (["photos"], ["a.jpg", "b.png", "c.jpg", "deep/d.jpg"]),
    ],
    ids=str,
)
def test_files_patterns_and_folders(labels, words, expected):
    assert names(labels(*words)) == expected


def test_a_file_in_the_home_folder(labels, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(labels("~/photos/b.png")) == [str(tmp_path / "photos" / "b.png")]


def test_brackets_of_a_folder_are_no_pattern(labels, photos):
    photos.rename(photos.with_name("run[1]"))
    assert len(labels("flat_folder:run[1]")) == 4


@pytest.mark.parametrize(
    "text",
    [b"photos/b.png\nphotos/a.jpg\n\n", b"photos/b.png\r\nphotos/a.jpg", b"photos/b.png\0photos/a.jpg\0"],
)
def test_a_list_on_standard_input(labels, monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert names(labels("-")) == ["photos/b.png", "photos/a.jpg"]


def test_a_table_of_images_that_lie_elsewhere(labels, tmp_path):
    (tmp_path / "list.csv").write_text("id,filename\n7,d.jpg\n")
    rows = labels("list.csv", "--images", "photos/deep")
    assert [(row["id"], row["filename"]) for row in rows] == [("7", "d.jpg")]


def test_features_of_a_table_of_images_that_lie_elsewhere(trained, photos, tmp_path, cli):
    (tmp_path / "list.csv").write_text("id,filename\n7,d.jpg\n")
    words = ("list.csv", "--images", "photos/deep", "--out", tmp_path / "f.npz", "--cpu")
    code, _, err = cli("embed", trained("classify", CLASSES), *words)
    assert code == 0, err
    assert np.load(tmp_path / "f.npz")["filenames"].tolist() == ["d.jpg"]


@pytest.mark.parametrize("flag", [["--flips"], ["--tta", "scales"]])
def test_what_probes_cannot_do_is_not_ignored(trained, photos, cli, flag, tmp_path):
    run = trained("classify", CLASSES)
    code, _, err = cli("evaluate", run, "demo:24", "--probe", "knn", "--cpu", *flag)
    assert code == 2 and "only for a run with a classifier" in err
    (tmp_path / "masks").mkdir()
    (photos / "b.png").rename(tmp_path / "masks" / "b.png")
    code, _, err = cli("evaluate", tmp_path / "masks", "demo:24", *flag)
    assert code == 2 and "only for a run with a classifier" in err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["photos/*.tif"], 3, "no image matches photos/*.tif"),
        (["photos/*.txt"], 3, "found 1 other file"),
        (["photos/a.jpg", "photos/none.jpg"], 3, "image not found: photos/none.jpg"),
        (["photos/a.jpg", "photos/deep"], 3, "photos/deep is a folder"),
        (["photos/a.jpg", "-"], 2, "stands alone"),
        (["photos/notes.txt"], 3, "notes.txt"),
        (["photos", "--images", "photos"], 2, "images"),
        (["photos", "--tta", "crops"], 2, "no test-time augmentation 'crops'"),
        (["photos", "--overlay"], 2, "--overlay: only for segmentation models"),
    ],
    ids=str,
)
def test_what_cannot_be_predicted_is_said_before_the_work(labels, words, code, text, tmp_path):
    assert text in labels(*words, code=code)
    assert not (tmp_path / "p.csv").exists()


def test_an_empty_list(labels, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    assert "no image is named" in labels("-", code=3)


def test_a_record_of_somebody_else_is_not_replaced(trained, photos, cli, tmp_path):
    run = trained("classify", CLASSES)
    (tmp_path / "p.result.json").write_text('{"mine": 1}')
    words = ("predict", run, "photos", "--out", tmp_path / "p.csv", "--cpu")
    code, _, err = cli(*words)
    assert code == 9 and "/p.result.json\n" in err
    (tmp_path / "p.result.json").unlink()
    assert cli(*words)[0] == 0
    (tmp_path / "p.csv").unlink()
    assert cli(*words)[0] == 0, "that of earlier predictions is"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_changes_no_label(labels, batch_size):
    one, other = labels("photos"), labels("photos", "--batch-size", batch_size)
    assert [row["label"] for row in one] == [row["label"] for row in other]
    for row, twin in zip(one, other, strict=True):
        assert float(row["confidence"]) == pytest.approx(float(twin["confidence"]), abs=1e-4)


def test_from_python(trained, photos, tmp_path):
    run = trained("classify", CLASSES)
    more = {"cpu": True, "progress": False, "top": 2, "tta": "flips,scales", "probabilities": True}
    found = ssl_seg.predict(run, ["photos/a.jpg", photos / "b.png"], "p.csv", **more)
    assert found.count == 2 and found.seconds > 0 and found.temperature == 1.0
    assert [path.name for path in found.files] == ["p.csv", "p.npz", "p.result.json"]
    assert json.loads((tmp_path / "p.result.json").read_text())["tta"] == "flips,scales"
    assert len(rows_of(tmp_path / "p.csv")[0]) == 6
    assert ssl_seg.predict(run, "photos", "all.csv", cpu=True, progress=False).count == 4


def test_progress_is_shown_while_the_network_works(trained, photos, cli, tmp_path):
    for index in range(30):
        (photos / f"{index}.jpg").write_bytes((photos / "a.jpg").read_bytes())
    run = trained("classify", CLASSES)
    code, _, err = cli("predict", run, "photos", "--out", tmp_path / "q.csv", "--cpu", "--batch-size", 10)
    assert code == 0 and "predicting: 34/34" in err
