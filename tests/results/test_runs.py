"""Rows of finished runs and their comparison."""

import json

import numpy as np
import pytest

from ssl_seg.metrics.mean_iou import areas
from ssl_seg.results.chance import holm_correction, sign_flip_test, wilson_interval
from ssl_seg.results.iou import mean_iou, paired_permutation_test
from ssl_seg.results.runs import compare, read_row, read_scores
from ssl_seg.study.config import StageConfig


def run(folder, scores, answers=None, *, labels=None, key="val_top1"):
    folder.mkdir(parents=True)
    lines = [json.dumps({"epoch": i, key: value}) for i, value in enumerate(scores, start=1)]
    (folder / "scores.jsonl").write_text("\n".join(lines) + '\n{"epoch": 9, "val_t')
    if answers is not None:
        names = labels or [f"{i}.jpg,cat" for i in range(len(answers))]
        rows = [
            f"{name},{'cat' if correct else 'dog'},0.9" for name, correct in zip(names, answers, strict=True)
        ]
        (folder / "val_predictions.csv").write_text("\n".join(["filename,label,predicted,confidence", *rows]))
    return folder


def stage(name, seeds=1):
    return StageConfig(name, name, "classify", list(range(seeds)), {})


def row(tmp_path, name, *runs, planned=None, score="val_top1", **given):
    folders = {i: run(tmp_path / f"{name}{i}", *each, **given) for i, each in enumerate(runs)}
    return read_row(stage(name, planned or len(folders)), folders, score)


def test_a_row(tmp_path):
    found = row(tmp_path, "A", ([0.5, 0.9, 0.75], [1, 1, 0, 1]), ([0.2, 0.25], [0, 1, 0, 0]))
    assert (found.last, found.best) == ({0: 0.75, 1: 0.25}, {0: 0.9, 1: 0.25})
    assert found.correct.tolist() == [[1, 1, 0, 1], [0, 1, 0, 0]]
    assert found.images[2] == ("2.jpg", "cat")
    assert found.interval == wilson_interval(0.5, 4)
    assert found.reason == ""


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        ([], "no finished run"),
        ([([0.5],)], "no val_predictions.csv: no per-image results"),
        ([([0.5], [1, 1, 0, 1])], "val_top1 differs from the accuracy in val_predictions.csv"),
        ([([0.5], [])], "val_predictions.csv is empty"),
        ([([0.5], [1, 0]), ([0.5], [1, 0, 1, 0])], "its seeds were validated on different images"),
        ([([0.5], [1, 0]), ([0.5],)], "no val_predictions.csv: no per-image results"),
        ([([], [1, 0])], "no val_top1 in A0"),
    ],
)
def test_a_row_of_which_too_little_is_known(tmp_path, runs, reason):
    found = row(tmp_path, "A", *runs)
    assert found.reason == reason
    assert (found.images, found.interval) == ([], None)
    assert len(found.last) == len([each for each in runs if each[0]])


def test_predictions_without_their_columns(tmp_path):
    folder = run(tmp_path / "r", [0.5], [1, 0])
    (folder / "val_predictions.csv").write_text("filename,label\n1.jpg,cat\n")
    assert (
        read_row(stage("A"), {0: folder}, "val_top1").reason
        == "val_predictions.csv has no column 'predicted'"
    )


def test_another_score_has_no_predictions(tmp_path):
    found = row(tmp_path, "S", ([0.5, 0.6],), key="val_miou", score="val_miou")
    assert found.last == {0: 0.6}
    assert found.interval is None


def masked(folder, confusions, value=None, exclude=()):
    """A finished run of `segment`."""
    folder.mkdir()
    scored_classes = np.array([name not in exclude for name in "abc"])
    value = float(mean_iou(confusions.sum(0).astype(float), scored_classes)) if value is None else value
    (folder / "scores.jsonl").write_text(json.dumps({"epoch": 1, "val_miou": value}) + "\n")
    files = np.array([f"{i}.jpg" for i in range(len(confusions))])
    what = {"classes": np.array(list("abc")), "exclude": np.array(exclude, dtype=str)}
    np.savez_compressed(folder / "val_confusions.npz", confusions=confusions, filenames=files, **what)
    return folder


def test_rows_of_masks(tmp_path):
    random = np.random.default_rng(0)
    good, poor = (random.integers(1, 9, (2, 20, 3, 4)) + np.eye(3, 4, dtype=int) * more for more in (40, 5))
    rows = [
        read_row(
            stage(name, 2), {i: masked(tmp_path / f"{name}{i}", c) for i, c in enumerate(each)}, "val_miou"
        )
        for name, each in (("A", good), ("B", poor), ("C", good[:1]))
    ]
    assert [row.reason for row in rows] == ["", "", ""]
    for row in rows:
        low, high = row.interval
        assert low < np.mean(list(row.last.values())) < high
    pairs = {pair.label: pair for pair in compare(rows)}
    assert pairs["A - B"].p < 0.05 < pairs["A - C"].p
    against = {pair.label: pair for pair in compare(rows, "B")}
    assert list(against) == ["A - B", "C - B"]  # a gain is positive
    assert against["A - B"].differences == pairs["A - B"].differences
    assert against["A - B"].p == pytest.approx(pairs["A - B"].p * 2 / 3), "corrected for two pairs, not three"


