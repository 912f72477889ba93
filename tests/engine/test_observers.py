"""Observers that are objects: each hook with the arguments it wants, and steps only where one looks."""

from types import SimpleNamespace

import torch
from torch import nn

from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.observers import Observers
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def forward(self, points):
        return {"loss": (self.slope * points - points).square().mean(), "embedding": points[:, None]}


def test_every_hook_is_called_in_order(tmp_path):
    seen = []
    observer = SimpleNamespace(
        run_start=lambda run: seen.append(("run_start", run.folder)),
        step_end=lambda step, scores: seen.append((step, sorted(scores), scores["loss"].requires_grad)),
        epoch_end=lambda epoch, scores: seen.append(("epoch_end", epoch, scores["step"])),
        run_end=lambda: seen.append("run_end"),
    )
    module = Line()
    optimizer = torch.optim.SGD([{"params": [module.slope], "scale": 1.0}], lr=0.1)
    schedule = Schedule(total_steps=4, steps_per_epoch=2, batch_size=4, lr_at=lambda step: 0.1)
    with Run(tmp_path / "run") as run:
        run.write_config({})
        fit(
            module,
            lambda step: [torch.linspace(0, 1, 4)],
            optimizer,
            schedule,
            device=Device("fp32", cpu=True),
            run=run,
            signals=SignalHandler(),
            observers=[observer],
        )
    step = (["loss"], False)
    steps = [(1, *step), (2, *step), ("epoch_end", 1, 2), (3, *step), (4, *step), ("epoch_end", 2, 4)]
    assert seen == [("run_start", tmp_path / "run"), *steps, "run_end"]


def test_the_scalars_of_a_step_are_read_only_for_an_observer_of_steps():
    class Untouchable(dict):
        def items(self):
            raise AssertionError

    Observers([SimpleNamespace(epoch_end=print)], run=None).step_end(1, Untouchable())
