"""Jobs: what makes a key, what is run, and what a failure takes along."""

import json
import os
import shutil

import pytest

from ssl_seg.errors import ResourceError, UsageError
from ssl_seg.study.config import StudyConfig
from ssl_seg.study.fingerprint import fingerprint
from ssl_seg.study.planner import StudyPlan
from ssl_seg.utils.toml import read_toml

FIVE = """\
seeds = [0, 1]
[stages.A]
command = "classify"
[stages.B]
command = "classify"
init = "weights.pt"
[stages.C]
command = "classify"
init = "@ssl"
[stages.D]
command = "classify"
init = "weights.pt"
freeze = true
[stages.E]
command = "classify"
init = "@ssl"
freeze = true
[stages.ssl]
command = "train"
data = "photos"
"""


def check(command, flags, where):
    """As a command that knows every flag but `lrr`, and for which `cache` changes nothing."""
    if "lrr" in flags:
        raise UsageError("unknown key 'lrr'", where=where("lrr"))
    return {key: flags[key] for key in flags if key != "cache"}, [v for v in flags.values() if type(v) is str]


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("one")
    (tmp_path / "weights.pt").write_text("weights")

    def make(text=FIVE, out="out"):
        (tmp_path / "s.toml").write_text(f'out = "{out}"\n{text}')
        return StudyPlan(StudyConfig(tmp_path / "s.toml"), check)

    return make


def folders(study):
    """(stage, seed) -> name of the folder."""
    return {(name, seed): job.folder.name for name, jobs in study.runs.items() for seed, job in jobs.items()}


def finish(job):
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "status.json").write_text('{"state": "finished"}')
    return 0


# What is run


def test_a_stage_comes_after_what_it_needs_and_a_seed_after_another(make):
    study = make()
    names = [job.name for job in study.jobs]
    assert len(names) == 12
    assert all(name.endswith("seed 0") for name in names[:6])
    assert names.index("ssl, seed 1") < names.index("C, seed 1")
    c, ssl = study.runs["C"][1], study.runs["ssl"][1]
    assert c.depends_on == [ssl]
    assert c.flags == {"init": str(ssl.folder), "seed": 1}
    assert ssl.folder.name.startswith("train-")
    assert len(set(folders(study).values())) == 12


def test_equal_stages_are_one_job(make):
    study = make(FIVE + '[stages.A2]\ntitle = "again"\ncommand = "classify"\n')
    assert study.runs["A"][0] is study.runs["A2"][0]
    assert study.runs["A"][0].name == "A, seed 0 and A2, seed 0"
    assert len(study.jobs) == 12


def test_one_pre_training_for_all_seeds(make):
    study = make(FIVE + "seeds = [7]\n")
    assert [job.name for job in study.jobs].count("ssl, seed 7") == 1
    assert study.runs["C"][0].depends_on == study.runs["C"][1].depends_on == [study.runs["ssl"][7]]
    assert study.runs["ssl"][7].flags["seed"] == 7


def test_a_needed_run_comes_first_whatever_its_seed(make):
    study = make('seeds = [0]\n[stages.a]\ncommand = "x"\nseeds = [0, 1]\n[stages.c]\ncommand = "y"\ni = "@s"\n'
                 '[stages.s]\ncommand = "z"\nseeds = [1]\n')  # fmt: skip
    names = [job.name for job in study.jobs]
    assert names.index("s, seed 1") < names.index("c, seed 0")


def test_flags_are_judged_with_their_line(make, tmp_path):
    for text, line in (
        (FIVE + "lrr = 1\n", 22),
        ("[defaults.classify]\nlrr = 1\n" + FIVE.replace("seeds = [0, 1]\n", ""), 3),
        ("[defaults.unused]\nlrr = 1\n" + FIVE.replace("seeds = [0, 1]\n", ""), 3),
    ):
        with pytest.raises(UsageError) as caught:
            make(text)
        assert caught.value.where == f"{tmp_path / 's.toml'}, line {line}"


# What makes a key


def changed(make, text=FIVE, before=FIVE, out="out"):
    """The stages whose folders are others with another text."""
    old, new = folders(make(before)), folders(make(text, out))
    return {name for name, seed in old.keys() & new.keys() if old[name, seed] != new[name, seed]}


