"""What a report answers, how sure it is, and what it advises."""

import json

import pytest

from ssl_seg.reporting.build import build


def write(make, folder, seeds, right, *, images=60):
    """A study of a pre-trained (C) and an untrained (A) classifier, each right about so many of the images."""
    stages = {"ssl": {"title": "ssl", "command": "train", "published": None, "runs": {"0": "ssl"}}}
    line = {"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.5}
    make.write_run(folder / "ssl", "train", 0, [line])
    settings = (folder / "ssl" / "run.toml").read_text()
    (folder / "ssl" / "run.toml").write_text(settings.replace("[record.train]", "[record.data]"))
    for name, count in right.items():
        runs = {}
        for seed in range(seeds):
            run = folder / f"{name}{seed}"
            lines = [line, line | {"epoch": 2, "step": 2, "val_top1": count / images}]
            flags = {"init": "elsewhere/ssl"} if name == "C" else {}
            make.write_run(
                run, "classify", seed, lines, settings=flags, result={"images": images, "last": {"top1": 0.5}}
            )
            rows = [f"{i}.jpg,cat,{'cat' if i < count else 'dog'},0.{90 - i}" for i in range(images)]
            (run / "val_predictions.csv").write_text(
                "\n".join(["filename,label,predicted,confidence", *rows]) + "\n"
            )
            runs[str(seed)] = run.name
        stages[name] = {"title": f"{name}: network", "command": "classify", "published": None, "runs": runs}
    table = {"settings": {"rows": ["A", "C"], "score": "val_top1"}}
    make.write_json(folder / "study.json", {"format": 1, "tables": table, "stages": stages})
    return build([folder])


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ({"A": 20, "C": 50}, "Pre-training improves the result by 0.50, more than chance (p < 0.001, "),
        ({"A": 50, "C": 20}, "Pre-training lowers the result by 0.50, more than chance (p < 0.001, "),
        ({"A": 30, "C": 31}, "The difference of +0.02 is within chance (p = 1, "),
    ],
)
def test_the_answer_is_that_of_the_test(make, tmp_path, right, told):
    report = write(make, tmp_path, 3, right)
    (text,) = report.answers
    assert text.startswith(
        f"The top-1 accuracy is {right['C'] / 60:.2f} ± 0.00 with pre-training (C: network) and "
    )
    assert told + "3 seeds and 60 validation images)" in text
    advice = " ".join(report.next_steps)
    assert "seeds" not in advice
    assert ("Validate on more images: with 60" in advice) == ("within chance" in told)
    assert ("Pre-train longer or on more images: ssl had 1 epoch on 40 images." in advice) == (
        "improves" not in told
    )


def test_rows_of_other_networks_are_not_compared(make, tmp_path):
    write(make, tmp_path, 1, {"A": 40, "C": 50})
    settings = tmp_path / "A0" / "run.toml"
    settings.write_text('head = "another"\n' + settings.read_text())
    (answer,) = build([tmp_path]).answers
    assert "Without a stage of the same network from scratch" in answer and "with pre-training" not in answer


def test_too_few_seeds_are_said(make, tmp_path):
    assert (
        write(make, tmp_path, 1, {"A": 20, "C": 50})
        .next_steps[0]
        .startswith("Train with at least 3 seeds (2 of 2 ")
    )


def test_what_has_nothing_to_compare_with_says_so(make, tmp_path):
    write(make, tmp_path, 3, {"A": 20, "C": 50})
    study = json.loads((tmp_path / "study.json").read_text())
    study["tables"]["settings"]["rows"] = ["C"]
    (tmp_path / "study.json").write_text(json.dumps(study))
    report = build([tmp_path])
    assert report.answers[0].endswith(
        "Without a stage of the same network from scratch, this does not say whether pre-training helps."
    )
    assert "Add a stage without `init` to settings" in report.next_steps[0]
    (tmp_path / "ssl" / "status.json").write_text('{"state": "failed", "code": 5}')
    assert build([tmp_path]).next_steps[0] == "Finish 1 run: the commands are under Missing items."


def test_the_surest_mistakes_come_first(make, tmp_path):
    (found, _) = write(make, tmp_path, 1, {"A": 20, "C": 50}).extremes
    assert found.title == "Most confident mistakes of A: network: 10 of 40"
    assert found.rows[0][:3] == ["20.jpg", "cat", "dog"]
    assert [float(row[3].text) for row in found.rows] == sorted(
        (float(row[3].text) for row in found.rows), reverse=True
    )
