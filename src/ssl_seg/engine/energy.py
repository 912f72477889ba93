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
class EnergyCounter:
    """One counter of the hardware.

    Attributes:
        read: gives joules since some moment in the past.
        wraparound_joules: joules after which it starts again at 0.
    """

    read: Callable[[], float]
    wraparound_joules: float = math.inf


class EnergyMeter:
    """Joules since it was made. Ask often enough that no counter goes round twice in between.

    Attributes:
        is_available: whether each counter has answered so far, and there was one to ask.
    """

    def __init__(self, counters: list[EnergyCounter] | None) -> None:
        self._counters = counters or []
        self.is_available = counters is not None
        self._joules, self._last = 0.0, [0.0] * len(self._counters)
        self._last = self._read()

    def joules(self) -> float:
        """How many they are by now."""
        now = self._read()
        for counter, before, after in zip(self._counters, self._last, now, strict=True):
            self._joules += after - before + (counter.wraparound_joules if after < before else 0.0)
        self._last = now
        return self._joules

    def _read(self) -> list[float]:
        if self.is_available:
            try:
                return [counter.read() for counter in self._counters]
            except Exception:  # a driver that was updated under us, a file that is no longer readable
                self.is_available = False
        return self._last


def energy_meter_for(device: torch.device) -> EnergyMeter:
    """That of the GPU, or of all processors of this machine; on these the first process counts for all."""
    try:
        if device.type == "cuda":
            return EnergyMeter([_gpu(device)])
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return EnergyMeter([])
        return EnergyMeter(list(_processors()) or None)
    except Exception:  # no driver that counts, no permission: many machines do not tell
        return EnergyMeter(None)


def _gpu(device: torch.device) -> EnergyCounter:
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return EnergyCounter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)


def _processors() -> Iterator[EnergyCounter]:
    for folder in sorted(_POWERCAP.glob("intel-rapl:*")):  # AMD's carry the same name
        if (folder / "name").read_text().startswith("package"):
            wraparound_joules = _joules_in(folder / "max_energy_range_uj")
            yield EnergyCounter(partial(_joules_in, folder / "energy_uj"), wraparound_joules)


def _joules_in(file: Path) -> float:
    return int(file.read_text()) / 1e6
