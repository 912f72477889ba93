"""Every example runs, on a tiny budget."""

import ast
import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

import ssl_seg
from ssl_seg.testing import check_method

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--epochs", 1, "--cpu"]


def load(name):
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_test_for_each():
    names = {path.name for path in EXAMPLES.iterdir() if not path.name.startswith("__")}
    assert names == {
        "cluster",
        "composed_method.py",
        "homework",
        "own_loop.py",
        "own_dataset.py",
        "own_method.py",
        "ssl-for-segmentation",
        "tour.ipynb",
    }


def test_own_method(cli, tmp_path):
    spec = f"{EXAMPLES / 'own_method.py'}:Rotations"
    words = ("train", "demo:16", "--ssl", spec, "-o", "ssl.dropout=0.1", *SHORT, "--out", tmp_path / "run")
    code, _, err = cli(*words)
    assert code == 0, err
    (line,) = (tmp_path / "run" / "scores.jsonl").read_text().splitlines()
    assert 0 <= json.loads(line)["turns_right"] <= 1
    check_method(load("own_method").Rotations)


def test_composed_method(cli, tmp_path):
    spec = f"{EXAMPLES / 'composed_method.py'}:BYOLDenseCL"
    words = ("train", "demo:16", "--ssl", spec, "-o", "ssl.dense=2.0", *SHORT, "--out", tmp_path / "run")
    code, _, err = cli(*words)
    assert code == 0, err
    scores = json.loads((tmp_path / "run" / "scores.jsonl").read_text())
    assert scores["loss"] == pytest.approx(scores["byol_loss"] + 2.0 * scores["densecl_loss"], rel=1e-5)
    check_method(load("composed_method").BYOLDenseCL)


def test_own_dataset(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["own_dataset.py", str(tmp_path / "pictures.npz")])
    code = compile((EXAMPLES / "own_dataset.py").read_text(), "own_dataset.py", "exec")
    exec(code, {"__name__": "__main__"})  # noqa: S102  it is ours
    spec = f"{EXAMPLES / 'own_dataset.py'}:Arrays={tmp_path / 'pictures.npz'}"
    ended, _, err = cli("classify", spec, "--val", spec, *SHORT, "--out", tmp_path / "run")
    assert ended == 0, err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["images"] == 20, "one fifth is held out"
    assert "80 images, 2 classes" in err
    assert load_file(tmp_path / "run" / "model.safetensors")["head.linear.weight"].shape[0] == 2


@pytest.mark.parametrize("file", ["homework.toml", "small.toml"])
def test_the_homework_says_what_it_would_run(cli, tmp_path, monkeypatch, file):
    shutil.copytree(EXAMPLES / "homework", tmp_path / "homework")
    monkeypatch.chdir(tmp_path)
    code, shown, err = cli("study", tmp_path / "homework" / file, "--dry-run")
    assert code == 0, err
    for stage in ("ssl", "FCN32s", "DeepLabV3", *"ABCDE"):
        assert stage in shown
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["homework"]


def test_the_small_homework_has_the_stages_of_the_whole_one():
    whole, small = (
        tomllib.loads((EXAMPLES / "homework" / f"{name}.toml").read_text()) for name in ("homework", "small")
    )
    assert small["stages"].keys() == whole["stages"].keys()
    assert small["tables"] == whole["tables"]
    for name, stage in small["stages"].items():
        shared = stage.keys() & {"command", "title", "ssl", "backbone", "head", "init", "freeze", "data"}
        assert all(stage[key] == whole["stages"][name][key] for key in shared)


SMALLER = {
    '"resnet50"': '"test_resnet"',
    '"vgg16"': '"test_resnet"',
    "images = 650": "images = 24",
    "keep_features = 650": "keep_features = 24",
    "images = 80": "images = 8",
    "width = 512": "width = 8",
    "max_steps = 75": "max_steps = 2",
    "canvas = 128": "canvas = 64",
    "image_size = 64": "image_size = 32",
    "image_size = 128": "image_size = 64",
    "batch_size = 32": "batch_size = 8",
    "batch_size = 64": "batch_size = 8",
}


