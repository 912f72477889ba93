"""What a run costs in energy, where the machine tells: by the counters of the GPU, or of the processor.

A counter counts for the whole chip, whoever uses it.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

_POWERCAP = Path("/sys/class/powercap")  # Linux; since 5.10 the administrator alone may read it


@dataclass
class Counter:
    """One counter of the hardware.

    Attributes:
        read: gives joules since some moment in the past.
        span: joules after which it starts again at 0.
    """

    read: Callable[[], float]
    span: float = math.inf


class Energy:
    """Joules since it was made. Ask often enough that no counter goes round twice in between.

    Attributes:
        known: whether each counter has answered so far, and there was one to ask.
    """

    def __init__(self, counters: list[Counter] | None) -> None:
        self._counters = counters or []
        self.known = counters is not None
        self._joules, self._last = 0.0, [0.0] * len(self._counters)
        self._last = self._read()

    def joules(self) -> float:
        """How many they are by now."""
        now = self._read()
        for counter, before, after in zip(self._counters, self._last, now, strict=True):
            self._joules += after - before + (counter.span if after < before else 0.0)
        self._last = now
        return self._joules

    def _read(self) -> list[float]:
        if self.known:
            try:
                return [counter.read() for counter in self._counters]
            except Exception:  # a driver that was updated under us, a file that is no longer readable
                self.known = False
        return self._last


def energy_of(device: torch.device) -> Energy:
    """That of the GPU, or of all processors of this machine; on these the first process counts for all."""
    try:
        if device.type == "cuda":
            return Energy([_gpu(device)])
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return Energy([])
        return Energy(list(_processors()) or None)
    except Exception:  # no driver that counts, no permission: many machines do not tell
        return Energy(None)


def _gpu(device: torch.device) -> Counter:
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)


def _processors() -> Iterator[Counter]:
    for folder in sorted(_POWERCAP.glob("intel-rapl:*")):  # AMD's carry the same name
        if (folder / "name").read_text().startswith("package"):
            span = _joules_in(folder / "max_energy_range_uj")
            yield Counter(partial(_joules_in, folder / "energy_uj"), span)


def _joules_in(file: Path) -> float:
    return int(file.read_text()) / 1e6
