"""A signal at any stage of any command: what is kept and what to do next is said, and nothing is left by halves."""

import json
import re
import shlex
import signal

import pytest

from benchmarks.faults.disk import TRAINING, by_halves, found_in, new_place, run_at, whole_of
from benchmarks.faults.snapshot import differences

INT, TERM = signal.SIGINT, signal.SIGTERM
STRIKE = "benchmarks.faults.traps:strike_at"
READING = ("ssl_seg.data.cache_builder._write_arrays", "", "before")
DECODING = ("ssl_seg.data.cache_builder._decode_one", "", "after")  # in a thread, where no signal arrives
LISTING = ("ssl_seg.data.image_cache.identities", "", "before")
LOADING = ("ssl_seg.plugins.load_plugins", "", "after")
NETWORK = ("ssl_seg.workflows.trained_model.open_model", "", "after")
FORWARD = ("ssl_seg.engine.inference.eval_view", "", "after")


def at(name):
    """Where a file gets its final name."""
    return ("os.replace", name, "before")


# command -> stage -> (where it is, at which time, which signal)
STAGES = {
    "train": {
        "loading": (LOADING, 1, INT),
        "listing": (LISTING, 1, TERM),
        "decoding": (DECODING, 5, INT),
        "building the network": (("ssl_seg.workflows.components.Components.backbone", "", "after"), 1, TERM),
        "the untrained probe": (("ssl_seg.workflows.knn_probe.extract_features", "", "before"), 1, INT),
        "saving": (at("/step-"), 2, TERM),
    },
    "classify": {
        "reading": (READING, 2, TERM),
        "the step": (("ssl_seg.engine.schedule.set_lr", "", "before"), 3, INT),
        "measuring": (("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "before"), 1, TERM),
        "keeping features": (at("features/epoch-0001"), 1, INT),
    },
    "frozen": {
        "computing features": (("ssl_seg.tasks.classification.eval_mode", "", "after"), 1, TERM),
        "the step": (("ssl_seg.engine.schedule.set_lr", "", "before"), 2, INT),
    },
    "segment": {
        "counting masks": (("ssl_seg.data.mask_counts.count_masks", "", "before"), 1, INT),
        "measuring": (("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "before"), 1, TERM),
        "saving masks": (at("masks/epoch-0001"), 1, INT),
    },
    "evaluate": {
        "loading": (LOADING, 1, TERM),
        "reading": (READING, 1, INT),
        "the network": (FORWARD, 1, TERM),
        "writing": (at("n.json"), 1, INT),
    },
    "probe": {"fitting": (("ssl_seg.engine.linear_probe.linear_probe", "", "after"), 1, INT)},
    "predict": {
        "loading": (NETWORK, 1, INT),
        "decoding": (DECODING, 5, TERM),
        "the network": (FORWARD, 1, INT),
        "writing": (at("p.csv"), 1, TERM),
    },
    "predict masks": {
        "the network": (("ssl_seg.engine.sliding_window.sliding_window_logits", "", "before"), 3, TERM),
        "writing": (at("_mask.png"), 2, INT),
        "the first mask": (("os.replace", "_mask.png", "after"), 1, TERM),
    },
    "embed": {
        "reading": (READING, 1, INT),
        "the network": (FORWARD, 1, TERM),
        "saving": (("numpy.savez_compressed", "", "before"), 1, INT),
        "writing": (at("f.npz"), 1, TERM),
    },
    "export": {
        "loading": (NETWORK, 1, INT),
        "comparing": (("ssl_seg.exporting.hub._config", "", "before"), 1, TERM),
        "writing": (at("out/hub"), 1, INT),
    },
    "report": {
        "reading runs": (("ssl_seg.reporting.build.build", "", "before"), 1, TERM),
        "writing": (at("r.html"), 1, INT),
        "the tables": (at("r_tables.tex"), 1, TERM),
    },
    "curves": {"drawing": (at("c.png"), 1, INT)},
    "tsne": {
        "mapping": (("ssl_seg.figures.tsne._embed", "", "before"), 1, TERM),
        "writing": (at("t.json"), 1, INT),
    },
    "masks": {"drawing": (at("m.png"), 1, TERM)},
    "architecture": {"drawing": (at("a.svg"), 1, INT)},
    "views": {"reading": (READING, 1, TERM), "drawing": (at("out/v"), 1, INT)},
    "new-plugin": {"writing": (at("out/mine"), 1, TERM)},
    "study": {
        "planning": (("ssl_seg.study.planner.StudyPlan.write", "", "before"), 1, INT),
        "between runs": (("ssl_seg.study.runner.JobRunner.start", "", "before"), 2, TERM),
        "its table": (at("table.tex"), 1, INT),
        "its page": (at("report.html"), 1, TERM),
    },
}
QUICK = {  # one of each kind of command; the others are as slow as their commands
    *(
        ("train", "loading"),
        ("train", "decoding"),
        ("train", "building the network"),
        ("classify", "reading"),
    ),
    *(("frozen", "computing features"), ("segment", "counting masks"), ("segment", "saving masks")),
    *(
        ("evaluate", "the network"),
        ("probe", "fitting"),
        ("predict", "writing"),
        ("predict masks", "writing"),
    ),
    *(("predict masks", "the first mask"), ("embed", "the network"), ("embed", "saving")),
    *(("export", "comparing"), ("export", "writing"), ("report", "reading runs"), ("report", "the tables")),
    *(("tsne", "mapping"), ("tsne", "writing"), ("views", "reading"), ("new-plugin", "writing")),
}
CASES = [
    pytest.param(command, stage, marks=() if (command, stage) in QUICK else pytest.mark.slow)
    for command, stages in STAGES.items()
    for stage in stages
]


def check_said(output, number):
    """What is said of a signal; returns the command that goes on."""
    name = "Ctrl-C" if number == INT else signal.Signals(number).name
    assert "Traceback" not in output
    found = re.search(
        rf"^error\[{128 + number}\] stopped by signal {number} \({name}\)\nkept: .+\nnext: ssl-seg (.+)$",
        output.strip(),
        re.MULTILINE,
    )
    assert found, output
    assert output.strip().endswith(found[0]), output
    return shlex.split(found[1])


@pytest.mark.parametrize(("command", "stage"), CASES)
def test_a_signal_at_a_stage(command, stage, lab):
    (point, hit, number) = STAGES[command][stage]
    whole, place = whole_of(lab, command), new_place(lab, command)
    ended = run_at(lab, command, place, [(STRIKE, [*point, hit, number])])
    assert ended.code == 128 + number, ended.output
    again = check_said(ended.output, number)
    assert by_halves(place, whole) == ""
    if command in TRAINING and (place / "out" / "status.json").exists():
        status = json.loads((place / "out" / "status.json").read_text())
        assert (status["state"], status["code"]) == ("stopped", 128 + number)
        saved = {path.name for path in (place / "out").glob("checkpoints/step-*")}
        assert status["checkpoint"] in (saved or {""})
    again = run_at(lab, command, place, words=again)
    assert again.code == 0, again.output
    assert differences(whole, found_in(place)) == ""
    lab.clear(place)


def test_the_demo_says_how_it_goes_on(lab):
    """It is a study; its runs are those of the tests above."""
    place = new_place(lab, "demo")
    trap = (STRIKE, ["ssl_seg.study.planner.StudyPlan.write", "", "after", 1, INT])
    words = ["demo", "--out", "out/demo"]
    ended = run_at(lab, "demo", place, [trap], words=words)
    assert ended.code == 130, ended.output
    assert check_said(ended.output, INT) == words


@pytest.mark.parametrize("words", [["list"], ["plugins"], ["doctor"]], ids=" ".join)
def test_a_signal_while_plugins_are_loaded(words, lab):
    ended = lab.run(words, setup=[(STRIKE, [*LOADING, 1, TERM])])
    assert ended.code == 143, ended.output
    assert check_said(ended.output, TERM) == words
