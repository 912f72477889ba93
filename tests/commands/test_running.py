"""How a run's folder is left when something goes wrong."""

import json

import pytest
import torch

from ssl_seg.engine.run_dir import Run
from ssl_seg.errors import ResourceError, Stopped
from ssl_seg.utils.interrupt import Interrupted
from ssl_seg.workflows.run_status import record_exit_status


def beyond_all_memory():
    torch.empty(1 << 60, dtype=torch.uint8)


def beyond_a_gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def beyond_numpy():
    raise MemoryError


@pytest.mark.parametrize("cause", [beyond_all_memory, beyond_a_gpu, beyond_numpy])
def test_out_of_memory_is_no_bug(tmp_path, cause):
    with Run(tmp_path / "run") as run:
        with pytest.raises(ResourceError, match="out of memory") as caught, record_exit_status(run):
            cause()
        assert "--batch-size" in caught.value.next and "\n" not in caught.value.where
        status = json.loads((run.folder / "status.json").read_text())
    assert (status["state"], status["code"]) == ("failed", 6)


def test_another_runtime_error_stays_a_bug(tmp_path):
    with Run(tmp_path / "run") as run:
        with pytest.raises(RuntimeError, match="shapes"), record_exit_status(run):
            raise RuntimeError("shapes do not fit")
        assert json.loads((run.folder / "status.json").read_text())["code"] == 1


def test_a_signal_that_ends_the_work_at_once_has_stopped_it(tmp_path):
    with Run(tmp_path / "run") as run:
        with pytest.raises(Stopped) as caught, record_exit_status(run):
            raise Interrupted(15)
        assert caught.value.code == 143
        status = json.loads((run.folder / "status.json").read_text())
    assert (status["state"], status["code"]) == ("stopped", 143)
