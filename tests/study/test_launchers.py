"""`study --launcher`: runs that take place elsewhere, with stand-ins for the stages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FAKE = Path(__file__).parents[1] / "fake_stage.py"
DRIVER = f"""
import sys
from ssl_seg.cli import main
from ssl_seg.study import runner
runner.PYTHON_COMMAND = (sys.executable, "-S", {str(FAKE)!r})
from ssl_seg.study import launchers
launchers.CLUSTER = "local"
main()
"""
STUDY = """\
seeds = [0, 1]
out = "out"
report = false
[defaults.classify]
train = "demo:32"
[defaults.train]
data = "demo:32"
[stages.A]
command = "classify"
[stages.C]
command = "classify"
init = "@ssl"
[stages.ssl]
command = "train"
"""


class Study:
    def __init__(self, folder, launcher, more=""):
        self.folder, self.launcher = folder / launcher, launcher
        self.folder.mkdir(exist_ok=True)
        (self.folder / "s.toml").write_text(STUDY + more)

    def start(self):
        words = [sys.executable, "-c", DRIVER, "study", "s.toml", "--isolate", "--launcher", self.launcher]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def go(self):
        child = self.start()
        said, _ = child.communicate(timeout=300)
        return child.returncode, said

    def told(self):
        path = self.folder / "out" / "told"
        return path.read_text().splitlines() if path.exists() else []

    def told_of(self, what):
        return {line.split()[0] for line in self.told() if what in line.split()}

    def result(self):
        names = ["study.json", "table.txt", "table.md", "table.tex", "table.csv", "table-pairs.csv"]
        runs = {path.parent.name: path.read_bytes() for path in self.folder.glob("out/*/scores.jsonl")}
        return {name: (self.folder / "out" / name).read_bytes() for name in names} | runs


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("here"), "local")
    code, said = study.go()
    assert code == 0, said
    return study.result()


def test_the_jobs_of_submitit_leave_what_runs_here_leave(tmp_path, expected):
    pytest.importorskip("submitit")
    study = Study(tmp_path, "slurm", "[launcher]\ntimeout_min = 5\nslurm_partition = 'gpu'\n")
    code, said = study.go()
    assert code == 0, said
    assert study.result() == expected
    assert said.count(": job ") == 6 and len(study.told()) == 12
    code, said = study.go()
    assert code == 0 and said.count(": finished in ") == 6, "nothing is repeated"
    assert len(study.told()) == 12


def test_a_failed_job_skips_only_what_needs_it(tmp_path):
    pytest.importorskip("submitit")
    study = Study(tmp_path, "slurm", "lr = 5\n")  # of the last stage
    code, said = study.go()
    assert code == 5, said
    assert said.count("failed with code 5") >= 2 and said.count("skipped: needs ssl") == 2
    assert sum("classify" in line and line.split()[1] == "finished" for line in study.told()) == 2


@pytest.mark.parametrize(
    ("launcher", "package"), [("slurm", "submitit"), pytest.param("ray", "ray", marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_jobs_after_saving(tmp_path, launcher, package):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install {package}")
    study = Study(tmp_path, launcher, "warmup = 0.3\nepochs = 100\n")
    child = study.start()
    deadline = time.monotonic() + 120
    while not list(study.folder.glob("out/train-*/checkpoints/step-1")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 143 and "ssl-seg study s.toml" in said, said
    trained = {run for run in study.told_of("starts") if run.startswith("train")}
    # the local cluster of submitit kills what watches a run, so the study may end while the run still saves
    while study.told_of("stopped") != trained and time.monotonic() < deadline:
        time.sleep(0.05)
    assert study.told_of("stopped") == trained


@pytest.mark.parametrize(
    ("launcher", "package", "more", "what"),
    [
        ("slurm", "submitit", "[launcher]\nslurm_partiton = 'gpu'\n", "slurm_partiton"),
        ("slurm", "", "", "requires submitit (not installed)"),
        ("ray", "", "", "requires ray (not installed)"),
    ],
)
def test_what_a_launcher_cannot_do_is_said_first(launcher, package, more, what, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(STUDY + more)
    if package:
        pytest.importorskip(package)
        monkeypatch.setattr("ssl_seg.study.launchers.CLUSTER", "local")
    else:
        monkeypatch.setattr("ssl_seg.utils.extras.find_spec", lambda name: None)
    code, _, err = cli("study", "s.toml", "--launcher", launcher)
    assert code == 2 and what in err, err
    assert not list(tmp_path.glob("out/*.toml"))


@pytest.mark.slow
def test_the_tasks_of_ray_leave_what_runs_here_leave(tmp_path, expected):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    study = Study(tmp_path, "ray", "[launcher]\nnum_cpus = 0.5\n")
    code, said = study.go()
    assert code == 0, said
    assert study.result() == expected and said.count(": task ") == 6
