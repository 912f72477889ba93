"""`ssl-seg study` as a whole: killed, stopped, failing, and started again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import typer

from ssl_seg.cli import app
from ssl_seg.commands.stage_flags import flag_validator
from ssl_seg.commands.train import train
from ssl_seg.errors import UsageError

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fake_stage.py"
TINY = ROOT / "tests" / "faults" / "tiny.py"
SERVER = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT / "src")!r})
from ssl_seg.study.fork_server import serve
serve(lambda: None, lambda: runpy.run_path({str(FAKE)!r}, run_name="__main__"))
"""
DRIVER = f"""
import sys
from ssl_seg.cli import main
from ssl_seg.study import runner
runner.PYTHON_COMMAND = (sys.executable, "-S", {str(FAKE)!r})
runner.SERVER_COMMAND = (sys.executable, "-S", "-c", {SERVER!r})
main()
"""
STUDY = """\
seeds = [0, 1]
out = "out"
[defaults.classify]
train = "demo:32"
[defaults.train]
data = "demo:32"
[stages.A]
title = "A · scratch"
command = "classify"
[stages.C]
command = "classify"
init = "@ssl"
[stages.E]
command = "classify"
init = "@ssl"
freeze = true
lr = 0.5
[stages.ssl]
command = "train"
epochs = 4
"""


def listen():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)


@dataclass
class Trial:
    """A folder with a study in it, whose stages are stand-ins."""

    program = (sys.executable, "-c", DRIVER)
    mark = str(FAKE)  # in the command line of a stage

    folder: Path
    more: tuple[str, ...] = ()  # flags
    here: Callable[..., tuple[int, str, str]] | None = None
    children: list[subprocess.Popen] = field(default_factory=list)

    @property
    def out(self):
        return self.folder / "out"

    def start(self, **given):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        words = [*self.program, "study", "s.toml", *self.more]
        with (self.folder / "said").open("w") as said:
            given |= {"cwd": self.folder, "env": environment, "stdout": said, "stderr": said}
            given.setdefault("preexec_fn", listen)  # who runs the tests may ignore SIGINT
            child = subprocess.Popen(words, **given)
        self.children.append(child)
        return child

    def go(self):
        """Run it to its end, in this process if that is known -> its exit code and what it said."""
        if self.here:
            code, out, err = self.here("study", "s.toml", *self.more)
            return code, err + out
        return self.start().wait(1200), self.said

    @property
    def said(self):
        return (self.folder / "said").read_text()

    @property
    def gate(self):
        """See the stand-in."""
        return self.folder / "hold"

    def told(self):
        """(folder, what, pid) of each start and each end of a stage."""
        path = self.out / "told"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def stages(self):
        """The processes of all stages so far."""
        return {int(pid) for _, _, pid in self.told()}

    def wait_for(self, what, count=1):
        """Until a stage has begun or ended for the `count`-th time; its process."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = [int(pid) for _, told, pid in self.told() if told == what]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.005)
        raise AssertionError(f"no stage {what}: {self.said}")

    def result(self):
        """What the study leaves for readers, byte for byte; and of each run its scores."""
        names = ["study.json", "table.txt", "table.md", "table.tex", "table.csv", "table-pairs.csv"]
        runs = {path.parent.name: path.read_bytes() for path in self.out.glob("*/scores.jsonl")}
        return {name: (self.out / name).read_bytes() for name in names} | runs

    def repeated(self):
        """The folders in which something was started after they were finished."""
        done, again = set(), []
        for folder, what, _ in self.told():
            again += [folder] if what == "starts" and folder in done else []
            done |= {folder} if what == "finished" else set()
        return again


def clear_away(trials):
    """A stage may outlive its study."""
    for one in trials:
        for child in one.children:
            child.kill()
            child.wait()
        for pid in one.stages():
            with suppress(OSError):
                if one.mark in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def trial(tmp_path, cli, monkeypatch):
    made = []

    def here(folder):
        def run(*words):
            with monkeypatch.context() as patch:
                patch.chdir(folder)
                patch.setattr("ssl_seg.study.runner.PYTHON_COMMAND", (sys.executable, "-S", str(FAKE)))
                patch.setattr("ssl_seg.study.runner.SERVER_COMMAND", (sys.executable, "-S", "-c", SERVER))
                return cli(*words)

        return run

    def trial(name="t", text=STUDY, more=()):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "s.toml").write_text(text)
        made.append(Trial(folder, more, here(folder)))
        return made[-1]

    yield trial
    clear_away(made)


SLOW = STUDY.replace("[defaults.train]", "warmup = 0.04\n[defaults.train]\nwarmup = 0.04")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the slow study gives when nothing disturbs it."""
    whole = Trial(tmp_path_factory.mktemp("whole"))
    (whole.folder / "s.toml").write_text(SLOW)
    assert whole.go()[0] == 0
    return whole.result()