def test_names_order_seeds_and_place_do_not_count(make):
    assert changed(make, FIVE.replace("[0, 1]", "[1, 2, 0]")) == set()
    assert changed(make, FIVE + "cache = 'elsewhere'\n") == set()
    assert changed(make, out="moved/away") == set()
    assert changed(make, FIVE + "title = 'SSL'\n[stages.new]\ncommand = 'x'\n") == set()
    assert changed(make, "seeds = [0, 1]\n[defaults.classify]\nx = 1\n" + FIVE[15:]) == {
        "A",
        "B",
        "C",
        "D",
        "E",
    }
    renamed = folders(make(FIVE.replace("ssl", "pre").replace("stages.E", "stages.last")))
    assert sorted(renamed.values()) == sorted(folders(make()).values())
    dashes = FIVE + "batch-size = 3\nlr = 1\n", FIVE + "lr = 1\nbatch_size = 3\n"
    assert changed(make, *dashes) == set()


def test_what_a_result_comes_from_counts(make, tmp_path):
    assert changed(make, FIVE + "lr = 1\n") == {"ssl", "C", "E"}, "and with a run, all that take it"
    assert changed(make, FIVE + "o.ssl.decay = 1\n") == {"ssl", "C", "E"}
    assert changed(make, FIVE.replace("classify", "segment")) == {"A", "B", "C", "D", "E"}
    before = folders(make())
    (tmp_path / "weights.pt").write_text("weightz")
    after = folders(make())
    assert {name for name, seed in before if before[name, seed] != after[name, seed]} == {"B", "D"}
    (tmp_path / "photos" / "2.jpg").write_text("two")
    last = folders(make())
    assert {name for name, seed in before if last[name, seed] != after[name, seed]} == {"ssl", "C", "E"}


# Files


def test_every_way_to_name_files_is_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a/1.jpg", "office/train.csv", "office/train/1.jpg", "mine.py", "net.py", "run/log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    reads = {
        "photos": "photos/a/1.jpg",
        "image_folder:photos": "photos/a/1.jpg",
        f"flat:{tmp_path}/photos": "photos/a/1.jpg",
        "office/train.csv": "office/train.csv",
        "csv:office/train.csv": "office/train/1.jpg",
        "./mine.py:Mine": "mine.py",
        "./mine.py:Mine=photos": "photos/a/1.jpg",
    }
    for text, name in reads.items():
        before = fingerprint(text, tmp_path / "out")
        assert before == fingerprint(text, tmp_path / "out")
        (tmp_path / name).write_text(f"other {text}")
        assert fingerprint(text, tmp_path / "out") != before, text
    for text in ("byol", "demo:64", "", "0.5", "a:b=c", ":", "@ssl", "~nobody/x", "\0", "x" * 999):
        assert fingerprint(text, tmp_path / "out") == "", (text, os.getcwd())


