"""Writes the files of runs as training leaves them, for the live page."""

import json
import os

from ssl_seg.results.status import write_status


def write_run(
    folder, *, command="train", epochs=2, planned=4, state="running", score="probe_knn", age=0.0, **settings
):
    """A run whose epochs took 30 s of training each; its files are `age` seconds old."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = {"ssl": "byol", "backbone": "resnet18", "epochs": planned} | settings
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in flags.items())
    (folder / "run.toml").write_text(f"{text}\n[record]\ncommand = {json.dumps(command)}\n")
    lines = [
        {"epoch": epoch, "step": epoch, "seconds": 30.0 * epoch, "loss": 1 / epoch, score: 1 - 0.5 / epoch}
        for epoch in range(1, epochs + 1)
    ]
    (folder / "scores.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_status(folder, {"state": state, "step": epochs, "code": 0, "checkpoint": ""})
    make_older(folder, age)
    return folder


def make_older(folder, seconds):
    """Move the times of a run's files back."""
    for path in folder.iterdir():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def write_study(folder, stages):
    """`study.json` of `{stage: {seed: name of the folder}}`."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {
        name: {"title": name, "command": "classify", "published": None, "runs": runs}
        for name, runs in stages.items()
    }
    (folder / "study.json").write_text(json.dumps({"format": 1, "stages": known, "tables": {}}))
    return folder