def test_a_study_from_its_start_to_its_table(trial):
    one = trial()
    code, said = one.go()
    assert code == 0, said
    starts = [folder for folder, what, _ in one.told() if what == "starts"]
    assert len(starts) == len(set(starts)) == 8
    table = (one.out / "table.txt").read_text()
    assert table in said
    assert "A · scratch" in table
    assert table.count("n/a") == 0
    first = one.result()
    code, said = one.go()
    assert code == 0
    assert said.count(": finished in out/") == 8
    assert len(one.told()) == 16, "nothing was run again"
    assert one.result() == first


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_runs_are_forks_of_one_process_or_programs_of_their_own_with_the_same_result(trial):
    forked, isolated = trial("forked"), trial("isolated", more=("--isolate",))
    assert forked.go()[0] == isolated.go()[0] == 0
    assert forked.result() == isolated.result()
    assert len(forked.stages()) == len(isolated.stages()) == 8
    forked, isolated = trial("f", SLOW), trial("i", SLOW, ("--isolate",))
    for one in (forked, isolated):
        one.gate.write_text("1")
        study = one.start()
        stage = one.wait_for("holds")
        assert (parent_of(stage) == study.pid) == (one is isolated)
        assert os.getsid(stage) == stage, "Ctrl-C must reach it once"
        assert os.readlink(f"/proc/{stage}/fd/0") == os.devnull
        locked = {os.readlink(path) for path in Path(f"/proc/{stage}/fd").iterdir()}
        assert str(one.out / ".stage") in locked and str(one.out / ".lock") not in locked
        if one is forked:
            server = {os.readlink(path) for path in Path(f"/proc/{parent_of(stage)}/fd").iterdir()}
            assert str(one.out / ".stage") not in server
        study.terminate()
        assert study.wait(300) == 143
        assert one.told()[-1][1] == "stopped"
        assert not Path(f"/proc/{stage}").exists()


def test_without_a_server_each_run_is_a_program(trial, monkeypatch):
    one = trial()
    monkeypatch.setattr(f"{__name__}.SERVER", "raise SystemExit(1)")
    code, said = one.go()
    assert code == 0 and said.count("runs cannot be forked (it has ended)") == 1
    assert one.repeated() == [] and len(one.stages()) == 8


def test_a_server_that_is_killed_costs_one_run(trial):
    one = trial(text=SLOW)
    one.gate.write_text("1")
    study = one.start()
    stage = one.wait_for("holds")
    os.kill(parent_of(stage), signal.SIGKILL)
    assert study.wait(300) == 137
    assert "A, seed 0: failed with code 137" in one.said
    assert one.said.count("runs cannot be forked") == 1
    assert "1 of 8 runs failed, 0 skipped" in one.said
    assert one.go()[0] == 0
    assert one.repeated() == []


