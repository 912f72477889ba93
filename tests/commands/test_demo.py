"""`ssl-seg demo`: its study, and what it leaves."""

import json

import pytest

from ssl_seg.study.config import StudyConfig


def test_its_study_is_one_that_can_be_run(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_seg.study.runner.SERVER_COMMAND", ("false",))
    monkeypatch.setattr("ssl_seg.study.runner.PYTHON_COMMAND", ("false",))
    file = tmp_path / 'a "quoted" folder' / "study.toml"
    cli("demo", "--out", file.parent)
    assert StudyConfig(file).out == file.parent
    before = file.stat().st_mtime_ns
    cli("demo", "--out", file.parent)
    assert file.stat().st_mtime_ns == before
    code, text, err = cli("study", file, "--dry-run")
    assert code == 0, err
    assert "then: tables, figures and report.html" in text


def test_another_study_in_its_folder_stays(cli, tmp_path):
    (tmp_path / "study.toml").write_text("seeds = [1]")
    code, _, err = cli("demo", "--out", tmp_path)
    assert code == 2 and "another study file" in err and str(tmp_path / "study.toml") in err
    assert (tmp_path / "study.toml").read_text() == "seeds = [1]"
    (tmp_path / "file").write_text("")
    code, _, err = cli("demo", "--out", tmp_path / "file")
    assert code == 6 and "cannot write" in err


def test_it_goes_on_where_it_was_stopped(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("ssl_seg.study.runner.SERVER_COMMAND", ("false",))
    monkeypatch.setattr("ssl_seg.study.runner.PYTHON_COMMAND", ("false",))
    code, text, err = cli("demo", "--out", tmp_path / "out")
    assert code == 1 and f"next: ssl-seg study {tmp_path / 'out' / 'study.toml'}" in err
    assert "The page shows" not in text


@pytest.mark.slow
def test_the_whole_demo(cli, tmp_path):
    code, text, err = cli("demo", "--out", tmp_path)
    assert code == 0, err
    page = tmp_path / "report.html"
    assert str(page) in text
    assert page.stat().st_size < 15_000_000
    metadata = json.loads((tmp_path / "study.json").read_text())
    for name in ("A", "C", "E", "DeepLabV3", "scratch"):
        folder = tmp_path / metadata["stages"][name]["runs"]["0"]
        last = json.loads((folder / "result.json").read_text())["last"]
        score = last["miou"] if "miou" in last else last["top1"]
        assert f'<data value="{score}"' in page.read_text()
    assert "missing: " not in text.replace("missing: SAM comparison (optional)", "")