@pytest.mark.slow
def test_the_small_homework_runs_on_painted_images(cli, tmp_path, monkeypatch):
    """On the stand-in for the course's data: all nine stages, both tables, and three epochs of features and masks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stand_in.py", "hw1_data", "--images", "48"])
    code = compile((EXAMPLES / "homework" / "stand_in.py").read_text(), "stand_in.py", "exec")
    exec(code, {"__name__": "__main__"})  # noqa: S102  it is ours
    torch.save(timm.create_model("test_resnet").state_dict(), "hw1_data/p1_data/pretrain_model_SL.pt")
    text = (EXAMPLES / "homework" / "small.toml").read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    Path("small.toml").write_text(text)
    code, _, err = cli("study", "small.toml")
    assert code == 0, err
    stages = json.loads(Path("runs/homework-small/study.json").read_text())["stages"]
    folders = {name: Path("runs/homework-small") / stage["runs"]["0"] for name, stage in stages.items()}
    for name in "ABCDE":
        assert {path.stem for path in folders[name].glob("features/*.npz")} == {
            f"epoch-000{epoch}" for epoch in (1, 2, 4)
        }
        assert name in Path("runs/homework-small/settings.txt").read_text()
    for name in ("FCN32s", "DeepLabV3", "DeepLabV3-SSL"):
        for epoch in (1, 2, 3):
            found = {path.stem for path in folders[name].glob(f"masks/epoch-000{epoch}/**/*.png")}
            assert {word[:4] for word in found} == {"0013", "0062", "0104"}
        assert name in Path("runs/homework-small/masks.txt").read_text()
    assert Path("runs/homework-small/report.html").exists()


def cells():
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    return notebook, ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_one():
    """What nbformat's schema of version 4.5 asks for."""
    notebook, _ = cells()
    assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"].keys() >= {"name", "display_name"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    for cell in notebook["cells"]:
        assert all(isinstance(line, str) for line in cell["source"])
        own = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            own |= {"execution_count", "outputs"}
            assert cell["outputs"] == [] and cell["execution_count"] is None, "nobody's results are in it"
        assert set(cell) == own


@pytest.mark.usefixtures("_tiny")
def test_the_cells_of_the_notebook_run(tmp_path, monkeypatch, capsys):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    _, codes = cells()
    scope = {"__name__": "__main__"}
    for number, code in enumerate(codes):
        small = code.replace("images, epochs = 800, 5", "images, epochs = 64, 1")
        small = small.replace('"resnet10t"', '"test_resnet"')
        exec(compile(small, f"cell {number}", "exec"), scope)  # noqa: S102  it is ours
    plt.close("all")
    assert 0 <= scope["knn"] <= 1 and "mean IoU" in capsys.readouterr().out
    assert (tmp_path / "runs" / "tour" / "timm" / "config.json").exists()
    assert (tmp_path / "runs" / "tour" / "report.html").exists()


@pytest.fixture
def _tiny():
    """The budget of the notebook is in its first cell, where the test lowers it."""
    _, codes = cells()
    assert "images, epochs = 800, 5" in codes[0] and '"resnet10t"' in codes[0]


def test_the_notebook_uses_public_names_alone():
    notebook, codes = cells()
    assert "pip install ssl-seg" in "".join(notebook["cells"][0]["source"])
    tree = ast.parse("\n".join(codes))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"shutil", "matplotlib.pyplot", "torch", "ssl_seg"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ssl_seg"
    }
    functions = {"train", "embed", "knn_predict", "classify", "segment", "load", "export", "report"}
    assert used == functions and used <= set(ssl_seg.__all__)


def walk():
    """The notebook of a new user on the page about Python."""
    page = (EXAMPLES.parent / "docs" / "python.md").read_text()
    install, _, rest = page.partition("```python\n")
    return install, rest.partition("```")[0]