def test_a_signal_while_the_server_imports_ends_the_study_and_starts_nothing(trial):
    one = trial()
    one.program = (
        sys.executable,
        "-c",
        DRIVER.replace("serve(lambda: None", "import time; serve(lambda: time.sleep(100)"),
    )
    assert "sleep(100)" in one.program[-1]
    study = one.start()
    while "starts in" not in one.said:
        time.sleep(0.01)
    study.terminate()
    assert study.wait(60) == 143
    assert one.told() == []


@pytest.mark.slow
def test_what_is_forked_has_no_threads_and_has_not_asked_for_a_gpu():
    code = """
import os, sys, threading, warnings
import torch
def asked(*_):
    raise AssertionError("imports must leave the GPU alone")
for name in ("is_available", "device_count", "init", "current_device"):
    setattr(torch.cuda, name, asked)
torch._C._cuda_getDeviceCount = torch._C._cuda_init = asked
from ssl_seg.__main__ import _load_all
_load_all()
assert threading.active_count() == 1
assert len(os.listdir("/proc/self/task")) == 1, "OpenMP does not survive a fork"
assert not torch.cuda.is_initialized()
"""
    alone = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}  # OpenBLAS closes its threads before a fork
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | alone)


def test_a_page_that_cannot_be_written_is_not_passed_over(trial):
    one = trial()
    (one.out / "report.html").mkdir(parents=True)
    code, said = one.go()
    assert code == 6, said
    assert f"error[6] cannot write {Path('out') / 'report.html'}" in said
    assert "next: ssl-seg study s.toml" in said and (one.out / "table.txt").read_text() in said
    (one.out / "report.html").rmdir()
    code, said = one.go()
    assert code == 0 and (one.out / "report.html").is_file(), said
    assert one.repeated() == []


def kill(one, random):
    """One random end of a study, while a stage is at work: of itself, of its stage, or of both."""
    before, study = len(one.told()), one.start()
    while len(one.told()) <= before and study.poll() is None:
        time.sleep(0.005)
    time.sleep(random.uniform(0.0, 0.6))
    running = [int(pid) for _, what, pid in one.told()[-1:] if what == "starts"]
    for pid in random.choice([[study.pid], running, [study.pid, *running], [*running, study.pid]]):
        if study.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return study.wait(300)


def check_kills(trial, expected, seeds):
    hurt = 0
    for seed in seeds:
        one, random = trial(f"killed {seed}", SLOW), Random(seed)
        for _ in range(4):
            hurt += kill(one, random) != 0
        code, said = one.go()
        assert code == 0, said
        assert one.result() == expected
        assert one.repeated() == []
    assert hurt >= len(seeds), "it was hardly ever killed"


def test_kill_9_anywhere_then_the_same_command(trial, expected):
    check_kills(trial, expected, range(1))


@pytest.mark.slow
def test_kill_9_very_often(trial, expected):
    check_kills(trial, expected, range(10, 25))


def test_a_stage_that_outlived_its_study_is_waited_for(trial, expected):
    one = trial(text=SLOW)
    one.gate.write_text("2")
    study = one.start()
    orphan = one.wait_for("holds")
    study.kill()
    study.wait()
    study = one.start()
    while "waiting for a run" not in one.said:
        assert study.poll() is None
        time.sleep(0.01)
    one.gate.unlink()
    assert study.wait(300) == 0
    assert f"waiting for a run of an earlier study (pid {orphan})" in one.said
    assert one.result() == expected
    assert one.repeated() == []
    assert [int(pid) for _, what, pid in one.told() if what == "finished"].count(orphan) == 1


def test_waiting_can_be_stopped(trial):
    one = trial(text=SLOW)
    one.gate.write_text("1")
    study = one.start()
    one.wait_for("holds")
    study.kill()
    study.wait()
    study = one.start()
    while "waiting for a run" not in one.said:
        assert study.poll() is None
        time.sleep(0.01)
    study.terminate()
    assert study.wait(300) == 143


