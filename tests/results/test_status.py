"""`status.json`: what is read back is what was written, or an error; never a state that nobody wrote."""

import json

import pytest

from ssl_seg.reporting.collect import collect
from ssl_seg.results.status import NAME, read_status, write_status
from ssl_seg.study.planner import Job

STATUS = {"state": "stopped", "step": 12, "code": 143, "checkpoint": "step-000012"}


def test_what_is_written_is_read(tmp_path):
    write_status(tmp_path, STATUS)
    assert read_status(tmp_path) == STATUS


def test_a_status_of_the_first_version_has_no_digest(tmp_path):
    (tmp_path / NAME).write_text(json.dumps(STATUS))
    assert read_status(tmp_path) == STATUS


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path):
    write_status(tmp_path, STATUS)
    whole = (tmp_path / NAME).read_bytes()
    noticed = 0
    for bit in range(8 * len(whole)):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        (tmp_path / NAME).write_bytes(hurt)
        try:
            assert read_status(tmp_path) == STATUS, bytes(hurt)
        except ValueError:
            noticed += 1
    assert noticed > 7 * len(whole)


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_every_cut_is_noticed(tmp_path, length):
    write_status(tmp_path, STATUS)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:length])
    with pytest.raises(ValueError):
        read_status(tmp_path)


def test_a_report_and_a_study_do_not_trust_a_damaged_status(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    write_status(run, STATUS | {"state": "finished"})
    assert Job("train", {}, run, [], "").state == "finished"
    text = (run / NAME).read_text()
    (run / NAME).write_text(text.replace('"step": 12', '"step": 13'))
    assert Job("train", {}, run, [], "").state == "pending"
    [stage] = collect([run]).stages
    assert any(NAME in trouble for trouble in stage.runs[0].problems)
