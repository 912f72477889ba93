"""Intervals, tests and rows, against SciPy and against counting."""

import json
from itertools import product

import numpy as np
import pytest
from scipy import stats

from ssl_seg.results.iou import mean_iou
from ssl_seg.results.runs import FLIPS, compare, holm, read_row, read_scores, sign_flips, wilson
from ssl_seg.study.config import Stage


@pytest.mark.parametrize("count", [1, 7, 406, 50_000])
def test_wilson_is_scipys(count):
    for right in sorted({0, 1, count // 3, count // 2, count - 1, count}):
        expected = stats.binomtest(right, count).proportion_ci(method="wilson")
        assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_solves_its_equation():
    """Its ends are the shares at which what was found lies 1.96 standard errors away."""
    for share, count in ((0.4606, 406), (0.5123, 327)):  # a mean over seeds is no whole number of images
        for end in wilson(share, count):
            distance = abs(share - end) / np.sqrt(end * (1 - end) / count)
            assert distance == pytest.approx(stats.norm.ppf(0.975), abs=1e-9)


def test_the_interval_holds_what_it_promises():
    """Of many data sets of a known share, 95 of 100 intervals hold it."""
    random = np.random.default_rng(0)
    held = [low < 0.3 < high for low, high in (wilson(k / 406, 406) for k in random.binomial(406, 0.3, 4000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("seed", range(6))
def test_few_differences_are_tested_exactly_as_by_scipy(seed):
    random = np.random.default_rng(seed)
    one, two = random.integers(0, 4, (2, 11))
    expected = stats.permutation_test(
        (one, two),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        vectorized=True,
        permutation_type="samples",
        n_resamples=np.inf,
    )
    quiet = np.zeros(400, np.int64)  # images on which both agree change nothing
    assert sign_flips(np.concatenate([one - two, quiet])) == pytest.approx(expected.pvalue, abs=1e-12)


def test_few_differences_are_tested_by_counting():
    moved = np.array([3, -1, 2, 2])
    sums = [abs(np.dot(signs, moved)) for signs in product((-1, 1), repeat=4)]
    assert sign_flips(moved) == np.mean([s >= 6 for s in sums])


def test_many_differences_are_tested_by_sampling():
    """With steps of one, it is the sign test, whose p-value is known."""
    for more in (110, 120, 128):
        moved = np.array([1] * more + [-1] * (200 - more))
        p = stats.binomtest(more, 200).pvalue
        assert sign_flips(moved) == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / FLIPS) + 1 / FLIPS)
    assert sign_flips(np.ones(300, np.int64)) == 1 / (FLIPS + 1), "never 0: the data are one of the flips"
    assert sign_flips(moved) == sign_flips(moved)


def test_no_difference_at_all():
    assert sign_flips(np.zeros(30, np.int64)) == 1.0
    assert sign_flips(np.zeros(0, np.int64)) == 1.0


def test_equal_models_are_told_apart_no_more_often_than_promised():
    random = np.random.default_rng(1)
    right = (random.random((300, 2, 60)) < 0.6).astype(int)
    assert np.mean([sign_flips(one - two) < 0.05 for one, two in right]) == pytest.approx(0.05, abs=0.035)


def test_holm_rejects_what_the_stepwise_procedure_rejects():
    random = np.random.default_rng(2)
    for _ in range(200):
        values = (random.random(random.integers(1, 12)) ** 4).tolist()
        corrected = holm(values)
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for rank, index in enumerate(np.argsort(values, kind="stable")):
                if values[index] > level / (len(values) - rank):
                    break
                rejected.add(int(index))
            assert {i for i, p in enumerate(corrected) if p <= level} == rejected
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def run(folder, scores, answers=None, *, labels=None, key="val_top1"):
    folder.mkdir(parents=True)
    lines = [json.dumps({"epoch": i, key: value}) for i, value in enumerate(scores, start=1)]
    (folder / "scores.jsonl").write_text("\n".join(lines) + '\n{"epoch": 9, "val_t')
    if answers is not None:
        names = labels or [f"{i}.jpg,cat" for i in range(len(answers))]
        rows = [f"{name},{'cat' if right else 'dog'},0.9" for name, right in zip(names, answers, strict=True)]
        (folder / "val_predictions.csv").write_text("\n".join(["filename,label,predicted,confidence", *rows]))
    return folder


def stage(name, seeds=1):
    return Stage(name, name, "classify", list(range(seeds)), {})


def row(tmp_path, name, *runs, planned=None, score="val_top1", **given):
    folders = {i: run(tmp_path / f"{name}{i}", *each, **given) for i, each in enumerate(runs)}
    return read_row(stage(name, planned or len(folders)), folders, score)


def test_a_row(tmp_path):
    found = row(tmp_path, "A", ([0.5, 0.9, 0.75], [1, 1, 0, 1]), ([0.2, 0.25], [0, 1, 0, 0]))
    assert (found.last, found.best) == ({0: 0.75, 1: 0.25}, {0: 0.9, 1: 0.25})
    assert found.right.tolist() == [1, 2, 0, 1]
    assert found.images[2] == ("2.jpg", "cat")
    assert found.interval == wilson(0.5, 4)
    assert found.why == ""


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([], "no run is finished"),
        ([([0.5],)], "no val_predictions.csv: nothing is known of single images"),
        ([([0.5], [1, 1, 0, 1])], "val_top1 is not the share of right answers in val_predictions.csv"),
        ([([0.5], [])], "val_top1 is not the share of right answers in val_predictions.csv"),
        ([([0.5], [1, 0]), ([0.5], [1, 0, 1, 0])], "its seeds were measured on different images"),
        ([([0.5], [1, 0]), ([0.5],)], "no val_predictions.csv: nothing is known of single images"),
        ([([], [1, 0])], "no val_top1 in A0"),
    ],
)
def test_a_row_of_which_too_little_is_known(tmp_path, runs, why):
    found = row(tmp_path, "A", *runs)
    assert found.why == why
    assert (found.images, found.interval) == ([], None)
    assert len(found.last) == len([each for each in runs if each[0]])


def test_predictions_without_their_columns(tmp_path):
    folder = run(tmp_path / "r", [0.5], [1, 0])
    (folder / "val_predictions.csv").write_text("filename,label\n1.jpg,cat\n")
    assert (
        read_row(stage("A"), {0: folder}, "val_top1").why == "val_predictions.csv has no column 'predicted'"
    )


def test_another_score_has_no_predictions(tmp_path):
    found = row(tmp_path, "S", ([0.5, 0.6],), key="val_miou", score="val_miou")
    assert found.last == {0: 0.6}
    assert found.interval is None


def masked(folder, confusions, value=None, exclude=()):
    """A finished run of `segment`."""
    folder.mkdir()
    kept = np.array([name not in exclude for name in "abc"])
    value = float(mean_iou(confusions.sum(0).astype(float), kept)) if value is None else value
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
    assert [row.why for row in rows] == ["", "", ""]
    for row in rows:
        low, high = row.interval
        assert low < np.mean(list(row.last.values())) < high
    pairs = {pair.names: pair for pair in compare(rows)}
    assert pairs["A - B"].p < 0.05 < pairs["A - C"].p


def test_masks_that_are_not_of_the_score(tmp_path):
    counts = np.ones((4, 3, 4), int)
    rows = {
        "A": masked(tmp_path / "A", counts, value=0.9),
        "B": masked(tmp_path / "B", counts, exclude=("c",)),
        "C": masked(tmp_path / "C", counts),
    }
    (tmp_path / "C" / "val_confusions.npz").write_bytes(b"PK")
    found = [read_row(stage(name), {0: folder}, "val_miou") for name, folder in rows.items()]
    assert found[0].why == "val_miou is not the mean IoU of val_confusions.npz"
    assert found[1].why == ""
    assert found[2].why.startswith("val_confusions.npz cannot be read")
    other = read_row(stage("D"), {0: masked(tmp_path / "D", counts)}, "val_miou")
    assert compare([found[1], other])[0].why == "different classes count"


def test_pairs(tmp_path):
    """Each pair is tested on its images, with weight by the number of seeds; all pairs are corrected together."""
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
    pairs = {pair.names: pair for pair in compare(rows)}
    assert list(pairs)[:4] == ["A - B", "A - C", "A - D", "A - E"]
    means = {"A": answers["A"].mean(0), "B": answers["B"].mean(0), "C": answers["C"][0]}
    raw = [sign_flips(np.rint(2 * (means[x] - means[y])).astype(int)) for x, y in ("AB", "AC", "BC")]
    assert [pairs[n].p for n in ("A - B", "A - C", "B - C")] == holm(raw)
    assert pairs["A - B"].p < 0.05
    expected = [float(one - two) for one, two in zip(answers["A"].mean(1), answers["B"].mean(1), strict=True)]
    assert pairs["A - B"].differences == pytest.approx(expected)
    assert len(pairs["B - C"].differences) == 1
    assert pairs["A - D"].p is None
    assert pairs["A - D"].why.startswith("D: no val_predictions.csv")
    assert pairs["A - E"].why == "measured on different images"


def test_scores_of_a_killed_run(tmp_path):
    assert read_scores(run(tmp_path / "r", [0.5])) == [{"epoch": 1, "val_top1": 0.5}]
    assert read_scores(tmp_path) == []