def test_a_suspended_stage_is_not_waited_for(trial, monkeypatch):
    """It would never end by itself."""
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.5")
    one = trial(text=SLOW)
    one.gate.write_text("1")
    study = one.start()
    orphan = one.wait_for("holds")
    study.kill()
    study.wait()
    os.kill(orphan, signal.SIGSTOP)
    assert one.start().wait(300) == 9
    assert f"error[9] a run of an earlier study is suspended: pid {orphan}" in one.said
    assert f"next: kill -CONT {orphan}" in one.said


def test_a_stage_that_does_not_end_after_a_signal_is_killed(trial, monkeypatch):
    monkeypatch.setenv("SSL_SEG_TIMEOUT", "0.5")
    one = trial(text=SLOW)
    one.gate.write_text("1 deaf")
    study = one.start()
    stage = one.wait_for("holds")
    study.terminate()
    assert study.wait(300) == 143
    assert f"pid {stage} did not exit within 0 s after the signal: killing it" in one.said
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_stage_once_and_ends_the_study(trial, expected, number):
    one = trial(text=SLOW)
    one.gate.write_text("3")
    study = one.start()
    stage = one.wait_for("holds")
    study.send_signal(number)
    assert study.wait(300) == 128 + number
    assert f"error[{128 + number}] stopped by signal {number}" in one.said
    assert "next: ssl-seg study s.toml" in one.said
    assert "Traceback" not in one.said
    folder, what, pid = one.told()[-1]
    assert (what, int(pid)) == ("stopped", stage), "a second signal would have ended it at once"
    assert json.loads((one.out / folder / "status.json").read_text())["code"] == 128 + number
    assert not (one.out / "table.txt").exists()
    assert one.go()[0] == 0
    assert one.repeated() == []
    assert one.result() == expected


def test_ctrl_c_in_a_terminal_reaches_the_stage_once(trial):
    """The terminal signals the whole process group of the study, in which the stage is not."""
    one = trial(text=SLOW)
    one.gate.write_text("2")
    study = one.start(process_group=0)
    one.wait_for("holds")
    os.killpg(study.pid, signal.SIGINT)
    assert study.wait(300) == 130
    assert one.told()[-1][1] == "stopped"


def test_a_second_signal_is_passed_on_as_well(trial):
    one = trial(text=SLOW)
    one.gate.write_text("1 deaf")
    study = one.start()
    stage = one.wait_for("holds")
    study.terminate()
    while f"SigPnd:\t{0:016x}" not in Path(f"/proc/{stage}/status").read_text():
        time.sleep(0.01)
    time.sleep(0.3)  # more than the study sleeps between two looks
    assert study.poll() is None
    study.terminate()
    assert study.wait(300) == 143
    assert [what for _, what, _ in one.told()] == ["starts", "holds"], "it had no time to say that it ends"


def test_a_failing_stage_costs_only_what_needs_it(trial):
    text = STUDY.replace("[stages.ssl]", "[stages.bad]\ncommand = 'train'\nlr = 5\n"
                         "[stages.F]\ncommand = 'classify'\ninit = '@bad'\n[stages.ssl]")  # fmt: skip
    one = trial(text=text)
    code, said = one.go()
    assert code == 5
    assert "error[5] 2 of 12 runs failed, 2 skipped because" in said
    assert "F, seed 1: skipped: needs bad, seed 1, which failed with code 5" in said
    assert (one.out / "table.txt").read_text() in said
    assert "No test or confidence interval: F: no finished run." in said
    whole = trial("whole")
    whole.go()
    runs = {name: data for name, data in whole.result().items() if name.startswith(("train", "classify"))}
    assert runs.items() <= one.result().items()
    (one.folder / "s.toml").write_text(STUDY)
    assert one.go()[0] == 0
    assert one.result().items() >= whole.result().items()
    assert one.repeated() == []


