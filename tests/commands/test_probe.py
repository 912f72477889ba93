import csv
import json

import pytest
import torch
from PIL import Image

from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import demo
from ssl_seg.engine.device import Device
from ssl_seg.errors import DataError
from ssl_seg.plugins import load_plugins
from ssl_seg.testing import TinyBackbone
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows.knn_probe import KNNProbe, holdout_split


def targets(*counts):
    """`counts[c]` images of class c, shuffled."""
    rows = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]


def test_a_fifth_of_every_class_is_held_back():
    labels = targets(100, 10, 55)
    held = holdout_split(labels)
    assert [int(held[labels == label].sum()) for label in range(3)] == [20, 2, 11]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_at_least_one_image_of_a_small_class_is_held_back(count):
    labels = targets(count, 50)
    assert int(holdout_split(labels)[labels == 0].sum()) == 1


def test_the_split_is_the_same_in_every_run_and_touches_no_generator():
    labels, state = targets(30, 40), torch.get_rng_state()
    first = holdout_split(labels)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(first, holdout_split(labels))


def test_the_split_is_mixed_over_the_rows():
    held = holdout_split(torch.zeros(1000, dtype=torch.int64)).nonzero()[:, 0]
    assert len(held) == 200
    assert int((held < 500).sum()) == pytest.approx(100, abs=35), "not the first nor the last rows"


def image_cache_of(tmp_path, count):
    return open_image_cache(demo(str(count), ""), 32, tmp_path / "stores")


def probe_of(image_cache, signal=0):
    metric = load_plugins().registry.build("metrics", "knn", image_cache.classes)
    device, dataset = Device("fp32", cpu=True), demo(str(len(image_cache)), "")
    return KNNProbe(metric, dataset, image_cache, device, size=32, should_stop=lambda: signal > 0)


class Told(TinyBackbone):
    """Features that are given to it, in the store's order: one dimension per class."""

    def __init__(self, classes):
        super().__init__()
        self.codes = torch.eye(8)[classes]

    def forward(self, images):
        rows, self.codes = self.codes[: len(images)], self.codes[len(images) :]
        return [rows[:, :, None, None]]


def test_it_says_what_it_asks(tmp_path):
    assert (
        probe_of(image_cache_of(tmp_path, 80)).description() == "16 of 80 images, 8 classes, by chance 0.125"
    )


@pytest.mark.parametrize("spec", ["shapes", "image_folder:shapes"])
def test_of_a_folder_with_splits_the_training_images_are_asked(cli, tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 10), ("val", 5)):
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "shapes" / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (32, 32), (99 * label, index, 9)).save(f"shapes/{split}/{name}/{index}.png")
    words = ["--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8, "--epochs", 1, "--cpu"]
    code, _, err = cli("train", "demo:16", "--probe", spec, *words, "--out", "run")
    assert code == 0, err
    assert "probe: 4 of 20 images, 2 classes, by chance 0.500" in err


def test_it_scores_one_where_features_tell_the_class_and_zero_where_they_mislead(tmp_path):
    image_cache = image_cache_of(tmp_path, 80)
    assert probe_of(image_cache)(Told(image_cache.targets)) == {"probe_knn": 1.0}
    held = holdout_split(image_cache.targets)
    codes = image_cache.targets.clone()
    codes[held] = (codes[held] + 1) % 8  # held-back images look like the next class
    assert probe_of(image_cache)(Told(codes)) == {"probe_knn": 0.0}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_it_predicts_for_each_image_is_kept(tmp_path):
    image_cache = image_cache_of(tmp_path, 80)
    codes = image_cache.targets.clone()
    held = holdout_split(codes).nonzero()[:, 0]
    codes[held[:4]] = (codes[held[:4]] + 1) % 8  # a quarter of the images held out looks like the next class
    assert probe_of(image_cache)(Told(codes), tmp_path / "p.csv") == {"probe_knn": 0.75}
    dataset, names = demo("80", ""), image_cache.classes
    assert rows_of(tmp_path / "p.csv") == [
        {
            "filename": dataset.samples[image_cache.sample_indices[index]][0],
            "label": names[image_cache.targets[index]],
            "predicted": names[codes[index]],
        }
        for index in held
    ]


def test_a_run_keeps_the_predictions_of_its_last_probe_and_of_the_untrained_network(cli, tmp_path):
    words = [
        "--backbone",
        "resnet10t",
        "--image-size",
        32,
        "--batch-size",
        8,
        "--epochs",
        3,
        "--probe-every",
        2,
    ]
    run = tmp_path / "run"
    code, _, err = cli("train", "demo:16", "--probe", "demo:80", *words, "--cpu", "--out", run)
    assert code == 0, err
    found = {}
    for name in ("probe_untrained", "probe_predictions"):
        rows = rows_of(run / f"{name}.csv")
        found[name] = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert f"untrained: probe_knn {found['probe_untrained']:.3f}" in err
    last = json.loads((run / "scores.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == 3
    assert last["probe_knn"] == found["probe_predictions"]
    assert read_toml(run / "run.toml")["record"]["flops_per_image"] > 1e6


def test_only_one_image_of_each_class_is_too_few(tmp_path):
    with pytest.raises(DataError, match="two images of a class"):
        probe_of(image_cache_of(tmp_path, 8))


def test_a_signal_ends_it_without_a_score(tmp_path):
    assert probe_of(image_cache_of(tmp_path, 16), signal=15)(TinyBackbone()) == {}
