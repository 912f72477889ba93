"""Tables of pre-training: the untrained network as a row, per-image tests, and scores at equal compute."""

import csv
import json

import pytest

from ssl_seg.results.pretraining import read_rows
from ssl_seg.results.run_digests import write_digests
from ssl_seg.results.runs import compare
from ssl_seg.results.tables import Table
from ssl_seg.study.config import StageConfig

RUN = 'backbone = "{backbone}"\nbatch_size = 10\n[record]\nflops_per_image = {flops}\nsteps_per_epoch = 5\n'


def predictions(path, correct):
    rows = [f"{i}.png,cat,{'cat' if right else 'dog'}" for i, right in enumerate(correct)]
    path.write_text("\n".join(["filename,label,predicted", *rows]) + "\n")


def run(folder, epochs, correct, *, flops=100, untrained=(1, 0, 0, 0), backbone="resnet18", every=1):
    """A finished run: `epochs` are its scores, the last one that of `correct`."""
    folder.mkdir(parents=True)
    lines = [
        {"epoch": epoch, "loss": 1.0, **({"probe_knn": score} if epoch % every == 0 else {})}
        for epoch, score in enumerate(epochs, start=1)
    ]
    (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.toml").write_text(RUN.format(backbone=backbone, flops=flops))
    predictions(folder / "probe_predictions.csv", correct)
    if untrained:
        predictions(folder / "probe_untrained.csv", untrained)
    return folder


def stage(name, seeds=1):
    return StageConfig(name, name, "train", list(range(seeds)), {})


def two(tmp_path, **options):
    cheap = run(tmp_path / "a", [0.25, 0.5, 0.5, 0.75], [1, 1, 1, 0])
    dear = run(tmp_path / "b", [0.5, 0.75, 0.75, 1.0], [1, 1, 1, 1], flops=160, **options)
    return [(stage("simclr"), {0: cheap}), (stage("swav"), {0: dear})]


def test_the_untrained_network_is_a_row_and_is_tested_against_the_others(tmp_path):
    rows = read_rows(two(tmp_path), "probe_knn")
    assert [(row.name, row.last, len(row.images)) for row in rows] == [
        ("untrained", {0: 0.25}, 4),
        ("simclr", {0: 0.75}, 4),
        ("swav", {0: 1.0}, 4),
    ]
    assert [(pair.label, pair.differences, pair.p is not None) for pair in compare(rows)] == [
        ("untrained - simclr", {0: -0.5}, True),
        ("untrained - swav", {0: -0.75}, True),
        ("simclr - swav", {0: -0.25}, True),
    ]


def test_at_equal_compute_the_dear_method_has_fewer_epochs(tmp_path):
    table = Table(read_rows(two(tmp_path), "probe_knn"), "probe_knn")
    assert [line[-2:] for line in table.cells[0]] == [
        ["compute", "at equal compute"],
        ["0.00x", "n/a"],
        ["1.00x", "0.75 (epoch 4)"],
        ["1.60x", "0.75 (epoch 2)"],  # 4 / 1.6 = 2.5 epochs
    ]
    table.write(tmp_path)
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [(line["flops"], line["equal_epoch"], line["equal_mean"]) for line in lines] == [
        ("0.0", "", ""),
        ("20000.0", "4", "0.75"),
        ("32000.0", "2", "0.75"),
    ]


def test_only_probed_epochs_count(tmp_path):
    stages = two(tmp_path, every=4)
    assert Table(read_rows(stages, "probe_knn"), "probe_knn").cells[0][-1][-2:] == ["1.60x", "n/a"]


def test_seeds_are_averaged_at_one_epoch(tmp_path):
    folders = {seed: run(tmp_path / f"s{seed}", [0.25, last], [last * 4 > i for i in range(4)]) for seed, last
               in enumerate((0.5, 1.0))}  # fmt: skip
    table = Table(read_rows([(stage("byol", 2), folders)], "probe_knn"), "probe_knn")
    assert table.cells[0][2][-1] == "0.75 ± 0.35 (epoch 2)"


def test_backbones_have_a_row_each(tmp_path):
    stages = two(tmp_path, backbone="vit")
    names = [row.name for row in read_rows(stages, "probe_knn")]
    assert names == ["untrained resnet18", "untrained vit", "simclr", "swav"]


def test_a_stage_of_that_name_stays_the_only_one(tmp_path):
    stages = two(tmp_path)
    rows = read_rows([(stage("untrained"), stages[0][1])], "probe_knn")
    assert [(row.name, row.last) for row in rows] == [("untrained", {0: 0.75})]


def test_runs_that_kept_nothing_of_it_have_no_such_row_and_no_costs(tmp_path):
    old = run(tmp_path / "old", [0.5], [1, 1, 0, 0], untrained=())
    (old / "run.toml").write_text('backbone = "resnet18"\nbatch_size = 10\n')
    table = Table(read_rows([(stage("byol"), {0: old})], "probe_knn"), "probe_knn")
    assert [line[0] for line in table.cells[0]] == ["", "byol"]
    assert "compute" not in table.cells[0][0]


def test_what_the_untrained_network_predicted_is_no_row_if_it_was_changed(tmp_path):
    (config, folders), _ = two(tmp_path)
    write_digests(folders[0])
    assert read_rows([(config, folders)], "probe_knn")[0].name == "untrained"
    predictions(folders[0] / "probe_untrained.csv", [1, 1, 0, 0])
    assert [row.name for row in read_rows([(config, folders)], "probe_knn")] == ["simclr"]
    (folders[0] / "probe_untrained.csv").write_bytes(b"filename,label,predicted\n\xff,a,a\n")
    assert [row.name for row in read_rows([(config, folders)], "probe_knn")] == ["simclr"]


def test_predictions_of_another_epoch_are_not_tested(tmp_path):
    (config, folders), other = two(tmp_path)
    predictions(folders[0] / "probe_predictions.csv", [1, 0, 0, 0])
    rows = read_rows([(config, folders), other], "probe_knn")
    assert rows[1].reason == "probe_knn differs from the accuracy in probe_predictions.csv"


@pytest.mark.parametrize("score", ["loss", "val_top1"])
def test_other_scores_have_no_such_rows(tmp_path, score):
    rows = read_rows(two(tmp_path), score)
    assert [row.name for row in rows] == ["simclr", "swav"]
    assert "compute" not in Table(rows, score).cells[0][0]
