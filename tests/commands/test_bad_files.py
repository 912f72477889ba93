"""Of many files that cannot be used a message shows some; the list of all is in bad_images.csv."""

import ast
import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssl_seg
from ssl_seg.errors import DataError
from ssl_seg.utils.text import first_lines, from_csv_cell
from ssl_seg.workflows.bad_files import BadFiles

ROOT = Path(ssl_seg.__file__).parents[2]
TINY = Path(__file__).parents[1] / "faults" / "tiny.py"
ON_TINY = ["--backbone", f"{TINY}:TinyBackbone"]
SHORT = [*ON_TINY, *["--image-size", "32", "--batch-size", "4", "--epochs", "1", "--cpu"]]
OF_BYOL = ["-o", "ssl.hidden=8", "-o", "ssl.dimensions=4"]
ODD = ["=1+1.jpg", "a,b.jpg", 'q"uote.jpg', "line\nbreak.jpg", os.fsdecode(b"\xff.jpg")]


def make(folder, good=8, bad=12, names=()):
    """Images, and files that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(good):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"good-{index}.png")
    for name in [*(f"bad-{index:03d}.jpg" for index in range(bad)), *names]:
        (folder / name).write_bytes(b"nothing")
    return folder


def listed(path):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "reason"]
    return {from_csv_cell(name): reason for name, reason in rows}


def test_a_run_that_ends_over_bad_images_lists_them_all(cli, tmp_path):
    photos, run = make(tmp_path / "photos", names=ODD), tmp_path / "run"
    code, _, err = cli("train", photos, *SHORT, *OF_BYOL, "--out", run)
    assert code == 3
    lines = err.splitlines()
    assert lines[0] == "error[3] 17 of 25 images are unreadable"
    assert "       and 12 more" in lines and f"       all are in {run / 'bad_images.csv'}" in lines
    assert len(lines) <= 12
    found = listed(run / "bad_images.csv")
    assert set(found) == {str(path) for path in photos.glob("*.jpg")}
    assert set(found.values()) == {"not an image, or an unsupported format"}
    assert json.loads((run / "status.json").read_text())["code"] == 3
    for path in photos.glob("*.jpg"):
        path.unlink()
    code, _, err = cli("train", photos, *SHORT, *OF_BYOL, "--out", run)
    assert code == 0, err
    assert not (run / "bad_images.csv").exists(), "it is no longer true"


def test_a_run_that_leaves_them_out_lists_them_all(cli, tmp_path):
    """Those of every role; a resumed run, which reads none of them, says so again."""
    photos, probe, run = make(tmp_path / "photos"), tmp_path / "probe", tmp_path / "run"
    for name in ("a", "b"):
        make(probe / name, good=4, bad=5)
    words = ["train", photos, "--probe", probe, *SHORT, *OF_BYOL, "--bad-images", "skip", "--out", run]
    code, _, err = cli(*words)
    assert code == 0, err
    place = f"all are in {run / 'bad_images.csv'}"
    assert "12 of 20 images cannot be read and are left out: bad-000.jpg (not an image" in err
    assert "10 of 18 images cannot be read" in err and err.count(place) == 2
    wanted = {str(path) for folder in (photos, probe) for path in folder.rglob("*.jpg")}
    assert set(listed(run / "bad_images.csv")) == wanted and len(wanted) == 22
    before = (run / "bad_images.csv").read_bytes()
    code, _, err = cli("train", *ON_TINY, "--resume", "--out", run)
    assert code == 0 and err.count(place) == 2
    assert (run / "bad_images.csv").read_bytes() == before


@pytest.fixture
def run(cli, tmp_path):
    """A classifier of two classes."""
    for name in ("a", "b"):
        make(tmp_path / "labelled" / name, good=4, bad=0)
    code, _, err = cli("classify", tmp_path / "labelled", *SHORT, "--out", tmp_path / "run")
    assert code == 0, err
    return tmp_path / "run"


@pytest.mark.parametrize("bad_images", ["stop", "skip"])
def test_a_command_without_a_run_folder_names_its_list(cli, run, tmp_path, bad_images):
    photos = make(tmp_path / "photos")
    out = tmp_path / "out.csv"
    words = ["predict", run, photos, *ON_TINY, "--cpu", "--out", out, "--bad-images", bad_images]
    code, _, err = cli(*words)
    assert code == (3 if bad_images == "stop" else 0), err
    (path,) = (tmp_path / "cache" / "bad_images").glob("*.csv")
    assert f"all are in {path}" in err
    assert set(listed(path)) == {str(path) for path in photos.glob("*.jpg")}
    assert cli(*words, "--overwrite")[0] in (code, 2)
    assert list((tmp_path / "cache" / "bad_images").glob("*.csv")) == [path], "the same list is one file"


def test_all_images_without_a_mask_are_listed(cli, tmp_path):
    pairs, run = tmp_path / "pairs", tmp_path / "run"
    pairs.mkdir()
    for index in range(9):
        Image.new("RGB", (32, 32)).save(pairs / f"{index}_sat.jpg")
    Image.new("L", (32, 32)).save(pairs / "0_mask.png")
    code, _, err = cli("segment", f"mask_pairs:{pairs}", *SHORT, "--out", run)
    assert code == 3 and "an image has no mask: 8 in all" in err
    assert f"all are in {run / 'bad_images.csv'}" in err
    assert set(listed(run / "bad_images.csv")) == {str(pairs / f"{index}_sat.jpg") for index in range(1, 9)}


def test_all_files_that_a_csv_names_in_vain_are_listed(cli, tmp_path):
    make(tmp_path / "photos", good=2, bad=0)
    lines = [f"good-{index}.png,{'ab'[index % 2]}" for index in range(9)]
    (tmp_path / "photos.csv").write_text("\n".join(["filename,label", *lines]) + "\n")
    run = tmp_path / "run"
    code, _, err = cli("classify", tmp_path / "photos.csv", *SHORT, "--out", run)
    assert code == 3 and "image not found" in err and "and 6 more" in err
    found = listed(run / "bad_images.csv")
    assert len(found) == 7
    assert (
        found[str(tmp_path / "photos" / "good-8.png")]
        == f"file not found; {tmp_path / 'photos.csv'}, line 10"
    )


def test_a_list_that_cannot_be_written_hides_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    error = DataError("2 files", where="a: x", faults=[("a", "x"), ("b", "y")])
    BadFiles(tmp_path / "file" / "bad_images.csv").attach_to(error)
    first, second = error.where.splitlines()
    assert first == "a: x" and "the list of all could not be written" in second
    error = DataError("none")
    BadFiles(tmp_path / "bad_images.csv").attach_to(error)
    assert error.where is None and not (tmp_path / "bad_images.csv").exists()


def test_first_lines():
    assert first_lines(["a", "b"], 2) == "a\n       b"
    assert first_lines(["a", "b", "c"], 1) == "a\n       and 2 more"


# errors that show a part of a list, and why there is no full copy of it
ALLOWED = {
    ("commands/figure_curves.py", "curves"): "folders that were typed",
    ("workflows/mask_metadata.py", "check_classes"): "names of classes",
    ("study/config.py", "_get"): "the place of a key",
    ("commands/study.py", "study"): "runs, each of which was told of when it ended",
    ("engine/run_settings.py", "check_resume_config"): "flags that were typed",
    ("data/file_pairs.py", "pair_files"): "examples of names",
    ("data/label_maps.py", "_indices"): "names of classes",
    ("engine/run_settings.py", "read_settings"): "settings, all of them in the file",
}


def parts_of_lists(tree):
    """(function, line) of every error whose detail is cut out of a list, and that does not hand on all of it."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("Error"):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            cut = any(
                isinstance(part, ast.Slice) and part.upper or ast.unparse(part).startswith("first_lines(")
                for part in ast.walk(given.get("where", ast.Constant(None)))
            )
            if cut and "faults" not in given:
                yield function.name, node.lineno


def test_no_error_shows_a_part_of_a_list_of_files_alone():
    found = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        place = path.relative_to(ROOT / "src" / "ssl_seg").as_posix()
        found |= {(place, name) for name, _ in parts_of_lists(ast.parse(path.read_text()))}
    assert found - set(ALLOWED) == set(), "give it `faults`, or say in ALLOWED why not"
    assert set(ALLOWED) - found == set(), "no longer there"