def test_a_stage_that_is_killed_has_failed(trial):
    one = trial(text=STUDY.replace("lr = 0.5", "lr = 66"))
    code, said = one.go()
    assert code == 137
    assert "E, seed 0: failed with code 137" in said


def test_two_studies_in_one_folder(trial):
    one = trial()
    one.gate.write_text("1")
    first = one.start()
    one.wait_for("holds")
    code, err = one.go()
    assert code == 9
    assert re.search(
        rf"error\[9\] out is in use by pid {first.pid} on .+ since \d{{4}}-\d\d-\d\d \d\d:\d\d\n", err
    )
    assert "waiting for a run" not in err
    assert "next: wait for it to finish" in err
    one.gate.unlink()
    assert first.wait(300) == 0
    assert one.repeated() == []


# In this process


def test_a_dry_run_says_what_would_be_run_and_touches_nothing(trial):
    one = trial()
    code, out, _ = one.here("study", "s.toml", "--dry-run")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:8]] == ["pending"] * 8
    assert lines[0].endswith("A, seed 0")
    assert "8 of 8 runs remaining" in out
    assert "no estimate for 8" in out
    assert not one.out.exists()


def test_a_forecast_follows_from_runs_of_the_same_kind(trial):
    one = trial()
    assert one.go()[0] == 0
    assert "0 of 8 runs remaining" in one.here("study", "s.toml", "--dry-run")[1]
    (one.folder / "s.toml").write_text(STUDY.replace("[0, 1]", "[0, 1, 2]"))
    runs = json.loads((one.out / "study.json").read_text())["stages"]["ssl"]["runs"]
    with (one.out / runs["0"] / "checkpoints" / "weights").open("wb") as file:
        file.truncate(3 * 2**20)
    begun = one.out / runs["1"]
    (begun / "status.json").write_text('{"state": "stopped"}')
    (begun / "scores.jsonl").write_text((begun / "scores.jsonl").read_text().splitlines()[0] + "\n")
    code, out, _ = one.here("study", "s.toml", "--dry-run")
    assert code == 0
    lines = {line.split("  ")[-1].split(", about")[0].strip(): line for line in out.splitlines()}
    assert lines["A, seed 0"].startswith("finished")
    assert lines["ssl, seed 1"].startswith("started")
    assert lines["ssl, seed 1"].endswith("about 6 s and 3 MiB"), "three epochs of two seconds are left"
    assert lines["ssl, seed 2"].endswith("about 8 s and 3 MiB")
    assert re.search(r"about 4 s and [\d.]+ KiB$", lines["E, seed 2"]), "a small run has a real size"
    assert "5 of 12 runs remaining" in out
    assert "about 26 s and 6 MiB for 5 of them" in out


WRONG = """out = "out"
[defaults.train]
data = "demo:32"
{default}
[stages.ssl]
command = "train"
{flag}
[stages.C]
command = "classify"
init = "@ssl"
"""


