"""What a report says was trained on what, against the records of the runs."""

from ssl_seg.reporting.build import build
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.page import page
from ssl_seg.utils.toml import read_toml


def test_the_setup_is_that_of_the_records(study, tmp_path):
    report = build([study])
    runs = {run.command: run for run in report.collected.runs}
    known = read_toml(runs["classify"].folder / "run.toml")
    (sentence,) = (text for text in report.setup if text.startswith("Classification into 3 classes"))
    images = known["record"].get("train", {}).get("images")
    assert (f"{images:,} training images" in sentence) == (images is not None)
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
