"""The harness of the campaigns itself: it counts, it groups, and it sees when a protection is gone."""

import json
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from benchmarks.faults import __main__ as harness
from benchmarks.faults import controls, grammar
from benchmarks.faults.campaign import BROKE, Campaign, Case, Result, alike, sample
from benchmarks.faults.lab import Lab
from benchmarks.faults.traps import ALL, POINTS_OF, owner_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def campaign(monkeypatch):
    """Runs the harness on a campaign of given outcomes: `campaign([case, ...], [control, ...])`."""

    class NoLab:
        def __init__(self, folder, jobs):
            pass

        def close(self):
            pass

    def go(cases, controls, *words):
        def of(outcomes):
            return [Case(f"kind {at % 2}", f"case {at}", lambda w=w: w) for at, w in enumerate(outcomes)]

        made = Campaign("made", "up", lambda lab, seed: of(cases), lambda lab: of(controls))
        monkeypatch.setattr(harness, "CAMPAIGNS", [made])
        monkeypatch.setattr(harness, "Lab", NoLab)
        return harness.main(words)

    return go


@pytest.mark.parametrize(
    ("cases", "controls", "code"),
    [
        (["", ""], ["caught"], 0),
        (["", "wrong"], ["caught"], 1),
        (["", ""], ["caught", ""], 2),
        (["wrong"], [""], 2),
        ([""], [BROKE], 2),
    ],
)
def test_the_exit_code(cases, controls, code, campaign, capsys):
    assert campaign(cases, controls) == code
    assert ("CONTROL PASSED" in capsys.readouterr().out) == (code == 2)


def test_what_is_written(campaign, capsys, tmp_path):
    wrong = ["", "/a/b differs by 17", "", "/c differs by 3", "other"]
    assert campaign(wrong, ["x"], "--out", str(tmp_path / "n.json")) == 1
    text = capsys.readouterr().out
    assert "5 of 5         3      2       1/1" in text
    assert "made, kind 1: 2x /a/b differs by 17\n" in text
    assert "--only made --seed 0 --case 'case 1'" in text
    numbers = json.loads((tmp_path / "n.json").read_text())["made"]
    assert (numbers["trials"], len(numbers["failures"])) == (5, 3)


def test_one_case_again(campaign, capsys):
    assert campaign(["wrong", "", "wrong"], [""], "--case", "case 2") == 1
    assert "1 of 3" in capsys.readouterr().out


def test_campaigns_by_name(campaign, capsys):
    assert campaign([""], ["caught"], "--only", "made") == 0
    assert "1 of 1" in capsys.readouterr().out
    assert campaign([""], ["caught"], "--skip", "made") == 0
    assert "1 of 1" not in capsys.readouterr().out
    for flag in ("--only", "--skip"):
        assert campaign([""], ["caught"], flag, "made,mad") == 2
        assert "no campaign 'mad'; there are made" in capsys.readouterr().out


def test_a_case_that_breaks_has_not_passed(campaign, monkeypatch, capsys):
    def broken(lab, seed):
        return [Case("kind", "case", lambda: 1 / 0)]

    campaign([""], ["caught"])
    monkeypatch.setattr(harness, "CAMPAIGNS", [Campaign("made", "up", broken, lambda lab: [])])
    assert harness.main([]) == 1
    assert "the case itself broke: ZeroDivisionError" in capsys.readouterr().out


def test_a_sample_has_some_of_every_kind():
    cases = [
        Case(kind, f"{kind}{n}", str) for kind, count in (("a", 90), ("b", 9), ("c", 1)) for n in range(count)
    ]
    for count, kinds in ((3, {"a": 1, "b": 1, "c": 1}), (50, {"a": 45, "b": 5, "c": 1})):
        taken = [case.kind for case in sample(cases, count, seed=1)]
        assert all(abs(taken.count(kind) - kinds[kind]) <= 2 for kind in kinds)
        assert set(taken) == set(kinds)
    assert sample(cases, None, 1) == sample(cases, None, 1) != sample(cases, None, 2)
    assert len(sample(cases, None, 1)) == 100


