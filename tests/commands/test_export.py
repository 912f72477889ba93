"""`ssl-seg export` of real runs, and the way back."""

import json
import subprocess
import sys

import pytest
import timm
import torch

SHORT = ["--batch-size", 4, "--image-size", 32, "--epochs", 1, "--cpu"]


@pytest.fixture
def trained(cli, tmp_path):
    code, _, err = cli(
        "train", "demo:8", "--backbone", "test_resnet", "-o", "ssl.hidden=8", "-o", "ssl.dimensions=4",
        "--probe", "demo:16", *SHORT, "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    return tmp_path / "run"


@pytest.fixture
def classifier(cli, tmp_path, trained):
    words = (
        "classify",
        "demo:16",
        "--val",
        "demo:8",
        "--init",
        trained,
        *SHORT,
        "--out",
        tmp_path / "classifier",
    )
    code, _, err = cli(*words)
    assert code == 0, err
    return tmp_path / "classifier"


def test_to_timm_and_back(cli, trained, tmp_path):
    code, shown, err = cli("export", trained, "--to", "timm", "--out", tmp_path / "out")
    assert code == 0, err
    assert "config.json" in shown and "largest difference" in shown
    exec(shown.split("\n\n")[1], scope := {})  # noqa: S102  what it says can be pasted
    assert isinstance(scope["model"], torch.nn.Module)
    words = (
        "classify",
        "demo:16",
        "--val",
        "demo:8",
        "--init",
        tmp_path / "out",
        *SHORT,
        "--out",
        tmp_path / "c",
    )
    code, _, err = cli(*words)
    assert code == 0, err
    total = len(timm.create_model("test_resnet", num_classes=0).state_dict())
    assert f"matched {total} of {total} tensors" in err, (
        "backbone, image size and normalisation are in the file"
    )


def test_to_the_hub_with_the_numbers_of_the_run(cli, trained, classifier, tmp_path):
    assert cli("export", trained, "--to", "hub", "--out", tmp_path / "one", "--license", "mit")[0] == 0
    card = (tmp_path / "one" / "README.md").read_text()
    last = json.loads((trained / "scores.jsonl").read_text().splitlines()[-1])
    assert f"| probe\\_knn | {last['probe_knn']:.4f} |" in card and 'license: "mit"' in card
    code, _, err = cli("embed", tmp_path / "one", "demo:8", "--out", tmp_path / "f.npz", "--cpu")
    assert code == 0, err
    assert cli("export", classifier, "--to", "hub", "--out", tmp_path / "two", "--which", "best")[0] == 0
    result = json.loads((classifier / "result.json").read_text())
    assert f"| top1 | {result['best']['top1']:.4f} |" in (tmp_path / "two" / "README.md").read_text()
    said = {}
    for name, run in (("run", classifier), ("hub", tmp_path / "two")):
        words = ("predict", run, "demo:8", "--out", tmp_path / f"{name}.csv", "--cpu")
        code, _, err = cli(*words, *(("--which", "best") if name == "run" else ()))
        assert code == 0, err
        said[name] = (tmp_path / f"{name}.csv").read_text()
    assert said["run"] == said["hub"]


def test_what_is_refused(cli, trained, tmp_path):
    code, _, err = cli("export", trained, "--to", "torchvision", "--out", tmp_path / "w.pth")
    assert code == 2 and "torchvision: no network named test_resnet" in err
    code, _, err = cli("export", trained, "--to", "timm", "--out", trained)
    assert code == 9 and "already exists" in err
    code, _, err = cli("export", tmp_path / "nowhere", "--to", "timm", "--out", tmp_path / "x")
    assert code == 4 and "file not found" in err
    code, _, err = cli("export", trained, "--to", "onnx", "--out", tmp_path / "x")
    assert code == 2 and ".onnx" in err
    (tmp_path / "file").write_text("")
    code, _, err = cli("export", trained, "--to", "timm", "--out", tmp_path / "file" / "x")
    assert code == 6 and "cannot write" in err
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_help_is_quick():
    code = (
        "import sys; from ssl_seg.commands import export; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'onnx', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
