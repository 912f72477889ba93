"""Checkpoints are written beside the training; what fails there is not lost."""

import threading

import pytest
import torch
from torch import nn

from ssl_seg.engine.checkpoint_writer import CheckpointWriter
from ssl_seg.errors import ResourceError
from ssl_seg.weights.checkpoint import take_snapshot


@pytest.fixture
def writer():
    made = CheckpointWriter()
    yield made
    made.close(ResourceError("told already"))


def state(value=1.0):
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for each in module.state_dict().values():
            each.fill_(value)
    optimizer = torch.optim.AdamW(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return module, optimizer


def test_what_is_written_is_the_state_of_that_step(writer):
    """Training goes on before the thread has read anything."""
    go, found = threading.Event(), []

    def write(snapshot):
        assert go.wait(60)
        found.append(snapshot)

    module, optimizer = state()
    numbers = {"notes": {"spread": 1.0}}
    expected = {name: each.clone() for name, each in module.state_dict().items()}
    writer.start(take_snapshot(3, module, optimizer, numbers), write)
    numbers["notes"]["spread"] = 2.0
    moments = optimizer.state[module[0].weight]["exp_avg"].clone()
    optimizer.step()
    module[1].running_mean.fill_(9.0)
    assert not found
    writer.check()  # does not wait
    go.set()
    writer.finish()
    (snapshot,) = found
    assert (snapshot.step, b'"spread": 1.0' in snapshot.state) == (3, True)
    assert all(torch.equal(snapshot.model[name], each) for name, each in expected.items())
    assert torch.equal(snapshot.optimizer["0.exp_avg"], moments)
    assert not torch.equal(module[0].weight, expected["0.weight"])


def test_one_is_written_at_a_time_into_memory_that_is_used_again(writer):
    busy, places = threading.Lock(), []

    def write(snapshot):
        assert busy.acquire(blocking=False)
        places.append([each.data_ptr() for each in snapshot.model.values()])
        busy.release()

    for step in range(4):
        writer.start(take_snapshot(step, *state(step), {}), write)
    writer.finish()
    assert len(places) == 4 and places[0] == places[3]


@pytest.mark.parametrize("call", ["check", "start", "finish", "close"])
def test_a_failure_is_raised_once_by_what_comes_next(writer, call):
    def fail(snapshot):
        raise ResourceError("no space")

    snapshot = take_snapshot(1, *state(), {})
    writer.start(snapshot, fail)
    writer._pool.submit(lambda: None).result(60)  # the thread has done all before that
    given = {"start": (snapshot, fail), "close": (None,)}.get(call, ())
    with pytest.raises(ResourceError, match="no space"):
        getattr(writer, call)(*given)
    writer.check()


def test_beside_another_error_a_failure_is_noted(caplog):
    def fail(snapshot):
        raise ResourceError("no space")

    writer = CheckpointWriter()
    writer.start(take_snapshot(1, *state(), {}), fail)
    writer.close(KeyError("first"))
    assert "a checkpoint could not be written: no space" in caplog.text