def test_the_walk_of_a_new_user_is_short_and_complete():
    """That it runs is a test of all blocks of the pages."""
    install, code = walk()
    assert "pip install ssl-seg" in install
    assert len([line for line in code.splitlines() if line.strip()]) < 15
    steps = ["import ssl_seg", 'train("photos"', "classify", "segment", "load", "embed", "plt.plot", "export"]
    assert [step for step in steps if step not in code] == []


def write_scenes(folder, *, scenes=6, side=64):
    """Scenes of 2 x 3 tiles each, dealt to two folders in turn, and masks of two colours."""
    random = np.random.default_rng(0)
    for number in range(scenes):
        coarse = random.integers(0, 256, size=(2 * 8, 3 * 8, 3), dtype=np.uint8)
        scene = np.asarray(Image.fromarray(coarse).resize((3 * side, 2 * side), Image.Resampling.BICUBIC))
        for index in range(6):
            top, left = index // 3 * side, index % 3 * side
            tile = scene[top : top + side, left : left + side]
            where = folder / ("one" if (number + index) % 2 else "two")
            where.mkdir(parents=True, exist_ok=True)
            name = f"{7 * number + index:04d}"
            Image.fromarray(tile).save(where / f"{name}_sat.jpg", quality=95)
            mask = np.where(tile[..., :1] > 128, 255, 0).repeat(3, axis=2).astype(np.uint8)
            Image.fromarray(mask).save(where / f"{name}_mask.png")


def test_scenes_are_not_cut_apart(tmp_path, monkeypatch, capsys):
    module = load("ssl-for-segmentation/scenes")
    write_scenes(tmp_path / "tiles")
    words = (
        ["one", "two"],
        ["--out", str(tmp_path / "data"), "--shares", "0.5", "0.25", "0.25", "--crop", "32"],
    )
    monkeypatch.setattr(module, "DEALS", 50)
    monkeypatch.setattr(
        sys, "argv", ["scenes.py", *(str(tmp_path / "tiles" / w) for w in words[0]), *words[1]]
    )
    module.main()
    said = capsys.readouterr().out
    assert "36 tiles, 42 borders in common, 6 scenes" in said  # seven in each scene
    assert "one: 18 of 18 tiles touch one of another folder" in said
    parts = {}
    for part in ("train", "val", "test"):
        for path in (tmp_path / "data" / part).glob("*_sat.jpg"):
            assert path.with_name(path.name.replace("_sat.jpg", "_mask.png")).exists()
            parts.setdefault(int(path.name[4:8]) // 7, set()).add(part)
    assert len(parts) == 6 and all(len(found) == 1 for found in parts.values())
    assert set.union(*parts.values()) == {"train", "val", "test"}
    trained = len(list((tmp_path / "data" / "train").glob("*_sat.jpg")))
    assert len(list((tmp_path / "data" / "crops").iterdir())) == 4 * trained


def test_the_inference_scripts_of_the_homework(cli, tmp_path):
    for name in ("a", "b", "c", "d"):
        for number in range(3):
            pixels = np.random.default_rng([ord(name), number]).integers(0, 256, (48, 48, 3), dtype=np.uint8)
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    assert cli("classify", tmp_path / "photos", *SHORT, "--out", tmp_path / "labels")[0] == 0
    assert cli("segment", "demo:8", *SHORT, "--out", tmp_path / "masks")[0] == 0
    table = ["image_id,filename,label", *(f"{number},{number}.png,None" for number in range(3))]
    (tmp_path / "test.csv").write_text("\n".join(table) + "\n")

    def bash(script, run, *words):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        words = ["bash", EXAMPLES / "homework" / script, *words]
        done = subprocess.run(  # noqa: PLW1510
            words,
            env={**os.environ, "PATH": path, "RUN": str(tmp_path / run)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    bash("hw1_1.sh", "labels", tmp_path / "test.csv", tmp_path / "photos" / "b", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["filename"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert {row["label"] for row in rows} <= {"a", "b", "c", "d"}
    bash("hw1_2.sh", "masks", tmp_path / "photos" / "b", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
