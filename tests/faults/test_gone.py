"""A run's folder that somebody removes or moves while it is worked in: exit 6, and it is not made anew."""

import pytest

from benchmarks.faults.disk import new_place, run_at

POINTS = {
    "train": {
        "before the step": ("ssl_seg.engine.schedule.set_lr", "", "before", 1),
        "in the probe": ("ssl_seg.workflows.knn_probe.extract_features", "", "before", 2),
        "in a checkpoint": ("os.replace", "/step-", "before", 2),
        "before the scores": ("ssl_seg.engine.run_dir.Run.append_scores", "", "before", 1),
        "after the loop": ("ssl_seg.workflows.metadata.save_backbone_of_run", "", "before", 1),
        "at the end": ("ssl_seg.workflows.session.Session.finish", "", "before", 1),
    },
    "classify": {
        "before the step": ("ssl_seg.engine.schedule.set_lr", "", "before", 3),
        "measuring": ("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "before", 1),
        "keeping features": ("os.replace", "features/epoch-", "before", 1),
        "in the best model": ("os.replace", "best.safetensors", "before", 1),
        "in the model": ("os.replace", "/model.safetensors", "before", 1),
        "in the result": ("ssl_seg.workflows.validator.ValidationLog.write_result", "", "before", 1),
    },
    "segment": {
        "measuring": ("ssl_seg.workflows.validator.ValidationLog._evaluate", "", "before", 1),
        "in a mask": ("os.replace", "masks/epoch-", "before", 1),
    },
}
QUICK = ("in a checkpoint", "at the end", "before the step", "in the best model", "measuring")
CASES = [
    pytest.param(command, point, marks=() if point in QUICK else pytest.mark.slow)
    for command, points in POINTS.items()
    for point in points
]


@pytest.mark.parametrize("how", ["remove_at", "move_at"])
@pytest.mark.parametrize(("command", "point"), CASES)
def test_a_folder_that_goes_away(command, point, how, lab):
    place = new_place(lab, command)
    out = place / "out"
    trap = (f"benchmarks.faults.traps:{how}", [str(out), *POINTS[command][point]])
    ended = run_at(lab, command, place, [trap])
    assert ended.code == 6, ended.output
    assert "error[6] the folder out was removed or moved during the run" in ended.output
    assert "next: rerun the command" in ended.output and "Traceback" not in ended.output
    assert not out.exists(), list(out.rglob("*"))
    lab.clear(place)
