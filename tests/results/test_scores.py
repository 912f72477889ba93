"""Scores that are read whatever became of the file."""

import ast
import json
import math
from pathlib import Path
from random import Random

import pytest

import ssl_seg
from ssl_seg.results.scores import load_scores, read_scores
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.checkpoint import save_checkpoint

LINES = [{"epoch": e, "step": 4 * e, "seconds": 0.5 * e, "loss": 1 / e} for e in range(1, 6)]
SOURCE = Path(ssl_seg.__file__).parent


def write(folder, *texts, end="\n"):
    data = [text if isinstance(text, bytes) else json.dumps(text).encode() for text in texts]
    (folder / "scores.jsonl").write_bytes(b"\n".join(data) + end.encode())


def checkpoint(folder, lines):
    import torch

    module = TinyBackbone()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    save_checkpoint(folder / "checkpoints", 20, module, optimizer, {"scores": lines})


def test_nothing_is_no_damage(tmp_path):
    assert load_scores(tmp_path).lines == [] == read_scores(tmp_path / "nowhere")
    write(tmp_path, *LINES)
    assert load_scores(tmp_path) == load_scores(tmp_path, resume=True)
    assert (load_scores(tmp_path).lines, load_scores(tmp_path).damage) == (LINES, "")


def test_lines_come_in_order_and_once(tmp_path):
    newer = LINES[2] | {"loss": 9.0}
    shuffled = [*LINES[1:], LINES[0], newer, LINES[4]]
    write(tmp_path, *shuffled)
    assert load_scores(tmp_path).lines == [*LINES[:2], newer, *LINES[3:]]
    moved = LINES[2] | {"step": 13}  # the epoch again, at another step
    write(tmp_path, *LINES, moved)
    assert load_scores(tmp_path).lines == [*LINES[:2], moved, *LINES[3:]]


@pytest.mark.parametrize("resume", [True, False])
def test_a_line_that_was_being_written_is_no_damage(tmp_path, resume):
    write(tmp_path, *LINES, b'{"epoch": 6, "st', end="")
    assert load_scores(tmp_path, resume=resume).lines == LINES
    assert load_scores(tmp_path, resume=resume).damage == ""


BAD = [
    b"not json",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'{"step": 4}',
    b'{"epoch": "1", "step": 4}',
    b'{"epoch": 1, "step": 4.0}',
    b'{"epoch": -1, "step": 4}',
    b'{"epoch": true, "step": 4}',
    b'{"epoch": 1, "step": 1' + b"0" * 5000 + b"}",
    b"[" * 100_000,
    b"\0" * 100,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad[:20]))
def test_a_bad_line_costs_itself_alone(tmp_path, bad, caplog):
    write(tmp_path, LINES[0], bad, *LINES[1:], bad)
    found = load_scores(tmp_path)
    assert (found.lines, found.damage) == (LINES, "2 of 7 lines are corrupt")
    assert read_scores(tmp_path) == read_scores(tmp_path) == LINES
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path / 'scores.jsonl'}: 2 of 7 lines are corrupt"


def test_what_is_no_number_is_left_out_of_its_line(tmp_path):
    write(tmp_path, LINES[0] | {"loss": "low"}, LINES[1] | {"loss": None, "top1": [1]}, LINES[2])
    found = load_scores(tmp_path)
    kept = [{key: value for key, value in line.items() if key != "loss"} for line in LINES[:2]]
    assert (found.lines, found.damage) == ([*kept, LINES[2]], "2 of 3 lines are corrupt")


def test_numbers_that_are_not_finite_stay(tmp_path):
    write(tmp_path, LINES[0] | {"loss": math.inf, "x": -math.inf}, LINES[1] | {"loss": math.nan})
    found = load_scores(tmp_path)
    assert found.damage == ""
    assert found.lines[0]["loss"] == math.inf and math.isnan(found.lines[1]["loss"])


def test_a_number_that_no_axis_holds_is_infinite(tmp_path):
    write(tmp_path, LINES[0] | {"loss": 1e308, "x": -1e308}, LINES[1] | {"loss": 3e38})
    assert [line["loss"] for line in load_scores(tmp_path).lines] == [math.inf, 3e38]
    assert load_scores(tmp_path).lines[0]["x"] == -math.inf


def test_to_resume_a_line_must_say_its_step(tmp_path):
    write(tmp_path, {"epoch": 1, "loss": 2.0}, *LINES[1:])
    assert load_scores(tmp_path).damage == ""
    assert [line["epoch"] for line in load_scores(tmp_path).lines] == [1, 2, 3, 4, 5]
    found = load_scores(tmp_path, resume=True)
    assert (found.lines, found.damage) == (LINES[1:], "1 of 5 lines is corrupt")


def test_damaged_lines_come_back_from_the_newest_checkpoint(tmp_path):
    checkpoint(tmp_path, [*LINES, "no line"])
    write(tmp_path, LINES[0], b"not json", LINES[3])
    found = load_scores(tmp_path)
    assert found.lines == LINES
    assert found.damage == "1 of 3 lines is corrupt; 3 epochs restored from step-000020"
    state = tmp_path / "checkpoints" / "step-000020" / "state.json"
    state.write_bytes(state.read_bytes() + b" ")
    assert load_scores(tmp_path).lines == [LINES[0], LINES[3]], "nothing is taken from a damaged checkpoint"


def test_a_folder_of_that_name(tmp_path):
    (tmp_path / "scores.jsonl").mkdir()
    assert load_scores(tmp_path).lines == []
    assert load_scores(tmp_path).damage == "cannot be read (Is a directory)"
    checkpoint(tmp_path, LINES)
    assert load_scores(tmp_path).lines == LINES


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_never_raises(tmp_path, seed):
    random = Random(seed)
    write(tmp_path, *LINES)
    data = bytearray((tmp_path / "scores.jsonl").read_bytes())
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] = random.randrange(256)
    (tmp_path / "scores.jsonl").write_bytes(data)
    for resume in (True, False):
        epochs = [line["epoch"] for line in load_scores(tmp_path, resume=resume).lines]
        assert epochs == sorted(set(epochs))


# places that name the file although they do not read it, or read it through `load_scores`
ALLOWED = {
    "results/scores.py": "the one reader",
    "results/run_digests.py": "sums its bytes",
    "engine/run_dir.py": "writes it",
    "reporting/collect.py": "asks whether a folder is a run's",
    "figures/curves_data.py": "a warning",
    "testing/observers.py": "looks whether an observer changes it",
}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_scores_are_read_in_one_place(path):
    tree = ast.parse(path.read_text())
    named = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == "scores.jsonl"]
    assert not named or path.relative_to(SOURCE).as_posix() in ALLOWED
