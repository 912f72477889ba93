"""What a study's file says, and where it says it wrongly."""

import pytest

from ssl_seg.errors import UsageError
from ssl_seg.study.config import StudyConfig, TableConfig
from ssl_seg.study.report_text import ReportText

WHOLE = """\
seeds = [0, 1]
out = "here"

[defaults.train]
image-size = 64
o.ssl.decay = 0.9
o.ssl.hidden = 8

[stages.C]
title = "C, full"
command = "classify"
init = "@ssl"

[stages.ssl]
command = "train"
seeds = [5]
o.ssl.decay = 0.5
[stages.ssl.o.data]
count = 3

[table]
rows = ["C"]
score = "val_miou"
"""


@pytest.fixture
def study(tmp_path):
    def write(text):
        path = tmp_path / "s.toml"
        path.write_text(text)
        return StudyConfig(path)

    return write


def test_a_whole_file(study, tmp_path):
    file = study(WHOLE)
    assert (str(file.out), file.tables) == ("here", [TableConfig("table", ["C"], "val_miou")])
    assert list(file.stages) == ["ssl", "C"], "a stage comes after those it refers to"
    one, two = file.stages.values()
    assert (one.title, one.command, one.seeds) == ("ssl", "train", [5])
    assert one.flags == {
        "image_size": 64,
        "o": {"ssl": {"decay": 0.5, "hidden": 8}, "data": {"count": 3}},
    }
    assert (two.title, two.seeds, two.references) == ("C, full", [0, 1], {"init": "ssl"})
    path = tmp_path / "s.toml"
    assert file.location("stages", "C", "init") == f"{path}, line 12"
    assert file.flag_location(one, "image_size") == f"{path}, line 5"
    assert file.flag_location(two, "init") == f"{path}, line 12"
    assert file.location("stages", "ssl", "nothing of this name") == f"{path}, line 14"


def test_what_is_left_out(study):
    file = study('[stages.a]\ncommand = "x"\n[stages.b]\ncommand = "y"\nfrom = "@a"\n')
    assert str(file.out) == "runs/s"
    assert [stage.seeds for stage in file.stages.values()] == [[0], [0]]
    assert file.tables == [TableConfig("table", ["b"], "val_top1")], "a table of what no other stage takes"


def test_several_tables_and_published_numbers(study):
    text = """
[stages.a]
command = "classify"
[stages.m]
command = "segment"
published = 0.655
[tables.labels]
rows = ["a"]
[tables.masks]
rows = ["m"]
"""
    file = study(text)
    assert study(f'{text}baseline = "m"').tables[1] == TableConfig("masks", ["m"], "val_miou", "m")
    assert file.tables == [TableConfig("labels", ["a"], "val_top1"), TableConfig("masks", ["m"], "val_miou")]
    assert (file.stages["m"].published, file.stages["a"].published) == (0.655, None)
    assert "published" not in file.stages["m"].flags
    with pytest.raises(UsageError, match="'published' must be a number") as refused:
        study(text.replace("0.655", '"0.655"'))
    assert refused.value.where.endswith("line 6")
    with pytest.raises(UsageError, match="no stage 'b'"):
        study(text.replace('rows = ["a"]', 'rows = ["b"]'))


def test_lines_are_found_in_any_style(study, tmp_path):
    text = '# [stages.a]\nstages.a.command = "x"\nstages.a.lr = 1\n[stages."b c"]\ncommand = "y" # lr = 2\n"lr" = 3\n'
    file = study(text)
    lines = [file.location(*keys.split("/"))[-1] for keys in ("stages/a/lr", "stages/b c/lr", "stages/b c")]
    assert lines == ["3", "6", "4"]