def test_what_is_alike():
    assert alike("exit 1: KeyError: 'a' in /x/y:3\nmore") == alike("exit 1: KeyError: 'bc' in /z:44")
    assert alike("exit 1: KeyError") != alike("exit 1: ValueError")
    assert Result(failures=[(Case("k", "n", str), "a 1"), (Case("k", "m", str), "a 2")]).grouped().keys() == {
        ("k", "a N")
    }


def test_several_servers_end(tmp_path):
    made = Lab(tmp_path, jobs=2)
    closing = Thread(target=made.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_the_whole_in_parts(campaign, capsys, tmp_path):
    words = ["--out", str(tmp_path / "n.json"), "--resume"]
    assert campaign(["", "wrong", "", ""], ["caught"], *words, "--trials", "3") == 1
    assert "3 of 4         1" in capsys.readouterr().out
    assert campaign(["wrong", "", "wrong", ""], ["", ""], *words) == 0  # what has passed is not tried again
    assert "4 of 4         0      0       1/1" in capsys.readouterr().out


@pytest.mark.parametrize("point", ALL)
def test_a_point_is_there(point):
    owner, name = owner_of(ALL[point][0])
    assert callable(getattr(owner, name))


def test_every_point_is_of_a_command():
    assert {point for points in POINTS_OF.values() for point in points} == set(ALL)


@pytest.mark.parametrize("name", controls.names())
def test_a_protection_can_be_removed(name, lab):
    ended = lab.run(["plugins"], setup=[("benchmarks.faults.controls:remove", [name])])
    assert ended.code == 0, ended.output


def test_what_can_be_typed_is_known():
    found = grammar.commands()
    assert {"train", "figure tsne", "study"} <= found.keys()
    by_flag = {each.flag: each for each in found["train"]}
    assert by_flag["--epochs"].kind == "number" and by_flag["--cpu"].kind == "switch"
    assert by_flag["--precision"].choices == ("auto", "bf16", "fp32")
    assert {"text", "number", "choice", "switch", "option"} == {
        e.kind for each in found.values() for e in each
    }


def test_a_full_disk_is_full_from_the_first_write_to_the_last(tmp_path):
    """In a process of its own: opening, writing, syncing, renaming and making are each refused."""
    code = """
import os, sys
from pathlib import Path
from benchmarks.faults.failing import fill
from ssl_seg.utils.files import atomic_write_text
folder, number = Path(sys.argv[1]), int(sys.argv[2])
fill(str(folder), number, False)
atomic_write_text(folder / "below" / "x", "y" * 9)
"""
    codes = []
    for number in range(9):
        folder = tmp_path / str(number)
        folder.mkdir()
        words = [sys.executable, "-c", code, str(folder), str(number)]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        codes.append(ended.returncode)
        assert (folder / "below" / "x").exists() >= (ended.returncode == 0)
        assert ended.returncode == 0 or "No space left on device" in ended.stderr
    assert codes == [0, 1, 1, 1, 1, 1, 1, 0, 0]  # make, open, write, sync, rename, sync


SEEN = {  # the quickest of each; `python -m benchmarks.faults` runs all
    "kills": "no generators",
    "damage": "unverified checkpoint/model.safetensors",
    "images": "cut images are filled up",
    "hostile": "pickles are read whole",
    "plugins": "plugins are loaded unguarded",
    "disk": "written in place",
    "flags": "raw TOML errors",
}


def test_every_campaign_has_a_control_here():
    assert list(SEEN) == [each.name for each in harness.CAMPAIGNS]


@pytest.mark.parametrize("name", SEEN)
def test_a_campaign_sees_its_controls(name, lab):
    (campaign,) = (each for each in harness.CAMPAIGNS if each.name == name)
    (control,) = (each for each in campaign.controls(lab) if each.name == SEEN[name])
    wrong = control.check()
    assert wrong and not wrong.startswith(BROKE), wrong or f"nobody notices: {control.name}"
