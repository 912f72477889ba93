"""A study to its end: tables, pictures and the page."""

import json

import pytest

CHAIN = """
seeds = [0]
out = "{out}"
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
[stages.M]
command = "segment"
train = "demo_masks:8"
val = "demo_masks:4"
backbone = "resnet10t"
head = "smp:Unet"
image_size = 32
batch_size = 4
epochs = 1
watch = "00000"
published = 0.5
[tables.labels]
rows = ["A", "C"]
[tables.masks]
rows = ["M"]
"""


@pytest.mark.slow
def test_the_chain_to_the_page(cli, tmp_path):
    out = tmp_path / "out"
    file = tmp_path / "chain.toml"
    file.write_text(CHAIN.format(out=out))
    code, text, err = cli("study", file, "--dry-run")
    assert code == 0 and "then: tables, pictures and report.html" in text
    code, text, err = cli("study", file)
    assert code == 0, err
    assert {path.name for path in out.glob("*.txt")} == {"labels.txt", "masks.txt"}
    stages = json.loads((out / "study.json").read_text())["stages"]
    folder = {name: out / stage["runs"]["0"] for name, stage in stages.items()}
    drawn = {name: sorted(p.stem for p in (f / "figures").glob("*.svg")) for name, f in folder.items()}
    assert drawn == {"ssl": [], "A": [], "C": ["tsne"], "M": ["architecture", "masks"]}
    page = (out / "report.html").read_text()
    miou = json.loads((folder["M"] / "result.json").read_text())["last"]["miou"]
    assert f"{miou:.4f}" in page and "0.5000" in page
    assert "not there: masks" not in text

    made = (folder["C"] / "figures" / "tsne.json").stat().st_mtime_ns
    (folder["M"] / "masks.json").write_text("{")
    (folder["M"] / "figures" / "masks.svg").unlink()
    code, text, err = cli("study", file)
    assert code == 0, err
    assert "not drawn: " in text + err, "what cannot be drawn harms nothing else"
    assert (folder["C"] / "figures" / "tsne.json").stat().st_mtime_ns == made, "what is there stays"
    file.write_text("report = false\n" + CHAIN.format(out=out))
    (out / "report.html").unlink()
    assert cli("study", file)[0] == 0 and not (out / "report.html").exists()
