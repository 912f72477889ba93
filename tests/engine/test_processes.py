"""Two processes on the CPU train one model."""

import os
import subprocess
import sys

import pytest

from ssl_seg.engine.checkpoint import newest_checkpoint, verify
from ssl_seg.run import read_toml


@pytest.mark.slow
def test_two_processes_make_one_run(tmp_path):
    """They divide each batch, and one of them locks the folder and writes."""
    tiny = tmp_path / "tiny.py"
    tiny.write_text("from ssl_seg.testing import TinyBackbone\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "ssl_seg", "train", "demo:64", "--cpu", "--backbone", f"{tiny}:TinyBackbone"]
    command += ["--image-size", "16", "--batch-size", "16", "--epochs", "2", "--out", str(tmp_path / "run")]
    result = subprocess.run(
        command,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("finished:") == 1
    assert "2 processes" in read_toml(tmp_path / "run" / "run.toml")["record"]["device"]
    newest, refused = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert newest.name == "step-000008" and not refused and not verify(newest)
    assert len((tmp_path / "run" / "scores.jsonl").read_text().splitlines()) == 2