def test_a_folder_is_known_by_names_sizes_and_times(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "photos" / "out"
    out.mkdir(parents=True)
    (folder / "1.jpg").write_text("one")
    first = fingerprint(str(folder), out)

    os.utime(folder / "1.jpg", ns=(0, 5))
    second = fingerprint(str(folder), out)
    (folder / "1.jpg").rename(folder / "2.jpg")
    third = fingerprint(str(folder), out)
    assert len({first, second, third}) == 3
    for own in (out / "run.log", folder / ".DS_Store", folder / ".git" / "x"):
        own.parent.mkdir(exist_ok=True)
        own.write_text("x")
    (folder / "lost").symlink_to("nowhere")
    (folder / "circle").symlink_to(".")
    assert fingerprint(str(folder), out) == third
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    assert fingerprint(str(tmp_path / "copy"), tmp_path / "copy" / "out") == third, "a copy with its times"


def test_a_file_is_known_by_its_content(tmp_path):
    (tmp_path / "w.pt").write_text("one")
    first = fingerprint(str(tmp_path / "w.pt"), tmp_path)
    os.utime(tmp_path / "w.pt", ns=(0, 5))
    assert fingerprint(str(tmp_path / "w.pt"), tmp_path) == first


def test_a_run_is_known_by_its_weights(tmp_path):
    (tmp_path / "backbone.safetensors").write_text("w")
    first = fingerprint(str(tmp_path), tmp_path / "out")
    (tmp_path / "run.log").write_text("looked at later")
    assert fingerprint(str(tmp_path), tmp_path / "out") == first
    (tmp_path / "backbone.safetensors").write_text("x")
    assert fingerprint(str(tmp_path), tmp_path / "out") != first


def test_a_file_that_cannot_be_read(make, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "weights.pt")

    monkeypatch.setattr("ssl_seg.study.planner.hashlib.file_digest", refuse)
    with pytest.raises(ResourceError, match="cannot read weights.pt: Permission denied"):
        make()


# Running


def run(study, codes=None):
    """Run with a start that finishes, unless a code is given for the job's first name."""
    started, said = [], []

    def start(job):
        started.append(job.name)
        code = (codes or {}).get(job.name, 0)
        return code or finish(job)

    return started, said, study.run(start, said.append)


def test_what_is_finished_is_not_run_again(make):
    study = make()
    started, _, lost = run(study)
    assert started == [job.name for job in study.jobs]
    assert lost == []
    started, said, lost = run(make(FIVE.replace("stages.B", "stages.bee") + "[stages.new]\ncommand = 'y'\n"))
    assert started == ["new, seed 0", "new, seed 1"]
    assert sum("finished in out" in line for line in said) == 12
    assert lost == []


def test_what_was_started_resumes(make):
    study = make()
    (study.jobs[0].folder / "checkpoints" / "step-000000").mkdir(parents=True)
    _, said, _ = run(study)
    assert said[0].endswith(f"resumes in {study.jobs[0].folder}")
    assert said[1].endswith(f"starts in {study.jobs[1].folder}")


def test_a_failure_takes_along_only_what_needs_it(make):
    text = FIVE + "[stages.after]\ncommand = 'x'\nfrom = '@C'\n"
    study = make(text)
    started, said, lost = run(study, {"ssl, seed 0": 5, "B, seed 1": 3})
    assert len(started) == 14 - 3
    why = {each.job.name: (each.code, each.message) for each in lost}
    assert why == {
        "ssl, seed 0": (5, "failed with code 5"),
        "C, seed 0": (0, "skipped: needs ssl, seed 0, which failed with code 5"),
        "E, seed 0": (0, "skipped: needs ssl, seed 0, which failed with code 5"),
        "after, seed 0": (0, "skipped: needs C, seed 0, which was skipped"),
        "B, seed 1": (3, "failed with code 3"),
    }
    assert any(line.endswith(why["C, seed 0"][1]) for line in said)
    assert {(s, n) for s in study.runs for n in study.folders(s)} == {
        (name, seed) for name in study.runs for seed in (0, 1)
    } - {("ssl", 0), ("C", 0), ("E", 0), ("after", 0), ("B", 1)}
    started, _, lost = run(make(text))
    assert len(started) == 5
    assert lost == []


def test_a_command_that_ends_well_but_unfinished_has_failed(make):
    lost = make().run(lambda job: 0, lambda text: None)
    assert lost[0].code == 1
    assert lost[0].message == "failed with code 1"


def test_the_state_of_a_job(make):
    job = make().jobs[0]
    assert job.state == "pending"
    job.folder.mkdir(parents=True)
    (job.folder / "run.toml").write_text("")
    assert job.state == "pending", "it can be started: there is no checkpoint yet"
    (job.folder / "checkpoints" / "step-000000").mkdir(parents=True)
    assert job.state == "started"
    for text in ('{"state": "running"}', "", "[]", '{"stat'):
        (job.folder / "status.json").write_text(text)
        assert job.state == "started"
    finish(job)
    assert job.state == "finished"


def test_a_study_tells_later_readers_what_is_what(make, tmp_path):
    study = make(FIVE + "[table]\nrows = ['B']\nscore = 'val_miou'\n")
    (tmp_path / "out").mkdir()
    study.write()
    about = json.loads((tmp_path / "out" / "study.json").read_text())
    assert about["tables"] == {"table": {"rows": ["B"], "score": "val_miou"}}
    assert about["stages"]["ssl"]["command"] == "train"
    assert about["stages"]["C"]["runs"] == {str(s): study.runs["C"][s].folder.name for s in (0, 1)}
    for job in study.jobs:
        assert read_toml(job.config) == job.flags


def test_why_a_stage_runs_again_is_told(make, tmp_path):
    study = make()
    (tmp_path / "out").mkdir()
    assert study.changed_inputs(study.jobs[0]) == ""
    study.write()
    assert {study.changed_inputs(job) for job in study.jobs} == {""}
    for job in study.jobs:
        finish(job)
    later = make(FIVE + "lr = 1\n")
    was = study.runs["ssl"][1].folder.name
    assert later.changed_inputs(later.runs["ssl"][1]) == f"lr changed since {was}"
    assert later.changed_inputs(later.runs["C"][1]).startswith("init changed since classify-")
    assert later.changed_inputs(later.runs["A"][1]) == ""
    (tmp_path / "photos" / "2.jpg").write_text("two")
    later = make()
    assert later.changed_inputs(later.runs["ssl"][1]) == f"an input file changed since {was}"
    (tmp_path / "out" / "study.json").write_text("{")
    assert later.changed_inputs(later.runs["ssl"][1]) == ""
