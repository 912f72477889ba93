"""The launchers themselves, with two processes on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ssl_seg
from ssl_seg.utils.toml import read_toml
from ssl_seg.weights.checkpoint_files import latest_valid_checkpoint, verify

LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "ssl_seg"],
    "elastic": [
        *["-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2", "--standalone"],
        *["-m", "ssl_seg"],
    ],
    "accelerate": [
        # with its own --cpu it starts one process, and more only through MPI
        *["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"],
        *["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "ssl_seg"],
    ],
}

RAY = Path(__file__).parents[2] / "examples" / "cluster" / "ray_train.py"


def launch(launcher, words, **given):
    return subprocess.Popen(
        [sys.executable, *LAUNCHERS[launcher], *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_processes_make_one_run(launcher, training, tmp_path):
    """They divide each batch, and one of them locks the folder and writes; without a GPU no --cpu is needed."""
    words = [word for word in training(tmp_path / "run") if word != "--cpu"]
    process = launch(launcher, words, CUDA_VISIBLE_DEVICES="")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert said.count("finished:") == 1
    assert "2 processes" in read_toml(tmp_path / "run" / "run.toml")["record"]["device"]
    newest, refused = latest_valid_checkpoint(tmp_path / "run" / "checkpoints")
    assert newest.name == "step-000008" and not refused and not verify(newest)
    assert len((tmp_path / "run" / "scores.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_one_checkpoint(launcher, number, training, tmp_path):
    run = tmp_path / "run"
    process = launch(launcher, training(run, "--save-every", "100000", steps=40000))
    deadline = time.monotonic() + 600
    while not (run / "scores.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert said.count("error[") == 1 and f"stopped by signal {number}" in said, said
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["code"]) == ("stopped", 128 + number)
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert saved == ["step-000000", status["checkpoint"]]


@pytest.mark.slow
def test_torchrun_and_a_killed_process(training, tmp_path):
    run = tmp_path / "run"
    process = launch("torchrun", training(run), FAULT="1:11:SIGKILL")
    said, _ = process.communicate(timeout=600)
    assert process.returncode != 0
    assert said.count("error[8] process 1 exited unexpectedly") == 1, said
    assert json.loads((run / "status.json").read_text())["code"] == 8


@pytest.fixture(scope="session")
def undisturbed(worlds, training, shards, tmp_path_factory):
    """The weights of a run of two processes on packed images, which nothing has stopped."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    worlds.go(on_shards(training(run), shards))
    return (run / "backbone.safetensors").read_bytes()


def on_shards(words, shards):
    return [f"shards:{shards}" if word == "demo:32" else word for word in words]


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "shards"
    ssl_seg.pack("demo:32", out=out, canvas=32)
    return out


@pytest.mark.slow
def test_torchrun_restarts_a_killed_process_and_the_run_resumes(training, shards, undisturbed, tmp_path):
    """Process 1 is killed in step 6; the new processes go on from the checkpoint of step 4."""
    run = tmp_path / "run"
    words = [*on_shards(training(run), shards), "--auto-resume"]
    process = launch("elastic", words, FAULT="1:11:SIGKILL", PYTHONDONTWRITEBYTECODE="")
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert said.count("error[8] process 1 exited unexpectedly") == 1, said
    assert said.count("finished:") == 1
    assert (run / "backbone.safetensors").read_bytes() == undisturbed


@pytest.mark.slow
def test_ray_restarts_a_killed_worker_and_the_run_resumes(training, shards, undisturbed, tmp_path):
    """The example, on a cluster of this machine with two CPUs; worker 1 is killed in step 6."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[train]'")
    pytest.importorskip("pandas", reason="Ray Train is not installed: pip install 'ray[train]'")
    run = tmp_path / "run"
    start = "import ray, runpy, sys; ray.init(num_cpus=2, include_dashboard=False); "
    start += "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    words = map(str, on_shards(training(run), shards))
    environment = {"FAULT": "1:11:SIGKILL", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", start, RAY, "2", *[word for word in words if word != "train"]],
        env=os.environ
        | environment
        | {"SSL_SEG_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "process 1 exited unexpectedly" in (run / "run.log").read_text()
    assert (run / "backbone.safetensors").read_bytes() == undisturbed
