"""No command writes over its inputs, outside its output folder, or through a link."""

import hashlib
import json

import pytest
from PIL import Image


def listing(path, names):
    path.write_text("filename\n" + "".join(f"{name}\n" for name in names))
    return path


def state(folder):
    """Every file below a folder, with what is in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "cache" not in path.parts
    }


def test_masks_never_replace_the_images(trained, pics, cli, tmp_path):
    run = trained("segment")
    before = state(tmp_path)
    for more in ((), ("--overwrite",)):
        code, out, err = cli("predict", run, pics, "--out", pics, "--cpu", *more)
        assert code == 2 and "a.png is an input" in err and out == ""
    (tmp_path / "link").symlink_to(pics)  # the same folder by another name
    assert cli("predict", run, pics, "--out", tmp_path / "link", "--cpu", "--overwrite")[0] == 2
    assert {name: digest for name, digest in state(tmp_path).items() if name in before} == before
    assert sorted(path.name for path in pics.iterdir()) == ["a.png", "deep"]


def test_absolute_names_are_laid_out_below_out(trained, pics, cli, tmp_path):
    names = [pics / "a.png", pics / "deep/b.png", tmp_path / "victim/x.png"]
    source, before = listing(tmp_path / "list.csv", names), state(pics) | state(tmp_path / "victim")
    code, out, err = cli("predict", trained("segment"), source, "--out", tmp_path / "masks", "--cpu")
    assert code == 0, err
    assert out.startswith("3 masks")
    assert sorted(state(tmp_path / "masks")) == [
        "pics/a.png",
        "pics/deep/b.png",
        "result.json",
        "victim/x.png",
    ]
    assert state(pics) | state(tmp_path / "victim") == before


def test_names_that_lead_out_of_the_folder_are_laid_out_below_out(trained, pics, cli, tmp_path):
    source = listing(tmp_path / "pics.csv", ["a.png", "../victim/x.png"])  # of the folder pics
    code, _, err = cli("predict", trained("segment"), source, "--out", tmp_path / "here" / "masks", "--cpu")
    assert code == 0, err
    assert sorted(state(tmp_path / "here")) == ["masks/pics/a.png", "masks/result.json", "masks/victim/x.png"]


def test_two_images_that_would_have_one_mask(trained, pics, cli, tmp_path):
    source = listing(tmp_path / "list.csv", ["pics/a.png", pics / "a.png"])
    code, _, err = cli("predict", trained("segment"), source, "--out", tmp_path / "masks", "--cpu")
    assert code == 2 and "would have the same output a.png" in err and not (tmp_path / "masks").exists()


@pytest.mark.parametrize("link", ["a.png", "deep"])
def test_a_link_in_the_output_folder(link, trained, pics, cli, tmp_path):
    run, masks, victim = trained("segment"), tmp_path / "masks", tmp_path / "victim"
    masks.mkdir()
    (masks / link).symlink_to(victim / "x.png" if link == "a.png" else victim)
    before = state(victim)
    for more in ((), ("--overwrite",)):
        code, _, err = cli("predict", run, pics, "--out", masks, *more)
        assert code == 2 and f"{masks / link} is a symbolic link" in err
    assert state(victim) == before and [path.name for path in masks.iterdir()] == [link]


def test_masks_that_are_there_are_not_overwritten_unasked(trained, pics, cli, tmp_path):
    run, masks = trained("segment"), tmp_path / "masks"
    (masks / "deep").mkdir(parents=True)
    (masks / "deep" / "b.png").write_text("mine")
    code, _, err = cli("predict", run, pics, "--out", masks, "--cpu")
    assert code == 9 and "1 of 2 outputs already exist" in err and "--overwrite" in err
    assert state(masks).keys() == {"deep/b.png"}, "before any work"
    assert cli("predict", run, pics, "--out", masks, "--cpu", "--overwrite")[0] == 0
    assert state(masks).keys() == {"a.png", "deep/b.png", "result.json"}
    with Image.open(masks / "deep" / "b.png") as mask:
        assert mask.size == (24, 20)


def test_a_stopped_prediction_says_what_is_there(trained, pics, cli, tmp_path):
    (pics / "bad.png").write_bytes(b"no image")
    run, masks = trained("segment"), tmp_path / "masks"
    code, _, err = cli("predict", run, pics, "--out", masks, "--cpu")
    assert code == 3 and f"kept: 1 mask in {masks}" in err and "--bad-images skip --overwrite" in err
    words = ("--bad-images", "skip", "--overwrite", "--cpu")
    assert cli("predict", run, pics, "--out", masks, *words)[0] == 0
    assert state(masks).keys() == {"a.png", "deep/b.png", "result.json"}


def test_labels_and_features_are_not_written_over_anything(trained, pics, cli, tmp_path):
    run, source = trained("classify"), listing(tmp_path / "list.csv", [pics / "a.png"])
    for more in ((), ("--overwrite",)):
        code, _, err = cli("predict", run, source, "--out", source, "--cpu", *more)
        assert code == 2 and "list.csv is an input" in err
    assert source.read_text() == f"filename\n{pics}/a.png\n"
    for command, name in (("predict", "p.csv"), ("embed", "e.npz")):
        out = tmp_path / name
        out.write_text("mine")
        code, _, err = cli(command, run, pics, "--out", out, "--cpu")
        assert code == 9 and f"{out} already exists" in err and out.read_text() == "mine"
        assert cli(command, run, pics, "--out", out, "--cpu", "--overwrite")[0] == 0
        assert out.read_bytes() != b"mine"
    (run / "val_predictions.csv").write_text("of the run")
    code, _, err = cli("predict", run, pics, "--out", run / "val_predictions.csv", "--cpu", "--overwrite")
    assert code == 2 and (run / "val_predictions.csv").read_text() == "of the run"


def test_evaluate_replaces_its_own_numbers_and_nothing_else(trained, pics, cli, tmp_path):
    run, source = trained("classify"), tmp_path / "list.csv"
    source.write_text(f"filename,label\n{pics}/a.png,water\n")
    before = source.read_text()
    assert cli("evaluate", run, source, "--out", source, "--cpu")[0] == 2 and source.read_text() == before
    for _ in range(2):
        assert cli("evaluate", run, source, "--out", tmp_path / "e.json", "--cpu")[0] == 0
    assert json.loads((tmp_path / "e.json").read_text())["images"] == 1


def test_views_are_not_drawn_over_an_image(pics, cli):
    before = state(pics)
    code, _, err = cli("figure", "views", pics, "--image-size", 16, "--out", pics / "a.png")
    assert code == 2 and "is an input" in err and state(pics) == before


@pytest.mark.parametrize("name", ["../out", "a/b", "/tmp/out", "report", "table-pairs"])
def test_tables_of_a_study_have_files_of_their_own(name, cli, tmp_path):
    file = tmp_path / "s.toml"
    stage = '[stages.a]\ncommand = "classify"\ntrain = "demo:8"\n'
    tables = "[table]\n" if name == "table-pairs" else ""
    file.write_text(f'out = "{tmp_path}/study"\n{stage}{tables}[tables."{name}"]\nrows = ["a"]\n')
    code, _, err = cli("study", file)
    assert code == 2 and f"where: {file}, line " in err and not (tmp_path / "study").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["s.toml"]
