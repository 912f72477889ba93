"""The counters of a machine: here files and a driver that the test turns."""

import sys
from types import SimpleNamespace

import pytest
import torch

from ssl_seg.engine import energy as module
from ssl_seg.engine.energy import EnergyCounter, EnergyMeter, energy_meter_for

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """Two processors, the cores of one, and a package in the older way of counting, as Linux shows them."""
    monkeypatch.setattr(module, "_POWERCAP", tmp_path)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, what, used in (
        ("intel-rapl:0", "package-0", 1_000_000),
        ("intel-rapl:0:0", "core", 7_000_000),
        ("intel-rapl:1", "package-1", 261_000_000),
        ("intel-rapl-mmio:0", "package-0", 1_000_000),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(f"{what}\n")
        (tmp_path / name / "energy_uj").write_text(f"{used}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("262000000\n")
    return tmp_path


def use(powercap, name, used):
    (powercap / name / "energy_uj").write_text(f"{used}\n")


def test_all_processors_count_and_nothing_twice(powercap):
    energy = energy_meter_for(CPU)
    assert energy.is_available and energy.joules() == 0
    use(powercap, "intel-rapl:0", 3_500_000)
    use(powercap, "intel-rapl:0:0", 9_000_000)  # is in the package's
    use(powercap, "intel-rapl-mmio:0", 3_500_000)  # is the package again
    assert energy.joules() == pytest.approx(2.5)


def test_a_counter_that_starts_again_is_followed(powercap):
    energy = energy_meter_for(CPU)
    for used, joules in ((261_500_000, 0.5), (250_000, 1.25), (750_000, 1.75)):
        use(powercap, "intel-rapl:1", used)
        assert energy.joules() == pytest.approx(joules)


def test_the_first_process_of_a_machine_counts_for_all(powercap, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    energy = energy_meter_for(CPU)
    use(powercap, "intel-rapl:0", 9_000_000)
    assert energy.is_available and energy.joules() == 0


def test_many_machines_do_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_POWERCAP", tmp_path)
    assert not energy_meter_for(CPU).is_available
    (tmp_path / "intel-rapl:0").mkdir()  # and nothing in it may be read
    assert not energy_meter_for(CPU).is_available
    assert energy_meter_for(CPU).joules() == 0


@pytest.fixture
def driver(monkeypatch):
    """A driver of two GPUs, of which this process has one."""
    used = {"GPU-aa-bb": 5_000_000, "GPU-cc-dd": 0}
    monkeypatch.setitem(
        sys.modules,
        "pynvml",
        SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByUUID=lambda uuid: {key: key for key in used}[uuid],
            nvmlDeviceGetTotalEnergyConsumption=lambda handle: used[handle],
        ),
    )
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(uuid=["aa-bb", "ee-ff"][device.index]),
    )
    return used


def test_a_gpu_is_found_by_its_number_for_life(driver):
    """The order of the driver is not that of torch."""
    energy = energy_meter_for(GPU)
    driver["GPU-aa-bb"] += 2500  # millijoules
    driver["GPU-cc-dd"] += 99_000
    assert energy.joules() == pytest.approx(2.5)


def test_a_gpu_that_the_driver_does_not_count(driver):
    assert not energy_meter_for(torch.device("cuda", 1)).is_available


def test_a_counter_that_falls_silent_makes_all_of_it_unknown():
    said = iter([1.0, 2.0])
    energy = EnergyMeter([EnergyCounter(lambda: next(said))])
    assert energy.joules() == 1.0 and energy.is_available
    assert energy.joules() == 1.0 and not energy.is_available
