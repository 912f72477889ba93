"""The table in its four forms."""

import csv
import html
import re
from dataclasses import replace

import numpy as np
import pytest

from ssl_seg.results.chance import wilson_interval
from ssl_seg.results.runs import StageScores
from ssl_seg.results.tables import Table

HOSTILE = r"A & 50 % of_it #1 {x} $5$ \cmd ~ ^ | <b> [link](x) *bold* `code` ±"


def row(name, last, *, best=None, title=None, planned=None, answers=None, reason=""):
    last = dict(enumerate(last))
    best = dict(enumerate(best)) if best else last
    correct = np.array(answers or [], np.int64)
    images = [(f"{i}.jpg", "cat") for i in range(correct.shape[-1])]
    correct = correct if correct.ndim > 1 else correct[None]
    return StageScores(name, title or name, planned or len(last), last, best, images, correct, reason)


@pytest.fixture
def table():
    rows = [
        row(
            "A",
            [0.25, 0.75],
            best=[0.5, 0.75],
            answers=[[1, 0, 0, 0], [1, 1, 1, 0]],
            title="A · from scratch",
        ),
        row("B", [0.5], planned=3, answers=[1, 0, 1, 0], title="with labels"),
        row("C", [], planned=3, reason="no finished run"),
    ]
    return Table(rows, "val_top1")


def test_the_comparisons_are_named(table):
    assert any(note.endswith("Holm-corrected for all pairs.") for note in table.notes)
    against = Table(table.rows, "val_top1", "B")
    assert [line[0] for line in against.cells[1]] == ["", "A - B", "C - B"]
    assert any(note.endswith("Holm-corrected for the comparisons with B.") for note in against.notes)


def test_the_text(table):
    low, high = wilson_interval(0.5, 4)
    assert table.text().splitlines()[:11] == [
        "top-1 accuracy (val_top1), mean ± standard deviation over seeds",
        "",
        "                  last epoch   best epoch   seeds   95% CI        n images",
        f"A · from scratch  0.50 ± 0.35  0.62 ± 0.18  2       {low:.2f} to {high:.2f}  4",
        f"B: with labels    0.50         0.50         1 of 3  {low:.2f} to {high:.2f}  4",
        "C                 n/a          n/a          0 of 3  n/a           n/a",
        "",
        "       difference  p (Holm)  significant",
        "A - B  -0.25       1.0000    no",
        "A - C  n/a         n/a       n/a",
        "B - C  n/a         n/a       n/a",
    ]
    assert "No test or confidence interval: C: no finished run." in table.notes
    assert table.text().count("no finished run") == 1
    assert "nan" not in table.text()


def test_published_numbers_stand_beside(tmp_path):
    rows = [replace(row("A", [0.5]), published=0.655), row("B", [0.5])]
    table = Table(rows, "val_miou")
    lines = table.text().splitlines()
    assert lines[2].split()[-1] == "published"
    assert [line.split()[-1] for line in lines[3:5]] == ["0.655", "n/a"]
    table.write(tmp_path, "masks")
    assert "published" in (tmp_path / "masks.tex").read_text()
    assert "published" not in Table([row("A", [0.5])], "val_miou").text()


def test_a_real_difference_is_told():
    table = Table([row("A", [1.0], answers=[1] * 12), row("B", [0.0], answers=[0] * 12)], "val_top1")
    assert "A - B  +1.00       0.0005    yes" in table.text()


def test_a_single_row_has_no_table_of_differences():
    for names in ("A", "AB"):
        table = Table([row(name, [0.5], answers=[1, 0]) for name in names], "val_top1")
        for text in (table.text(), table.markdown(), table.latex()):
            assert ("difference" in text, "p: " in text, "CI and p" in text) == (names == "AB",) * 3, text
            assert "95% CI: " in text


def test_unequal_seeds_are_noted():
    rows = [
        row("A", [1.0, 0.5], answers=[[1, 1], [1, 0]]),
        row("B", [0.0], answers=[[0, 0]]),
        row("C", [0.5], answers=[[1, 0]]),
    ]
    notes = Table(rows, "val_top1").notes
    assert "Difference and p over the shared seeds alone (0): A - B, A - C." in notes
    assert not any("B - C" in note for note in notes)


def test_more_pairs_than_the_exchanges_can_tell_apart_are_noted():
    rows = [row(f"R{i}", [1.0], answers=[1]) for i in range(33)]
    assert Table(rows, "val_top1").notes[-1].startswith("528 pairs are too many")
    assert not any("too many" in note for note in Table(rows[:30], "val_top1").notes)


