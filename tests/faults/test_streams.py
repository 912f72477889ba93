"""What a command prints to: a pipe whose reader went away, or nothing at all. No work stops, and no code is a bare 1."""

import pytest

from benchmarks.faults.disk import differences, found_in, new_place, run_at, whole_of

COMMANDS = ["train", "evaluate", "predict", "predict masks", "embed", "report", "export", "architecture"]
CLOSED = {"stdout": [1], "stderr": [2], "both": [1, 2]}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_away_stops_no_work(command, lab):
    """As in `ssl-seg ... 2>&1 | head -0`: where something was said on stdout, the code is SIGPIPE's."""
    whole, place = whole_of(lab, command), new_place(lab, command)
    ended = run_at(lab, command, place, broken_pipe=True)
    assert ended.code == (0 if command == "train" else 141)
    assert differences(whole, found_in(place)) == ""


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("command", ["train", "evaluate", "embed", "report"])
def test_closed_streams_stop_no_work(command, closed, lab):
    whole, place = whole_of(lab, command), new_place(lab, command)
    ended = run_at(lab, command, place, closed=CLOSED[closed])
    assert ended.code == 0, ended.output
    assert differences(whole, found_in(place)) == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["list", "nothing"], 2),
        (["trian", "photos"], 2),
        (["train", "photos", "--epochs", "many"], 2),
        (["train"], 2),
        (["evaluate", "nowhere", "nothing"], 4),
        (["report", "nowhere"], 3),
    ],
)
@pytest.mark.parametrize("how", [*CLOSED, "broken pipe"])
def test_an_error_keeps_its_code_where_nobody_reads_it(words, code, how, lab):
    given = {"closed": CLOSED[how]} if how in CLOSED else {"broken_pipe": True}
    ended = lab.run(words, **given)
    assert ended.code == code
    assert ("error" in ended.output.lower()) == (how == "stdout")


def test_what_is_printed_into_a_file_that_closes_is_not_mixed_up(lab):
    """With stderr closed, the next file that is opened must not get its number, and what is said."""
    place = new_place(lab, "predict")
    assert run_at(lab, "predict", place, closed=[1, 2]).code == 0
    assert (place / "out" / "p.csv").read_text().startswith("id,filename,label,confidence\n")
