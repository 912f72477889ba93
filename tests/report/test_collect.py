"""Runs that were stopped, failed, lack a part or are damaged: the report says so and shows the rest."""

import json
import shutil

import numpy as np
import pytest

from ssl_seg.errors import DataError
from ssl_seg.reporting.build import build
from ssl_seg.reporting.collect import collect
from ssl_seg.reporting.latex import tables
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.page import page


def texts(reader, report):
    return " ".join(" ".join(reader.Reader(page(report)).texts).split())


@pytest.fixture
def own(study, tmp_path):
    """A study to be changed."""
    return shutil.copytree(study, tmp_path / "own")


def everything(report, folder):
    write_markdown(report, folder / "report.md")
    return page(report), tables(report), (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        ("stopped", 130, "stopped after epoch 2 by signal 2"),
        ("failed", 5, "failed after epoch 2, code 5 (training health: NaN or collapse)"),
        ("running", None, "running or killed after epoch 2"),
    ],
)
def test_a_run_without_an_end_is_told_of(reader, own, tmp_path, state, code, told):
    run = own / "classify-21"
    (run / "status.json").write_text(json.dumps({"state": state, "step": 2, "code": code}))
    lines = (run / "scores.jsonl").read_text().splitlines()[:2]
    (run / "scores.jsonl").write_text("\n".join(lines) + "\n")
    (run / "checkpoints" / "step-2").mkdir(parents=True)
    report = build([own])
    assert ("C plain, seed 1", "error", told) in report.health
    shown = texts(reader, report)
    assert told in shown
    assert f"ssl-seg classify --resume --out {run}" in shown
    (row,) = [row for row in report.results[0].table.rows if row.name == "C plain"]
    assert list(row.last) == [0], "only a finished run counts"
    (line,) = [line for line in report.runs if line.run.folder == run]
    assert line.epochs == "2 of 3"
    everything(report, tmp_path)


def test_a_study_that_has_not_begun(reader, make, own):
    for run in own.iterdir():
        if run.is_dir():
            shutil.rmtree(run)
    report = build([own])
    assert len([note for note in report.health if note[2] == "not started"]) == len(report.runs) == 9
    assert "No run has a top-1 accuracy yet." in texts(reader, report)
    assert len(report.missing) == 9


def test_what_is_missing_is_named_with_its_command(own):
    assert [what for what, _ in build([own]).missing] == ["architecture of N plain"]
    for seed in (0, 1):
        (own / f"classify-2{seed}" / "figures" / "confusion.svg").unlink()
    matrix, _ = build([own]).missing
    assert matrix[0] == "confusion matrix of C plain: title plain"
    assert matrix[1] == f"ssl-seg figure confusion {own / 'classify-20'}"
    (own / "classify-10" / "features").mkdir()
    np.savez(own / "classify-10" / "features" / "epoch-0001.npz", features=np.zeros((2, 2)))
    for run in own.glob("segment-*"):
        shutil.rmtree(run / "masks")
    shutil.rmtree(own / "segment-30" / "sam")
    assert not any("t-SNE" in what for what, _ in build([own]).missing), "one map is enough"
    for path in own.glob("*/figures/tsne.json"):
        path.unlink()
    missing = dict(build([own]).missing)
    assert missing["t-SNE of A plain: scratch"] == f"ssl-seg figure tsne {own / 'classify-10'}"
    assert missing["SAM comparison (optional)"].startswith(f"ssl-seg sam {own / 'segment-30'} ")
    assert "--watch" in missing["predicted masks of N plain"]
    assert "--out runs/again-segment-40" in missing["predicted masks of N plain"]


