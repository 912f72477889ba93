"""A backbone so small that a whole run takes a moment; on demand something happens in one process."""

import os
import signal
from typing import Any

from torch import Tensor, nn

from ssl_seg.base import Backbone


class TinyBackbone(Backbone):
    """`FAULT=1:5:SIGKILL`: in the fifth forward pass of a training step, process 1 gets that signal;
    `raise` in its place is an error there. `FAULT=0:saved:SIGSTOP`: right after its second checkpoint."""

    channels, strides = (8, 16), (2, 4)

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.passes = 0
        if os.environ.get("RANK") == "0" and os.environ.get("FAULT", "").startswith("0:saved:"):
            strike_after_saving(getattr(signal, os.environ["FAULT"].rpartition(":")[2]))

    def forward(self, images: Tensor) -> list[Tensor]:
        one = self.one(images)
        if self.training and one.requires_grad:
            self.passes += 1
            rank, passes, what = os.environ.get("FAULT", "-1:0:-").split(":")
            if (rank, passes) == (os.environ.get("RANK"), str(self.passes)):
                if what == "raise":
                    raise KeyError("a bug in process 1 alone")
                os.kill(os.getpid(), getattr(signal, what))
        return [one, self.dropout(self.two(one))]


def strike_after_saving(number: int) -> None:
    from ssl_seg.engine import checkpoint_manager

    real, count = checkpoint_manager.write_checkpoint, [0]

    def save(*given: Any) -> Any:
        made = real(*given)
        count[0] += 1
        if count[0] == 2:
            os.kill(os.getpid(), number)
        return made

    checkpoint_manager.write_checkpoint = save