@pytest.mark.parametrize(
    ("flag", "parts"),
    [
        ("epochz = 3", ["unknown key 'epochz'", "did you mean 'epochs'?"]),
        ("epochs = 0", ["'epochs': ", "got '0'"]),
        ("epochs = 'many'", ["'epochs': ", "valid integer", "got 'many'"]),
        ("schedule = 'cosinus'", ["'schedule': ", "cosine"]),
        ("epochs = [3]", ["'epochs' takes one value, not [3]"]),
        ("epochs.x = 3", ["'epochs' takes one value"]),
        ("lr = 2026-01-01", ["'lr' takes one value"]),
        ("out = 'x'", ["unknown key 'out'"]),
        ("resume = true", ["unknown key 'resume'"]),
        ("config = 'x'", ["unknown key 'config'"]),
        ("option = 'ssl.decay=1'", ["unknown key 'option'"]),
        ("o = 3", ["'o' must be a table"]),
        ("o.ssl = 3", ["'ssl' must be a table"]),
        ("o.ssl.decay = 2026-01-01", ["'ssl' must be a table of options"]),
        ("o.ssl.decay.x = 1", ["'ssl' must be a table of options"]),
        ("o.sll.decay = 3", ["no part 'sll' has options", "did you mean 'ssl'?"]),
        ("ssl = 'byoll'", ["no ssl method 'byoll'", "did you mean 'byol'?"]),
        ("backbone = 'resnet5'", ["no backbone 'resnet5'", "did you mean 'resnet"]),
        ("o.ssl.decai = 3\nssl = 'byol'", ["'decai'", "did you mean 'decay'?"]),
        ("o.ssl.decay = 'x'\nssl = 'byol'", ["'x'"]),
        ("optimizer = 'lars'\nssl = 'simsiam'", ["no learning rate for lars", "next: --lr "]),
        ("ssl = 'mae'", ["mae needs a transformer, and resnet50 is none", "next: --backbone vit_small"]),
        ("ssl = 'spark'\nbackbone = 'vit_tiny_patch16_224'", ["spark needs a convolutional network"]),
        ("optimizer = 'adamm'", ["no optimizer 'adamm'", "did you mean 'adam'?"]),
    ],
)
def test_flags_are_held_against_the_commands_before_anything_runs(cli, tmp_path, monkeypatch, flag, parts):
    monkeypatch.chdir(tmp_path)
    for line, given in ((7, {"flag": flag, "default": ""}), (4, {"flag": "", "default": flag})):
        (tmp_path / "s.toml").write_text(WRONG.format(**given))
        code, _, err = cli("study", "s.toml")
        assert code == 2, err
        for part in [*parts, f"where: s.toml, line {line}\n"]:
            assert part in f"{err}\n"
        assert len(err.splitlines()) <= 12
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["s.toml"]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            '"classify"',
            '"clasify"',
            ["no command 'clasify' for a stage", "did you mean 'classify'?", "line 9"],
        ),
        ('"classify"', '"doctor"', ["no command 'doctor' for a stage", "next: one of train, classify"]),
        ('"classify"', '"study"', ["no command 'study' for a stage"]),
        ("[defaults.train]", "[defaults.trian]", ["no command 'trian'", "did you mean 'train'?", "line 2"]),
        ("@ssl", "@sll", ["no stage 'sll'", "line 10"]),
        ('init = "@ssl"', 'head = "@ssl"', ["'head' takes no run of another stage", "line 10"]),
    ],
)
def test_names_are_known_before_anything_runs(cli, tmp_path, monkeypatch, old, new, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(WRONG.format(flag="", default="").replace(old, new))
    code, _, err = cli("study", "s.toml")
    assert code == 2
    for part in parts:
        assert part in err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["s.toml"]


def test_what_does_not_touch_a_result_repeats_nothing(trial):
    one = trial()
    assert one.go()[0] == 0
    free = 'cache = "there"\nsave_every = 3\ncompile = true\n'
    (one.folder / "s.toml").write_text(STUDY + free)
    assert one.go()[0] == 0
    assert len(one.told()) == 16


def test_a_bare_word_is_a_folder_only_where_one_is_asked_for(trial):
    one = trial(text=STUDY.replace('"demo:32"', '"photos"') + 'ssl = "byol"\n')
    for name in ("photos", "byol"):
        (one.folder / name).mkdir()
    assert one.go()[0] == 0
    (one.folder / "byol" / "notes").write_text("mine")
    assert one.go()[0] == 0
    assert len(one.told()) == 16
    (one.folder / "photos" / "1.jpg").write_text("new")
    code, said = one.go()
    assert code == 0
    assert "ssl, seed 0: an input file changed since train-" in said
    assert len(one.told()) == 32


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/**/*.toml")), ids=lambda p: p.name)
def test_the_examples_can_be_run(cli, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("study", path, "--dry-run")
    assert code == 0, err
    file = tomllib.loads(path.read_text())
    runs = sum(len(stage.get("seeds", file["seeds"])) for stage in file["stages"].values())
    assert f"{runs} runs remaining" in out


def test_the_study_in_the_documents_can_be_run(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "study.md").read_text()
    (tmp_path / "s.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    code, out, err = cli("study", "s.toml", "--dry-run")
    assert code == 0, err
    assert "9 of 9 runs remaining" in out


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ("phots", "phots", "no such file or folder: phots; did you mean 'photos'?"),
        ("csv:table.csv", "table.csv", "no such file or folder: table.csv"),
        ("image_folder:nothing/train", "nothing/train", "no such file or folder: nothing/train"),
    ],
)
def test_images_of_a_last_stage_that_are_not_there_are_told_before_the_first_runs(trial, value, path, said):
    one = trial(text=STUDY + f'[stages.last]\ncommand = "classify"\ntrain = "demo:32"\nval = "{value}"\n')
    (one.folder / "photos").mkdir()
    line = (one.folder / "s.toml").read_text().split("\n").index(f'val = "{value}"') + 1
    code, out, _ = one.here("study", "s.toml", "--dry-run")
    assert code == 0
    assert f"{said}: s.toml, line {line}\n" in out
    code, _, err = one.here("study", "s.toml")
    assert code == 3
    assert f"{said}\nwhere: s.toml, line {line}" in err
    assert not (one.folder / "out").exists()
    (one.folder / path).parent.mkdir(parents=True, exist_ok=True)
    (one.folder / path).mkdir()
    assert one.go()[0] == 0


@pytest.mark.parametrize("value", ['"0.2"', "0.2"])
def test_a_share_of_the_training_images_is_no_path(trial, value):
    one = trial(text=STUDY + f'[stages.last]\ncommand = "classify"\ntrain = "demo:32"\nval = {value}\n')
    code, out, _ = one.here("study", "s.toml", "--dry-run")
    assert (code, "no such file" in out) == (0, False)
    assert one.go()[0] == 0


GIVEN = {"train": {"data": "demo:32"}, "classify": {"train": "demo:32"}, "segment": {"train": "demo_masks:8"}}


@pytest.mark.parametrize(
    ("command", "flag"),
    [(name, each.name) for name in GIVEN for each in typer.main.get_command(app).commands[name].params],
)
def test_a_value_of_another_kind_is_no_internal_error(cli, tmp_path, monkeypatch, command, flag):
    monkeypatch.chdir(tmp_path)
    for value in ("5", "true", '["a"]'):
        flags = {key: f'"{text}"' for key, text in GIVEN[command].items()} | {flag: value}
        lines = "".join(f"{key} = {text}\n" for key, text in flags.items())
        (tmp_path / "s.toml").write_text(f'[stages.t]\ncommand = "{command}"\n{lines}')
        code, _, err = cli("study", "s.toml", "--dry-run")
        assert code in (0, 2, 3), (value, err)


@pytest.mark.parametrize("value", ['"1.5"', "2"])
def test_a_share_that_is_none_is_told_before_the_first_run(trial, value):
    one = trial(text=STUDY + f'[stages.last]\ncommand = "classify"\ntrain = "demo:32"\nval = {value}\n')
    code, _, err = one.here("study", "s.toml")
    assert code == 2
    assert "a share of TRAIN must be between 0 and 1" in err
    assert "where: s.toml, line " in err
    assert not (one.folder / "out").exists()


# With the real commands


REAL = f"""\
out = "out"
[defaults.train]
data = "demo:32"
backbone = "{TINY}:TinyBackbone"
o.ssl.hidden = 16
o.ssl.dimensions = 8
image_size = 16
batch_size = 8
epochs = 2
cpu = true
[defaults.classify]
train = "demo:32"
val = "demo:24"
image_size = 16
batch_size = 8
epochs = 2
cpu = true
[stages.ssl]
command = "train"
[stages.E]
command = "classify"
init = "@ssl"
freeze = true
"""


class Real(Trial):
    """The whole program on painted scenes."""

    program = (sys.executable, "-P", "-m", "ssl_seg")
    mark = "ssl_seg"

    def stages(self):
        return {int(path.read_text().split()[1]) for path in self.out.glob("*/.lock")}

    def result(self):
        """Without the times."""
        found = super().result()
        for name in [name for name in found if "." not in name]:
            lines = [json.loads(line) for line in found[name].splitlines()]
            timed = ("seconds", "images_per_second")
            found[name] = [{key: line[key] for key in line if key not in timed} for line in lines]
        return found

    def kill_in(self, command):
        """Kill everything as soon as a run of the command has its first checkpoint."""
        study = self.start()
        while not any(self.out.glob(f"{command}-*/checkpoints/step-*")):
            assert study.poll() is None, self.said
            time.sleep(0.01)
        study.kill()
        study.wait()
        clear_away([self])


@pytest.fixture
def real(tmp_path):
    made = []

    def real(name, text=REAL, more=()):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "s.toml").write_text(text)
        made.append(Real(folder, more))
        return made[-1]

    yield real
    clear_away(made)


