"""What a report says was trained on what, against the records of the runs."""

from ssl_seg.reporting.build import build
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.page import page
from ssl_seg.utils.toml import read_toml


def test_the_setup_is_that_of_the_records(study, tmp_path):
    report = build([study])
    runs = {run.command: run for run in report.collected.runs}
    known = read_toml(runs["classify"].folder / "run.toml")["record"]
    (sentence,) = (text for text in report.setup if text.startswith("Classification into 3 classes"))
    assert f"{known['train']['images']} synthetic training images" in sentence, "of demo:40"
    assert f"{known['val']['images']} synthetic validation images" in sentence
    assert all(text.endswith(".") for text in report.setup)
    assert '<p class="setup">' in page(report)
    write_markdown(report, tmp_path / "report.md")
    assert sentence.split(":")[0] in (tmp_path / "report.md").read_text()


def test_what_runs_do_not_share_is_left_out(make, tmp_path):
    line = {"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.5}
    for seed, backbone in enumerate(("resnet10t", "resnet18")):
        make.write_run(
            tmp_path / f"r{seed}", "train", seed, [line], settings={"ssl": "byol", "backbone": backbone}
        )
    (sentence,) = build([tmp_path / "r0", tmp_path / "r1"]).setup
    assert sentence.startswith("Pre-training without labels: byol, ") and "resnet" not in sentence
    (alone,) = build([tmp_path / "r0"]).setup
    assert alone.startswith("Pre-training without labels: byol with resnet10t, ")


def test_a_path_is_shown_by_its_end(make, tmp_path):
    line = {"epoch": 1, "step": 1, "seconds": 1.0, "loss": 0.5}
    paths = {"train": "csv:/home/somebody/office/train.csv", "val": "office/val"}
    make.write_run(tmp_path / "r", "classify", 0, [line], settings=paths)
    (sentence,) = build([tmp_path / "r"]).setup
    assert (
        sentence
        == "Classification: 40 training images (office/train.csv), 40 validation images (office/val)."
    )


def test_steps_that_end_within_an_epoch_are_told_as_steps(make, tmp_path):
    line = {"epoch": 1, "step": 75, "seconds": 1.0, "loss": 0.5}
    flags = {"ssl": "byol", "backbone": "resnet18", "epochs": 200, "max_steps": 75}
    make.write_run(tmp_path / "r", "train", 0, [line], settings=flags)
    record = tmp_path / "r" / "run.toml"
    record.write_text(record.read_text().replace("[record]", "[record]\nsteps_per_epoch = 250", 1))
    report = build([tmp_path / "r"])
    (sentence,) = report.setup
    assert sentence.startswith("Pre-training without labels: byol with resnet18, 75 steps")
    assert "1 of 1" in page(report) and "1 of 200" not in page(report)