def test_rows_measured_on_different_images():
    other = row("B", [0.5], answers=[1, 0, 1, 0])
    other.images[0] = ("9.jpg", "cat")
    table = Table([row("A", [0.5], answers=[1, 0, 1, 0]), other], "val_top1")
    assert "A - B  +0.00       n/a       n/a" in table.text()
    assert "No test or confidence interval: A - B: validated on different images." in table.notes


def test_the_csv_can_be_computed_with(table, tmp_path):
    table.write(tmp_path)
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [one["name"] for one in rows] == ["A", "B", "C"]
    assert float(rows[0]["last_mean"]) == 0.5
    assert float(rows[0]["last_sd"]) == pytest.approx(np.std([0.25, 0.75], ddof=1))
    assert float(rows[0]["best_mean"]) == 0.625
    assert (float(rows[0]["low"]), float(rows[0]["high"])) == wilson_interval(0.5, 4)
    assert [one["seeds"] for one in rows] == ["2", "1", "0"]
    assert [one["images"] for one in rows] == ["4", "4", ""]
    assert rows[1]["last_sd"] == ""
    assert {rows[2][name] for name in ("last_mean", "last_sd", "best_mean", "low")} == {""}
    pairs = list(csv.DictReader((tmp_path / "table-pairs.csv").read_text().splitlines()))
    assert [one["names"] for one in pairs] == ["A - B", "A - C", "B - C"]
    assert (float(pairs[0]["mean"]), pairs[0]["p"], pairs[1]["p"]) == (-0.25, "1.0", "")
    assert pairs[1]["why"] == "C: no finished run"


def test_all_forms_are_written_and_again_the_same(table, tmp_path):
    table.write(tmp_path)
    names = ["table-pairs.csv", "table.csv", "table.md", "table.tex", "table.txt"]
    first = {name: (tmp_path / name).read_bytes() for name in names}
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    table.write(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == first
    assert first["table.txt"].decode() == table.text()


def test_markdown_shows_a_title_as_it_was_written():
    text = Table([row("A", [0.5], title=HOSTILE)], "val_top1").markdown()
    assert r"val\_top1" in text
    line = next(line for line in text.splitlines() if "50 %" in line)
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    assert len(cells) == 6
    special = set(r"\`*_[]<>|~#$&")
    for found in re.finditer(r"(\\*)(.)", cells[0]):
        assert found[2] not in special - {"\\"} or len(found[1]) % 2, found[0]
    shown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cells[0]).strip()  # as CommonMark reads it
    assert html.unescape(shown) == HOSTILE


def test_latex_shows_a_title_as_it_was_written():
    text = Table([row("A_1", [0.5], title=HOSTILE)], "val_top1").latex()
    line = next(line for line in text.splitlines() if "50" in line and line.endswith(r" \\"))
    cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
    assert len(cells) == 6
    assert cells[0].startswith(r"A\_1: A \& 50 \% of\_it \#1 \{x\} \$5\$ \textbackslash{}cmd ")
    shown = cells[0].strip()
    for written, meant in (
        (r"\textbackslash{}", "\0"),
        (r"\textasciitilde{}", "~"),
        (r"\textasciicircum{}", "^"),
        (r"$\pm$", "±"),
        ("$<$", "<"),
        ("$>$", ">"),
        ("$|$", "|"),
    ):
        shown = shown.replace(written, meant)
    assert not re.search(r"(?<!\\)[&%$#_{}]", shown), "a special character is left as it is"
    assert re.sub(r"\\([&%$#_{}])", r"\1", shown).replace("\0", "\\") == f"A_1: {HOSTILE}"
    for begin, end in (("{", "}"), (r"\begin", r"\end")):
        assert len(re.findall(r"(?<!\\)" + re.escape(begin), text)) == len(
            re.findall(r"(?<!\\)" + re.escape(end), text)
        )


def test_a_name_of_several_lines_stays_in_its_cell():
    hostile = "A\n\\input{x}\u2028| B |"
    table = Table([row(hostile, [0.5], reason=f"no run of {hostile}"), row("[b]", [0.5])], "val\n\\input{y}")
    for line in table.latex().splitlines():
        assert not line.startswith(("\\input", "["))
    assert [line for line in table.latex().splitlines() if line.startswith("{}[b] & ")]
    for line in table.markdown().splitlines():
        assert not line or line[0] in "|-v"