A = '[stages.a]\ncommand = "x"\n'


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("", 0, ["a study requires stages"]),
        ("[stages]\n", 0, ["a study requires stages"]),
        ("stages = 3\n", 1, ["'stages' must be a table, got 3"]),
        ("sseds = [0]\n" + A, 1, ["unknown key 'sseds'", "did you mean 'seeds'?"]),
        ("seeds = 3\n" + A, 1, ["'seeds' must be a list, got 3"]),
        ("seeds = []\n" + A, 1, ["seeds must be distinct non-negative integers"]),
        ("seeds = [1, 1]\n" + A, 1, ["seeds must be distinct non-negative integers, got [1, 1]"]),
        ("seeds = [true]\n" + A, 1, ["seeds must be distinct non-negative integers"]),
        (A + "seeds = [-1]\n", 3, ["seeds must be distinct non-negative integers, got [-1]"]),
        (A + "seed = 3\n", 3, ["stage 'a' sets a seed"]),
        ("[defaults.x]\nseed = 1\n" + A, 0, ["stage 'a' sets a seed"]),
        ("[stages.a]\nlr = 1\n", 1, ["stage 'a' has no command"]),
        ("[stages]\na = 'x'\n", 2, ["'a' must be a table"]),
        (A + "title = 3\n", 3, ["'title' must be a text, got 3"]),
        (A + "[table]\nrow = ['a']\n", 4, ["unknown key 'row'", "did you mean 'rows'?"]),
        (A + "[table]\nrows = ['A']\n", 4, ["no stage 'A'"]),
        (A + "[table]\nrows = [['a']]\n", 4, ["no stage ['a']"]),
        (A + "[table]\nscore = 3\n", 4, ["'score' must be a text"]),
        (A + "[table]\nbaseline = 'b'\n", 4, ["the baseline must be a row of the table", "got 'b'"]),
        (A + "init = '@sll'\n[stages.ssl]\ncommand = 'y'\n", 3, ["no stage 'sll'", "did you mean 'ssl'?"]),
        ("[defaults.x]\ninit = '@b'\n" + A, 2, ["no stage 'b'"]),
        (A + "init = '@a'\n", 1, ["circular dependency between stages: a -> a"]),
        (
            A + "i = '@b'\n[stages.b]\ncommand = 'x'\ni = '@c'\n[stages.c]\ncommand = 'x'\ni = '@b'\n",
            4,
            ["circular dependency between stages: b -> c -> b"],
        ),
        (
            "seeds = [0, 1, 2]\n" + A + "i = '@b'\n[stages.b]\ncommand = 'x'\nseeds = [0, 2]\n",
            4,
            ["stage 'a' needs seed 1 of stage 'b', which does not run it"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(study, tmp_path, text, line, parts):
    with pytest.raises(UsageError) as caught:
        study(text)
    said = f"{caught.value.what}"
    assert all(part in said for part in parts), said
    if line:
        assert caught.value.where == f"{tmp_path / 's.toml'}, line {line}"


def test_toml_that_is_none(study, tmp_path):
    with pytest.raises(UsageError, match="line 2"):
        study("a = 1\nb = = 2\n")
    with pytest.raises(UsageError, match=r"no such file: .*none\.toml"):
        StudyConfig(tmp_path / "none.toml")


def test_the_words_for_the_report(study):
    file = study(WHOLE + '[report]\ntitle = " A\\n title"\nauthors = ["Ada"]\nmasks = """\n# Look\n"""\n')
    assert file.report
    assert (file.report_text.title, file.report_text.authors) == ("A title", ["Ada"])
    assert file.report_text.sections == {"masks": "# Look\n"}
    assert file.report_text == ReportText.read(file.report_text.table())
    assert not study("report = false\n" + WHOLE).report
    assert study(WHOLE).report_text.table() == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('discusion = "x"', "unknown key 'discusion'; did you mean 'discussion'"),
        ("title = 3", "'title' must be a text, got 3"),
        ('authors = "Ada"', "'authors' must be a list of texts"),
    ],
)
def test_a_wrong_word_for_the_report_has_its_line(study, line, message):
    with pytest.raises(UsageError, match=message) as caught:
        study(f"{WHOLE}[report]\nmasks = 'x'\n{line}\n")
    assert caught.value.where.endswith(f"line {WHOLE.count(chr(10)) + 3}")
