"""`ssl-seg report` on the command line."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path):
    path = Path(__file__).parents[1] / "report" / "study_folder.py"
    spec = importlib.util.spec_from_file_location("study_folder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_study(tmp_path / "out")


def test_it_lies_in_the_studys_folder(cli, out):
    code, shown, _ = cli("report", out)
    assert code == 0
    assert shown.splitlines()[0].startswith(f"{out / 'report.html'}  ")
    assert f"missing: architecture of N plain  ->  ssl-seg figure architecture {out}" in shown
    text = (out / "report.md").read_text()
    files = sorted(path.name for path in (out / "report_files").iterdir())
    assert files
    for name in files:
        assert f"(report_files/{name})" in text
    assert r"\begin{tabular}" in (out / "report_tables.tex").read_text()
    assert not [path for path in out.iterdir() if path.name.startswith(".report")]


def test_its_place_and_title_can_be_given(cli, out, tmp_path):
    page = tmp_path / "new" / "my page.html"
    assert (
        cli("report", out / "classify-10", out / "segment-30", "--out", page, "--title", "A <title>")[0] == 0
    )
    assert "<title>A &lt;title&gt;</title>" in page.read_text()
    assert "](my%20page_files/" in page.with_suffix(".md").read_text()
    assert (page.parent / "my page_tables.tex").exists()


def test_several_runs_are_reported_where_the_command_is_given(cli, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("report", out / "classify-10", out / "classify-11")[0] == 0
    assert (tmp_path / "report.html").exists()


def test_the_same_folder_twice_is_one(cli, out):
    assert cli("report", out, out)[0] == 0
    assert (out / "report.html").read_text().count("<code>classify-10</code>") == 1


def test_what_cannot_be_reported(cli, tmp_path):
    code, _, said = cli("report", tmp_path / "nowhere")
    assert code == 3
    assert "no such folder" in said
    code, _, said = cli("report", tmp_path)
    assert code == 3
    assert "neither a study nor a run" in said
    assert not (tmp_path / "report.html").exists()
    code, _, said = cli("report", tmp_path, "--out", tmp_path / "report.pdf")
    assert code == 2
    assert ".html" in said


def test_a_place_that_cannot_be_written(cli, out, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, said = cli("report", out, "--out", tmp_path / "file" / "report.html")
    assert code == 6
    assert "cannot" in said


def test_help_is_quick():
    code = (
        "import sys; from ssl_seg import cli; "
        "sys.exit(any(m in sys.modules for m in ('jinja2', 'torch', 'PIL', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
