"""`ssl-seg figure`, on folders as runs leave them."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ssl_seg.figures import curves_data, tsne

TINY = Path(__file__).parents[1] / "faults" / "tiny.py"


@pytest.fixture
def kept(tmp_path):
    """A run's folder with features: `kept({1: features, 3: features})`."""

    def make(features, *, epochs=None, targets=None, classes=("cat", "dog"), name="run"):
        folder = tmp_path / name
        (folder / "features").mkdir(parents=True)
        for epoch, values in features.items():
            rows = len(values)
            np.savez_compressed(
                folder / "features" / f"epoch-{epoch:04d}.npz",
                features=values,
                targets=np.arange(rows) % len(classes) if targets is None else targets,
                filenames=np.array([f"{row}.jpg" for row in range(rows)]),
                classes=np.array(classes),
            )
        if epochs:
            (folder / "run.toml").write_text(f"epochs = {epochs}\n")
        return folder

    return make


def random(count=24, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_a_run_of_classify_gets_its_maps_and_its_curves(cli, tmp_path):
    out = tmp_path / "run"
    short = ["--image-size", 16, "--batch-size", 8, "--epochs", 3, "--cpu", "--keep-features", 20]
    code, _, err = cli("classify", "demo:40", "--val", "demo:16", "--backbone", f"{TINY}:TinyBackbone", *short, "--out", out)  # fmt: skip
    assert code == 0, err

    code, said, err = cli("figure", "tsne", out)
    assert code == 0, err
    found = json.loads((out / "figures" / "tsne.json").read_text())
    assert said.splitlines()[-3:] == [str(out / "figures" / f"tsne.{end}") for end in ("png", "svg", "json")]
    assert [each["epoch"] for each in found["maps"]] == [1, 3]
    with np.load(out / "features" / "epoch-0003.npz") as file:
        assert found["filenames"] == file["filenames"].tolist() and len(found["filenames"]) == 20
        assert found["classes"] == file["classes"].tolist()
        assert found["targets"] == file["targets"].tolist()
    assert (found["k"], found["perplexity"], found["seed"], found["notes"]) == (10, 19 / 3, 0, [])
    for each in found["maps"]:
        xy, targets = np.array(each["xy"]), np.array(found["targets"])
        apart = np.linalg.norm(xy[:, None] - xy, axis=2)
        np.fill_diagonal(apart, np.inf)
        near = apart.argsort(axis=1)[:, :10]
        assert each["purity"] == pytest.approx((targets[near] == targets[:, None]).mean())
        assert (
            f"epoch {each['epoch']}: purity {each['purity']:.3f}, silhouette {each['silhouette']:.3f}" in said
        )

    before = [(out / "figures" / f"tsne.{end}").read_bytes() for end in ("png", "svg", "json")]
    assert cli("figure", "tsne", out)[0] == 0
    assert before == [(out / "figures" / f"tsne.{end}").read_bytes() for end in ("png", "svg", "json")]

    code, said, err = cli("figure", "curves", out)
    assert (code, err) == (0, "")
    assert said.splitlines() == [str(out / "figures" / f"curves.{end}") for end in ("png", "svg")]


def test_a_run_without_features_is_told_how_to_keep_them(cli, tmp_path):
    code, _, err = cli("figure", "tsne", tmp_path)
    assert code == 3
    assert f"{tmp_path} has no saved features" in err and "--keep-features 2000" in err
    code, _, err = cli("figure", "tsne", tmp_path / "none")
    assert code == 2 and "folder not found" in err


def test_a_run_that_stopped_early_shows_what_it_has(cli, kept):
    run = kept({1: random()}, epochs=100)
    code, _, err = cli("figure", "tsne", run)
    assert code == 0
    assert "epoch 100 is missing: the run has not reached it" in err
    found = json.loads((run / "figures" / "tsne.json").read_text())
    assert [each["epoch"] for each in found["maps"]] == [1]
    assert "epoch 100 is missing" in found["notes"][0]


def test_a_run_of_one_epoch_is_whole(cli, kept):
    run = kept({1: random()}, epochs=1)
    code, _, err = cli("figure", "tsne", run)
    assert code == 0 and "missing" not in err


def test_equal_features_are_one_map(cli, kept):
    run = kept({1: random(), 5: random() * (1 + 1e-6)}, epochs=5)
    code, _, err = cli("figure", "tsne", run)
    assert code == 0
    assert "epochs 1 and 5 have the same features (frozen backbone): one map" in err
    assert len(json.loads((run / "figures" / "tsne.json").read_text())["maps"]) == 1


def test_an_epoch_that_is_not_finite_is_left_out(cli, kept):
    broken = random()
    broken[3, 2] = np.nan
    run = kept({1: random(), 5: broken})
    code, _, err = cli("figure", "tsne", run)
    assert code == 0
    assert "skipped epoch 5: its features contain NaN or infinity" in err
    code, _, err = cli("figure", "tsne", run, "--epochs", 5)
    assert code == 3 and "no epoch has finite features" in err


def test_a_collapse_and_one_class_are_drawn_and_said(cli, kept):
    run = kept({1: np.ones((12, 4), np.float32)}, classes=("only",))
    code, out, err = cli("figure", "tsne", run)
    assert code == 0
    assert "epoch 1: all images have equal features, so the map is random" in err
    assert "epoch 1: purity 1.000, silhouette n/a" in out
    assert json.loads((run / "figures" / "tsne.json").read_text())["maps"][0]["silhouette"] is None


def test_few_images_are_few_neighbours(cli, kept):
    run = kept({1: random(5)})
    assert cli("figure", "tsne", run)[0] == 0
    assert json.loads((run / "figures" / "tsne.json").read_text())["k"] == 4
    code, _, err = cli("figure", "tsne", kept({1: random(4)}, name="four"))
    assert code == 2 and "at least 5 images, got 4" in err


def test_epochs_perplexity_seed_and_place_can_be_chosen(cli, kept, tmp_path):
    run = kept({epoch: random(seed=epoch) for epoch in (1, 2, 7)})
    stem = tmp_path / "elsewhere" / "map"
    code, _, err = cli(
        "figure", "tsne", run, "--epochs", "7, 2", "--perplexity", 3, "--seed", 4, "--out", stem
    )
    assert code == 0, err
    found = json.loads((tmp_path / "elsewhere" / "map.json").read_text())
    assert [each["epoch"] for each in found["maps"]] == [7, 2]
    assert (found["perplexity"], found["seed"]) == (3, 4)
    assert not (run / "figures").exists()
    code, _, err = cli("figure", "tsne", run, "--perplexity", 9)
    assert code == 2 and "expected a perplexity in (0, 7.66667] for 24 images, got 9" in err


def test_another_method_has_files_of_its_own_and_no_perplexity(cli, kept):
    run = kept({1: random(), 7: random(seed=7)})
    code, _, err = cli("figure", "tsne", run, "--method", "pca")
    assert code == 0, err
    assert [path.name for path in sorted((run / "figures").iterdir())] == ["pca.json", "pca.png", "pca.svg"]
    found = json.loads((run / "figures" / "pca.json").read_text())
    assert (found["method"], found["perplexity"], len(found["maps"])) == ("pca", None, 2)
    code, _, err = cli("figure", "tsne", run, "--method", "pca", "--perplexity", 3)
    assert code == 2 and "only t-SNE has a perplexity" in err and "omit --perplexity" in err


@pytest.mark.parametrize(("epochs", "named"), [("3", "3"), ("1,x", "x"), ("-1", "-1"), ("²", "²")])
def test_epochs_that_are_not_there_are_named(cli, kept, epochs, named):
    code, _, err = cli("figure", "tsne", kept({1: random(), 7: random()}), f"--epochs={epochs}")
    assert code == 2
    assert f"no saved features for epoch {named}" in err and "--epochs 1,7  # available" in err


def test_too_many_images_are_sampled_and_it_is_said(cli, kept, monkeypatch):
    monkeypatch.setattr(tsne, "MANY", 10)
    monkeypatch.setattr(tsne, "max_points", lambda: 10)
    run = kept({1: random(19)})
    code, _, err = cli("figure", "tsne", run)
    assert code == 0
    assert "10 of 19 images are drawn" in err
    found = json.loads((run / "figures" / "tsne.json").read_text())
    assert found["filenames"] == [f"{row}.jpg" for row in range(0, 19, 2)]
    assert found["targets"] == [0] * 10


@pytest.mark.parametrize(
    "harm", ["cut", "text", "empty", "array", "key", "shape", "words", "target", "object"]
)
def test_damaged_features_are_named(cli, kept, harm):
    run = kept({1: random()})
    path = run / "features" / "epoch-0001.npz"
    with np.load(path) as file:
        arrays = dict(file)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif harm == "text":
        path.write_text("not an archive")
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "array":
        with path.open("wb") as file:
            np.save(file, arrays["features"])
    else:
        changed = {
            "key": {k: v for k, v in arrays.items() if k != "targets"},
            "shape": arrays | {"targets": arrays["targets"][:-1]},
            "words": arrays | {"features": arrays["features"].astype(str)},
            "target": arrays | {"targets": arrays["targets"] - 1},
            "object": arrays | {"classes": np.array(["a", {}], dtype=object)},
        }
        np.savez(path, **changed[harm])
    code, _, err = cli("figure", "tsne", run)
    assert code == 3
    assert "cannot read features" in err and str(path) in err
    assert not (run / "figures").exists()


def test_epochs_of_different_images_are_not_compared(cli, kept):
    run = kept({1: random(), 3: random(20)})
    code, _, err = cli("figure", "tsne", run)
    assert code == 3 and "epochs 1 and 3 are of different images" in err


# curves


@pytest.fixture
def scored(tmp_path):
    """A run's folder with scores: `scored("name", [{"epoch": 1, "loss": 2.0}], epochs=5)`."""

    def make(name, lines, epochs=None, rest=""):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)
        if epochs:
            (folder / "run.toml").write_text(f"epochs = {epochs}\n")
        return folder

    return make