def test_features_are_asked_of_the_run_that_started_without_labels(make, tmp_path):
    lines = [{"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.5, "val_top1": 0.5}]
    make.write_run(tmp_path / "ssl", "train", 0, lines)
    for name, flags in (("A", {}), ("E", {"init": "ssl", "freeze": True}), ("C", {"init": "ssl"})):
        settings = flags | ({"init": str(tmp_path / "ssl")} if flags else {})
        make.write_run(tmp_path / name, "classify", 0, lines, settings=settings)
    missing = build([tmp_path / name for name in ("ssl", "A", "E", "C")]).missing
    (found,) = [(what, command) for what, command in missing if "features" in what]
    assert found[0] == "saved features of C (for t-SNE)"
    assert f"{tmp_path / 'C' / 'run.toml'}" in found[1]


FILES = [
    "classify-20/run.toml",
    "classify-20/scores.jsonl",
    "classify-20/status.json",
    "classify-20/result.json",
    "classify-20/confusion.csv",
    "classify-20/val_predictions.csv",
    "classify-20/figures/tsne.json",
    "classify-20/features/thumbnails.jpg",
    "segment-30/val_confusions.npz",
    "segment-30/masks.json",
    "segment-30/masks/labels/0013_mask.png",
    "segment-30/masks/epoch-0002/0013_mask.png",
    "segment-30/sam/sam.json",
    "segment-30/figures/architecture.svg",
    "segment-30/run.log",
]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "bytes", "empty", "missing", "list"])
def test_no_damaged_file_keeps_the_rest_from_being_told(reader, own, tmp_path, name, how):
    path = own / name
    content = {"cut": path.read_bytes()[: path.stat().st_size // 2], "bytes": b"\xff\x00{}}", "empty": b""}
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content.get(how, b"[1, 2]"))
    report = build([own])
    for text in everything(report, tmp_path):
        assert "A plain" in text
    said = " ".join(text for _, _, text in report.health) + " ".join(report.results[0].table.notes)
    silent = how == "missing" or name.endswith("run.log")
    json_file = name.endswith(".json") and how in ("cut", "bytes", "list")
    if json_file and not silent:
        assert name.rsplit("/", 1)[1] in said, said


@pytest.mark.parametrize(
    "change",
    [
        {"targets": [9] * 80},
        {"filenames": ["one"]},
        {"maps": []},
        {"maps": [{"epoch": 1, "xy": [[0, 0]]}]},
        {"maps": [{"epoch": 1, "xy": [[0, float("nan")]] * 80}]},
        {"classes": None},
    ],
)
def test_a_map_that_does_not_fit_is_left_out(own, change):
    path = own / "classify-20" / "figures" / "tsne.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    report = build([own])
    assert report.figures.maps == []
    assert "tsne.json is corrupt" in " ".join(report.figures.problems)


def test_a_map_of_one_point_and_one_class(reader, own):
    path = own / "classify-20" / "figures" / "tsne.json"
    maps = [{"epoch": 1, "xy": [[3.0, 4.0]], "purity": None, "silhouette": None}]
    path.write_text(json.dumps({"classes": ["all"], "targets": [0], "filenames": ["a"], "maps": maps}))
    report = build([own])
    assert report.figures.maps[0].epochs[0].xy == [(0.5, 0.5)]
    assert "purity n/a" in texts(reader, report)


def test_runs_without_a_study(reader, study):
    report = build([study / "classify-10", study / "segment-30"])
    assert [result.table.score for result in report.results] == ["val_top1", "val_miou"]
    assert [run.run.name for run in report.runs] == ["classify-10, seed 0", "segment-30, seed 0"]
    assert "±" not in report.results[0].table.cells[0][1][1], "one run has no deviation"
    assert "ssl-seg classify --config" in texts(reader, report)


def test_a_run_of_one_epoch_and_one_class(reader, make, tmp_path):
    line = {"epoch": 1, "step": 1, "seconds": 1.0, "loss": float("nan"), "val_top1": 1.0}
    result = {"images": 1, "last": {"epoch": 1, "top1": 1.0, "top1/cat": 1.0}}
    make.write_run(tmp_path / "run", "classify", 4, [line], result=result)
    report = build([tmp_path / "run"])
    assert ("run, seed 4", "error", "epoch 1: loss is NaN or infinite") in report.health
    assert report.classes["classify"].lines[0][2][0].text == "1.00"
    assert [key for key, _ in report.curves[0].charts] == ["top-1 accuracy"]
    everything(report, tmp_path)


def test_a_collapsed_backbone_is_told_of(make, tmp_path):
    line = {"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.0, "spread": 0.01, "rank": 1.0}
    make.write_run(tmp_path / "run", "train", 0, [line])
    assert [kind for _, kind, text in build([tmp_path / "run"]).health if "embedding std" in text] == [
        "error"
    ]


def test_energy_is_shown_where_it_is_known(reader, make, tmp_path):
    line = {"epoch": 1, "step": 1, "seconds": 3661.0, "loss": 0.5, "energy_wh": 12.34}
    make.write_run(tmp_path / "run", "train", 0, [line])
    shown = texts(reader, build([tmp_path / "run"]))
    assert "12.3 Wh" in shown
    assert "1:01:01" in shown
    assert "Energy: not available" not in shown


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="neither a study nor a run folder"):
        collect([tmp_path / "photos"])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"stages": {"a": {"title": "", "command": "train", "runs": {"0": "../../etc"}}}}',
        '{"stages": {"a": {"title": "", "command": "train", "runs": {"0": ".."}}}}',
        '{"stages": {"a": {"title": "", "command": "train", "runs": {"x": "b"}}}}',
        '{"stages": {}, "tables": {"t": {"rows": ["b"], "score": "s"}}}',
        '{"stages": {}, "tables": []}',
    ],
)
def test_a_damaged_study(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    if text == '{"stages": {}, "tables": []}':
        assert collect([tmp_path]).stages == []
        return
    with pytest.raises(DataError, match="corrupt"):
        collect([tmp_path])


def test_a_name_in_sams_file_leads_nowhere_else(own, tmp_path):
    secret = tmp_path / "secret.png"
    shutil.copy(own / "segment-30" / "sam" / "0013 plain.png", secret)
    path = own / "segment-30" / "sam" / "sam.json"
    found = json.loads(path.read_text())
    for name in ("../../../secret", str(secret), "../../../secret.png"):
        found["images"][0]["name"] = name
        path.write_text(json.dumps(found))
        assert build([own]).figures.sams[0].images[0].picture is None