def test_the_real_commands(real):
    one = real("t")
    code, said = one.go()
    assert code == 0, said
    table = (one.out / "table.txt").read_text()
    assert table in said
    (line,) = [line.split() for line in table.splitlines() if line.startswith("E ")]
    assert "±" not in line and line[-1] == "24"
    assert "matched 13 of 13 tensors" in said
    assert "No test" not in table


@pytest.mark.slow
def test_the_real_commands_in_forks_and_in_programs_of_their_own(real):
    """Weights, checkpoints, predictions, features, pictures and tables byte for byte; scores without their times."""
    endings = (".safetensors", ".csv", ".npz", ".png", ".svg", ".tex", ".txt")
    files, results = [], []
    for more in ((), ("--isolate",)):
        one = real("isolated" if more else "forked", more=more)
        code, said = one.go()
        assert code == 0, said
        assert ("pid" in said, "cannot be forked" in said) == (False, False)
        files.append({path.relative_to(one.out): path.read_bytes() for path in one.out.rglob("*.*")
                      if path.name.endswith(endings)})  # fmt: skip
        results.append(one.result())
    assert files[0].keys() == files[1].keys()
    assert len([path for path in files[0] if path.suffix == ".safetensors"]) > 4
    assert [path for path, data in files[0].items() if data != files[1][path]] == []
    assert results[0] == results[1]