def test_runs_of_all_kinds_are_drawn_together(cli, scored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = scored("a/run", [{"epoch": e, "loss": 1 / e, "val_top1": e / 9} for e in (1, 2, 5)], epochs=6)
    two = scored("b/run", [{"epoch": 1, "loss": 3.0, "probe_knn": 0.5}], rest='{"epoch": 2, "lo')
    none = scored("c/run", [])
    code, out, err = cli("figure", "curves", one, two, none)
    assert code == 0, err
    assert out.splitlines() == ["curves.png", "curves.svg"]
    assert err.splitlines() == [
        "a/run: no epochs 3-4, 6 of 6",
        "c/run: skipped: no finished epoch",
    ]
    with Image.open("curves.png") as image:
        assert image.width > 1000
    assert ElementTree.parse("curves.svg")


def test_a_run_of_one_epoch_is_a_point(cli, scored):
    run = scored("run", [{"epoch": 1, "step": 3, "loss": 2.0}], epochs=1)
    code, out, err = cli("figure", "curves", run, run)
    assert (code, err) == (0, "")
    assert str(run / "figures" / "curves.png") in out


def test_runs_without_an_epoch_are_an_error(cli, scored, tmp_path):
    code, _, err = cli("figure", "curves", scored("run", []))
    assert code == 3 and "no scores of a finished epoch" in err
    (tmp_path / "bare").mkdir()
    assert cli("figure", "curves", tmp_path / "bare")[0] == 3
    code, _, err = cli("figure", "curves", tmp_path / "none")
    assert code == 2 and "folder not found" in err
    code, _, err = cli("figure", "curves", scored("words", [{"epoch": 1, "step": 2}]))
    assert code == 3 and "no scores of a finished epoch" in err


@pytest.mark.parametrize(
    "line", ['{"loss": }', '{"loss": 1.0}', '[{"epoch": 1}', '{"epoch": "1", "loss": 1.0}', '"loss"', "\0\0"]
)
def test_damaged_scores_are_told_and_the_others_drawn(cli, scored, line):
    run = scored("run", [{"epoch": 1, "loss": 1.0}], rest=line + "\n}")
    code, out, err = cli("figure", "curves", run)
    assert code == 0 and "curves.png" in out
    assert err == f"warning: {run / 'scores.jsonl'}: 1 of 2 lines is corrupt\n"


def test_names_are_as_short_as_they_can_be():
    names = curves_data.names
    assert names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert names([Path("/x/a/run"), Path("/y/a/run"), Path("/y/b/run")]) == ["x/a/run", "y/a/run", "y/b/run"]


def test_epochs_are_told_in_spans():
    assert curves_data.spans([3]) == "epoch 3"
    assert curves_data.spans([1, 2, 3, 7, 9, 10]) == "epochs 1-3, 7, 9-10"


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_frozen_run_has_one_map_of_what_the_backbone_gives(cli, tmp_path, head):
    """The statistics of a head's BatchNorm and its hidden layers move although the backbone does not."""
    run = tmp_path / "frozen"
    words = ["classify", "demo:24", "--backbone", "test_resnet", "--freeze", "--head", head, "--epochs", 2]
    assert cli(*words, "--image-size", 32, "--batch-size", 8, "--cpu", "--out", run)[0] == 0
    first, last = (np.load(run / "features" / f"epoch-000{epoch}.npz")["features"] for epoch in (1, 2))
    assert first.shape == (24, 96) and (first == last).all()
    code, _, err = cli("figure", "tsne", run)
    assert code == 0
    note = "epochs 1 and 2 have the same features (frozen backbone): one map"
    assert note in err and note in (run / "figures" / "tsne.svg").read_text()


@pytest.mark.parametrize("place", ["", ".", "/", ".."])
@pytest.mark.parametrize("figure", ["curves", "confusion", "masks", "tsne", "architecture", "views"])
def test_a_figure_needs_a_name(cli, figure, place):
    code, _, err = cli("figure", figure, "resnet18", "--out", place)
    assert code == 2 and "names a folder" in err
