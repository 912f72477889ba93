"""A study to its end: tables, pictures and the page."""

import json
import os

import pytest

CHAIN = """
seeds = [0]
out = "{out}"
[sam]
model = "a-small-sam"
[defaults.classify]
train = "demo:32"
val = "demo:16"
backbone = "resnet10t"
image_size = 32
batch_size = 16
epochs = 2
[stages.ssl]
command = "train"
data = "demo:32"
backbone = "resnet10t"
image_size = 32
batch_size = 16
epochs = 1
[stages.A]
command = "classify"
[stages.C]
command = "classify"
init = "@ssl"
[defaults.segment]
train = "demo_masks:8"
val = "demo_masks:4"
backbone = "resnet10t"
image_size = 32
batch_size = 4
epochs = 1
watch = "00000"
[stages.M]
command = "segment"
head = "smp:unet"
published = 0.5
[stages.N]
command = "segment"
head = "fcn32s"
o.head.width = 8
[stages.N-again]
command = "segment"
head = "fcn32s"
o.head.width = 8
lr = 1e-3
[tables.labels]
rows = ["A", "C"]
[tables.masks]
rows = ["M", "N", "N-again"]
"""


SAM = """
import json, sys
from pathlib import Path
import typer

app = typer.Typer(add_completion=False)

@app.command("sam")
def sam(run: Path, compare: list[Path] = [], model: str = ""):
    (run / "sam").mkdir(exist_ok=True)
    text = json.dumps({"model": model, "images": [{"name": "00000", "segments": 4, "agreement": 0.75}]})
    (run / "sam" / "sam.json").write_text(text)
    (run / "sam" / "asked.json").write_text(json.dumps([str(path) for path in compare]))
    sys.exit(6 if model == "broken" else 0)
"""


@pytest.mark.slow
def test_the_chain_to_the_page(cli, tmp_path, package, monkeypatch):
    out = tmp_path / "out"
    file = tmp_path / "chain.toml"
    file.write_text(CHAIN.format(out=out))
    code, text, err = cli("study", file, "--dry-run")
    assert code == 0 and "then: tables, figures and report.html" in text
    site = package("sam-plugin", SAM, group="ssl_seg.commands", entry="sam = sam_plugin:app")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    code, text, err = cli("study", file, "--dry-run")
    assert code == 0 and "then: tables, figures, SAM segments and report.html" in text
    code, text, err = cli("study", file)
    assert code == 0, err
    assert {path.name for path in out.glob("*.txt")} == {"labels.txt", "masks.txt"}
    stages = json.loads((out / "study.json").read_text())["stages"]
    folder = {name: out / stage["runs"]["0"] for name, stage in stages.items()}
    drawn = {name: sorted(p.stem for p in (f / "figures").glob("*.svg")) for name, f in folder.items()}
    masks = {key: ["confusion", "masks"] for key in ("M", "N", "N-again")}
    assert drawn == {"ssl": [], "A": ["confusion"], "C": ["confusion", "tsne"], **masks}
    networks = json.loads((out / "figures" / "architecture.json").read_text())["networks"]
    assert [network["title"] for network in networks] == ["resnet10t + smp:unet", "resnet10t + fcn32s"]
    asked = json.loads((folder["M"] / "sam" / "asked.json").read_text())
    assert asked == [str(folder["N"]), str(folder["N-again"])]
    page = (out / "report.html").read_text()
    miou = json.loads((folder["M"] / "result.json").read_text())["last"]["miou"]
    assert f">{miou:.2f}<" in page and ">0.5<" in page
    assert "a-small-sam" in page and ">0.750<" in page
    assert page.count("all networks of the study, on one scale") == 2, "the picture and its caption, once"
    assert "missing: masks" not in text and "SAM beside the masks" not in page

    made = (folder["C"] / "figures" / "tsne.json").stat().st_mtime_ns
    (folder["M"] / "masks.json").write_text("{")
    (folder["M"] / "figures" / "masks.svg").unlink()
    file.write_text(CHAIN.format(out=out).replace("a-small-sam", "broken"))
    code, text, err = cli("study", file)
    assert code == 0, err
    assert "skipped: " in text + err, "what cannot be drawn harms nothing else"
    assert "skipped: SAM" in text + err
    assert (folder["C"] / "figures" / "tsne.json").stat().st_mtime_ns == made, "what is there stays"
    file.write_text("report = false\n" + CHAIN.format(out=out))
    (out / "report.html").unlink()
    assert cli("study", file)[0] == 0 and not (out / "report.html").exists()


def test_flags_of_sam_are_single_values(cli, tmp_path, package):
    file = tmp_path / "chain.toml"
    file.write_text(CHAIN.format(out=tmp_path / "out").replace('model = "a-small-sam"', "box = [1, 2]"))
    code, _, err = cli("study", file, "--dry-run")
    assert code == 0, err  # without the command nothing is asked of it
    package("sam-plugin", SAM, group="ssl_seg.commands", entry="sam = sam_plugin:app")
    code, _, err = cli("study", file, "--dry-run")
    line = file.read_text().splitlines().index("box = [1, 2]") + 1
    assert code == 2 and f"line {line}" in err and "'box' takes one value" in err