@pytest.mark.slow
def test_the_real_commands_killed_and_started_again(real):
    text = "seeds = [0, 1]\n" + REAL.replace("cpu = true", "cpu = true\nsave_every = 1")
    text += f'[stages.A]\ncommand = "classify"\nbackbone = "{TINY}:TinyBackbone"\n'
    whole, one = real("whole", text), real("killed", text)
    assert whole.go()[0] == 0, whole.said
    for command in ("train", "classify"):
        one.kill_in(command)
    code, said = one.go()
    assert code == 0, said
    assert "resumes in out/classify-" in said
    assert one.result() == whole.result()


def test_a_command_from_outside_needs_no_more_than_a_runs_four_flags():
    def wait(epochs: int = 1, out: str = "", config: str = "", resume: bool = False, option: str = ""):
        """A command that knows nothing of `--progress`."""

    commands = {}
    for each in (wait, train):
        one = typer.Typer()
        one.command()(each)
        commands[each.__name__] = typer.main.get_command(one)
    context = SimpleNamespace(find_root=lambda: SimpleNamespace(command=SimpleNamespace(commands=commands)))
    judge = flag_validator(context)
    assert judge("wait", {}, str) == ({}, [])
    with pytest.raises(UsageError, match="unknown key 'progress'"):
        judge("train", {"progress": False}, str)
