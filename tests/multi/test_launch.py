"""What launchers say in the environment, and the job for SLURM, without any of them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from ssl_seg.distributed.launcher import first_slurm_host, set_env_from_slurm, world_size_from_env

ROOT = Path(__file__).parents[2]
JOB = ROOT / "examples" / "cluster" / "slurm.sh"
MANIFEST = ROOT / "examples" / "cluster" / "kubernetes.yaml"
RAY = ROOT / "examples" / "cluster" / "ray_train.py"


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 1),
        ({"WORLD_SIZE": "4"}, 4),
        ({"WORLD_SIZE": "1", "SLURM_STEP_NUM_TASKS": "8"}, 1),
        ({"SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 1),  # the script of a job, not a task of srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"WORLD_SIZE": "many"}, 1),
    ],
)
def test_how_many_processes_there_are(environment, count):
    assert world_size_from_env(environment) == count


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[003-006,9]-ib,login1", "gpu003-ib"),
        ("node7", "node7"),
        ("a1,a2", "a1"),
        ("n[12,14]", "n12"),
        ("rack-2-node[1-2]", "rack-2-node1"),
        ("", ""),
    ],
)
def test_the_first_machine(nodes, first):
    assert first_slurm_host(nodes) == first


def test_what_srun_says_in_the_words_of_torchrun():
    told = {
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
        "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_JOB_ID": "4711",
    }
    environment = dict(told)
    set_env_from_slurm(environment)
    found = {name: value for name, value in environment.items() if name not in told}
    assert found == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "gpu03",
        "MASTER_PORT": str(15000 + 4711),
    }
    environment = told | {"MASTER_ADDR": "10.0.0.1"}
    set_env_from_slurm(environment)
    assert environment["MASTER_ADDR"] == "10.0.0.1"
    for other in ({}, told | {"WORLD_SIZE": "2"}, told | {"SLURM_STEP_NUM_TASKS": "1"}):
        environment = dict(other)
        set_env_from_slurm(environment)
        assert environment == other, "nothing to say, or a launcher has said it"


@pytest.fixture
def submit(tmp_path):
    """Runs the job with stand-ins that note how they were called; `srun` ends with a given code."""

    def submit(*words, code=0):
        for name in ("srun", "scontrol"):
            stand_in = tmp_path / "bin" / name
            stand_in.parent.mkdir(exist_ok=True)
            ends = f"exit {code}" if name == "srun" else "exit 0"
            stand_in.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n{ends}\n')
            stand_in.chmod(0o755)
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "SLURM_JOB_ID": "42", "SLURM_CPUS_PER_TASK": "8"}
        done = subprocess.run([JOB, *words], env=environment, capture_output=True, text=True, check=False)
        calls = tmp_path / "calls"
        return done, calls.read_text().splitlines() if calls.exists() else []

    return submit


def test_the_job_is_good_shell():
    assert subprocess.run(["bash", "-n", JOB], check=False).returncode == 0
    assert JOB.stat().st_mode & 0o111


@pytest.mark.parametrize("code", [0, 8])
def test_a_job_starts_a_run_or_resumes_it(submit, tmp_path, code):
    out = str(tmp_path / "my run")
    done, calls = submit("photos", "--backbone", "resnet50", "--out", out, code=code)
    assert done.returncode == code
    words = f"photos --backbone resnet50 --out {out}"
    assert calls == [f"srun --cpus-per-task=8 ssl-seg train --auto-resume {words}"]


def test_a_job_whose_time_is_up_queues_again(submit, tmp_path):
    done, calls = submit("photos", "--epochs", "9", "--out", "run", code=138)
    assert done.returncode == 138
    assert calls[1:] == ["scontrol requeue 42"]


def test_the_manifest_for_kubernetes(cli, tmp_path):
    """Its command is one of ours, and does what the page says: a run of as many processes, which resumes."""
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(MANIFEST.read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    spec, elastic = job["spec"], job["spec"]["elasticPolicy"]
    (worker,) = spec["pytorchReplicaSpecs"].values()
    assert elastic["minReplicas"] == elastic["maxReplicas"] == worker["replicas"]
    assert elastic["maxRestarts"] > 0 and worker["restartPolicy"] == "OnFailure"
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "pytorch"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == spec["nprocPerNode"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in worker["template"]["spec"]["volumes"]}
    command = container["command"]
    assert command[:3] == ["torchrun", "-m", "ssl_seg"] and "--auto-resume" in command
    size = next(int(word.partition("=")[2]) for word in command if word.startswith("--batch-size"))
    assert size % (int(spec["nprocPerNode"]) * worker["replicas"]) == 0
    code, _, err = cli(*command[3:], "--dry-run")
    assert code == 2 and "--dry-run and --resume exclude each other" in err, "its flags are known"


def test_the_recipe_for_ray_is_that_of_the_documents():
    text, page = RAY.read_text(), (ROOT / "docs" / "many.md").read_text()
    compile(text, str(RAY), "exec")
    (recipe,) = re.findall(r"## Ray Train.*?```py\n(.*?)```", page, re.DOTALL)
    for line in filter(None, map(str.strip, recipe.splitlines())):
        assert line in text
