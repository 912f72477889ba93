"""Batches made on a stream of their own: the order of what streams are told, with stand-ins for streams."""

from contextlib import contextmanager

import pytest
import torch

from ssl_seg.augment.view_list import Geometry, Source, Views
from ssl_seg.engine.side_stream import SideStream


class Stream:
    """Notes what it is told."""

    def __init__(self, name, told):
        self.name, self.told, self.device = name, told, torch.device("cuda", 0)

    def wait_stream(self, other):
        self.told.append((self.name, "waits for all of", other.name))

    def record_event(self):
        self.told.append((self.name, "marks"))
        return len(self.told)

    def wait_event(self, event):
        self.told.append((self.name, "waits for mark", event))


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True
    told = None

    def record_stream(self, stream):
        self.told.append((stream.name, "reads", tuple(self.shape)))


@pytest.fixture
def told(monkeypatch):
    told, current = [], []
    main = Stream("main", told)

    @contextmanager
    def inside(stream):
        current.append(stream)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", told))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current[-1] if current else main)
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(OnGpu, "told", told)
    return told


def on_gpu(*shape):
    return torch.zeros(*shape).as_subclass(OnGpu)


def test_only_the_step_that_needs_a_batch_waits_for_it(told):
    def batches(step):
        told.append((torch.cuda.current_stream().name, "makes", step))
        geometry = Geometry(on_gpu(5, 4), on_gpu(2, 5), on_gpu(5))
        source = Source(torch.zeros(5, 2), torch.zeros(5), 0, 0)
        return [Views([on_gpu(5, 3, 8, 8)], [geometry], source), [on_gpu(7), torch.zeros(9)]]

    feed = SideStream(batches, torch.device("cuda"))
    assert told == [("side", "waits for all of", "main")]
    told.clear()
    inputs = feed(4)
    assert told == [("side", "makes", 4), ("side", "marks")]
    told.clear()
    assert feed.ready(inputs) is inputs
    first, *reads = told
    assert first == ("main", "waits for mark", 2)
    assert [shape for name, what, shape in reads] == [(5, 3, 8, 8), (5, 4), (2, 5), (5,), (7,)]
    assert {(name, what) for name, what, _ in reads} == {("main", "reads")}


def test_on_the_cpu_nothing_happens():
    feed = SideStream(lambda step: [[torch.tensor(step)]], torch.device("cpu"))
    inputs = feed(3)
    assert feed.ready(inputs) is inputs and inputs == [[torch.tensor(3)]]
