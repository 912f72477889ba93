"""Links to runs by stage and seed."""

import os
from pathlib import Path

import pytest

from ssl_seg.results.run_list import find_runs
from ssl_seg.study.stage_links import link_stages
from ssl_seg.utils import files


def links(out):
    return {path.relative_to(out).as_posix(): path.resolve() for path in out.glob("stages/*/*")}


@pytest.fixture
def out(tmp_path):
    for name in ("classify-a", "classify-b", "train-c"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "run.toml").write_text("")
    return tmp_path / "out"


def test_each_run_has_a_link(out, tmp_path):
    link_stages(out, {"A": {0: out / "classify-a", 1: out / "classify-b"}, "ssl": {0: out / "train-c"}})
    assert links(out) == {
        "stages/A/seed-0": out / "classify-a",
        "stages/A/seed-1": out / "classify-b",
        "stages/ssl/seed-0": out / "train-c",
    }
    out.rename(tmp_path / "moved")
    assert (tmp_path / "moved/stages/A/seed-0/run.toml").exists(), "links are relative"
    assert len(list(find_runs(tmp_path / "moved"))) == 3, "a run is listed once"


def test_links_follow_the_plan(out):
    link_stages(out, {"A": {0: out / "classify-a", 1: out / "classify-b"}, "B": {0: out / "classify-b"}})
    link_stages(out, {"A": {0: out / "classify-b"}})
    assert links(out) == {"stages/A/seed-0": out / "classify-b"}
    assert os.listdir(out / "stages") == ["A"]


@pytest.mark.parametrize("name", ["..", "a/b", "/tmp", ".hidden", "", "."])
def test_names_that_lead_elsewhere_have_no_link(out, name):
    link_stages(out, {name: {0: out / "classify-a"}})
    assert links(out) == {}
    assert sorted(os.listdir(out)) == ["classify-a", "classify-b", "train-c"]


def test_what_is_there_stays(out, tmp_path):
    (tmp_path / "victim").mkdir()
    (out / "stages" / "A" / "seed-0").mkdir(parents=True)
    (out / "stages" / "B").symlink_to(tmp_path / "victim")
    link_stages(out, {"A": {0: out / "classify-a"}, "B": {0: out / "classify-b"}})
    assert (out / "stages" / "A" / "seed-0").is_dir()
    assert os.listdir(tmp_path / "victim") == []


def test_nothing_is_written_through_a_link(out, tmp_path):
    (tmp_path / "victim" / "A").mkdir(parents=True)
    (tmp_path / "victim" / "A" / "seed-9").symlink_to("nowhere")
    (out / "stages").symlink_to(tmp_path / "victim")
    link_stages(out, {"A": {0: out / "classify-a"}})
    assert os.listdir(tmp_path / "victim" / "A") == ["seed-9"]


def test_a_file_system_without_links_is_no_error(out, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "symlink", refuse)
    link_stages(out, {"A": {0: out / "classify-a"}})
    assert links(out) == {}
    assert [path.name for path in Path(out).rglob(".*")] == []