def test_masks_that_are_not_of_the_score(tmp_path):
    counts = np.ones((4, 3, 4), int)
    rows = {
        "A": masked(tmp_path / "A", counts, value=0.9),
        "B": masked(tmp_path / "B", counts, exclude=("c",)),
        "C": masked(tmp_path / "C", counts),
    }
    (tmp_path / "C" / "val_confusions.npz").write_bytes(b"PK")
    found = [read_row(stage(name), {0: folder}, "val_miou") for name, folder in rows.items()]
    assert found[0].reason == "val_miou differs from the mean IoU of val_confusions.npz"
    assert found[1].reason == ""
    assert found[2].reason.startswith("cannot read val_confusions.npz")
    other = read_row(stage("D"), {0: masked(tmp_path / "D", counts)}, "val_miou")
    assert compare([found[1], other])[0].reason == "validated on different classes"


def test_pairs(tmp_path):
    """Each pair is tested on its images and the seeds that both have; all pairs are corrected together."""
    random = np.random.default_rng(0)
    answers = {
        name: (random.random((2, 60)) < share) * 1 for name, share in (("A", 0.2), ("B", 0.8), ("C", 0.7))
    }
    rows = [
        row(tmp_path, name, *(([float(np.mean(a))], a.tolist()) for a in each[: 1 if name == "C" else 2]))
        for name, each in answers.items()
    ]
    rows.append(row(tmp_path, "D", ([0.5],)))
    rows.append(row(tmp_path, "E", ([0.5], [1, 0] * 30), labels=[f"{i}.jpg,cat" for i in range(60, 120)]))
    pairs = {pair.label: pair for pair in compare(rows)}
    assert list(pairs)[:4] == ["A - B", "A - C", "A - D", "A - E"]
    both = {"A - B": 2, "A - C": 1, "B - C": 1}
    raw = [sign_flip_test((answers[n[0]][:s] - answers[n[-1]][:s]).sum(0)) for n, s in both.items()]
    assert [pairs[n].p for n in both] == holm_correction(raw)
    assert [pairs[n].partly for n in both] == [False, True, True]
    assert pairs["A - B"].p < 0.05
    expected = [float(one - two) for one, two in zip(answers["A"].mean(1), answers["B"].mean(1), strict=True)]
    assert list(pairs["A - B"].differences.values()) == pytest.approx(expected)
    assert list(pairs["B - C"].differences) == [0]
    assert pairs["A - D"].p is None
    assert pairs["A - D"].reason.startswith("D: no val_predictions.csv")
    assert pairs["A - E"].reason == "validated on different images"


def test_rows_without_a_seed_in_common_are_not_tested(tmp_path):
    rows = [
        read_row(stage(name), {seed: run(tmp_path / name, [0.5], [1, 0])}, "val_top1")
        for seed, name in enumerate("AB")
    ]
    (pair,) = compare(rows)
    assert (pair.differences, pair.p, pair.reason) == ({}, None, "no seed in common")


def test_masks_are_tested_on_the_seeds_that_both_rows_have(tmp_path):
    """A third, failed seed of one row is in its mean, but not in the difference, nor in its test."""
    random = np.random.default_rng(1)
    good, other, failed = random.integers(1, 9, (3, 20, 3, 4)) + np.eye(3, 4, dtype=int) * 40
    failed = failed[:, ::-1]
    folders = {
        "A": [masked(tmp_path / "A0", good), masked(tmp_path / "A1", failed)],
        "B": [masked(tmp_path / "B0", other)],
    }
    rows = [read_row(stage(n, 2), dict(enumerate(each)), "val_miou") for n, each in folders.items()]
    (pair,) = compare(rows)
    scored_classes = np.ones(3, bool)
    assert pair.p == paired_permutation_test(areas(good)[None], areas(other)[None], scored_classes)
    assert pair.p > 0.05
    assert pair.differences == {0: rows[0].last[0] - rows[1].last[0]}
    low, high = rows[0].interval
    assert low < np.mean([*rows[0].last.values()]) < high


def test_another_score_that_is_nearly_the_share_has_no_interval(tmp_path):
    """The mean over classes can be within half an image of the share of right answers."""
    assert row(tmp_path, "A", ([0.75 + 0.1 / 4], [1, 1, 0, 1])).reason.startswith(
        "val_top1 differs from the accuracy"
    )


def test_scores_of_a_killed_run(tmp_path):
    assert read_scores(run(tmp_path / "r", [0.5])) == [{"epoch": 1, "val_top1": 0.5}]
    assert read_scores(tmp_path) == []
