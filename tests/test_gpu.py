"""What only a GPU can show: `pytest -m gpu`."""

import pytest
import torch

from ssl_seg.augment import stateless_rng
from ssl_seg.augment.draws import Draws
from ssl_seg.augment.recipes import BYOL_VIEWS
from ssl_seg.augment.views import Augmentation, augment
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.loader import Loader
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.engine import metric_logger
from ssl_seg.engine.deterministic import deterministic
from ssl_seg.engine.device import Device
from ssl_seg.engine.energy import energy_meter_for
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.errors import HealthError
from ssl_seg.methods.byol import BYOL
from ssl_seg.testing import TinyBackbone

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def image_cache(tmp_path):
    return open_image_cache(DemoDataset("train", 64), 48, tmp_path / "stores")


def test_chance_has_the_same_bits_on_the_gpu():
    samples = torch.arange(1000)
    here = stateless_rng.uniform(3, 2, 1, samples, 34)
    there = stateless_rng.uniform(3, 2, 1, samples.cuda(), 34)
    assert torch.equal(here, there.cpu())


def test_views_on_the_gpu_are_those_of_the_cpu(image_cache):
    torch.set_float32_matmul_precision("highest")
    ids = torch.arange(64)
    images = image_cache.images[ids]
    common = {"seed": 0, "epoch": 1, "size": 32}
    here = augment(images, BYOL_VIEWS, image_cache.sizes[ids], ids, **common)
    there = augment(images.cuda(), BYOL_VIEWS, image_cache.sizes[ids], ids, **common)
    for one, two in zip(here, there, strict=True):
        # a pixel within rounding of the solarization threshold may fall on either side
        far = ((one - two.cpu()).abs() > 1e-3).float().mean()
        assert far < 1e-3


def test_streamed_batches_are_those_of_the_resident_store(image_cache):
    cuda = torch.device("cuda")
    resident, streamed = Loader(image_cache, 8, 0, cuda), Loader(image_cache, 8, 0, cuda, memory_fraction=0.0)
    assert resident.on_device and not streamed.on_device
    for step in (0, 1, 2, 9, 3):
        assert torch.equal(resident.batch_at(step).images, streamed.batch_at(step).images)


def _train(image_cache, folder, *, steps, total=8, resume=False, spoil=-1):
    torch.manual_seed(0)
    device = Device()
    method = BYOL(TinyBackbone(), hidden=32, dimensions=16)
    optimizer = build_optimizer("adamw", build_param_groups(method, 1e-4), 1e-3)
    batches = Loader(image_cache, 8, 0, device.device)
    stop = SignalHandler()

    def feed(step):
        b = batches.batch_at(step)
        views = augment(b.images, BYOL_VIEWS, b.sizes, b.samples, seed=0, epoch=b.epoch, size=32)
        if step == spoil:
            views[0][0] = float("nan")
        if step + 1 >= steps:
            stop.signal = 15
        return [views]

    plan = Schedule(
        total_steps=total, steps_per_epoch=8, batch_size=8, lr_at=lambda step: 1e-3, save_every_steps=2
    )
    with Run(folder, resume=resume) as run:
        try:
            fit(method, feed, optimizer, plan, device=device, run=run, signals=stop)
        except BaseException as error:
            return method, error
    return method, None


def test_a_resumed_run_on_the_gpu_is_bit_exact(image_cache, tmp_path):
    with deterministic():
        whole, error = _train(image_cache, tmp_path / "whole", steps=99)
        assert error is None
        _train(image_cache, tmp_path / "parts", steps=4)
        parts, error = _train(image_cache, tmp_path / "parts", steps=99, resume=True)
    assert error is None
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


COMMANDS = {
    "train": ("train", "demo:32", "--backbone", "resnet18"),
    "classify": ("classify", "demo:32", "--val", "demo:16", "--backbone", "resnet18"),
    **{
        f"segment {head} {loss}": (
            *("segment", "demo_masks:16", "--val", "demo_masks:8", "--backbone", "resnet18"),
            *("--head", head, "--loss", loss),
        )
        for head, loss in (("deeplabv3", "ce"), ("fcn32s", "ce+dice"), ("fcn32s", "ce+lovasz"))
    },
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_deterministic_runs_on_the_gpu_have_the_same_bits(words, cli, tmp_path):
    common = ("--image-size", 64, "--batch-size", 8, "--epochs", 2, "--deterministic")
    files = []
    for name in ("one", "two"):
        code, _, err = cli(*words, *common, "--out", tmp_path / name)
        assert code == 0, err
        files.append((tmp_path / name / "backbone.safetensors").read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("memory_fraction", [0.0, 0.5], ids=["streamed", "resident"])
def test_ten_steps_wait_for_nothing(image_cache, tmp_path, monkeypatch, memory_fraction):
    monkeypatch.setattr(metric_logger, "_INTERVAL", 1e9)  # the loss is read for the progress display
    device, method = Device(), BYOL(TinyBackbone(), hidden=32, dimensions=16)
    optimizer = build_optimizer("adamw", build_param_groups(method, 1e-4), 1e-3)
    looks = Augmentation(BYOL_VIEWS, 32)
    batches = Loader(image_cache, 8, 0, device.device, memory_fraction=memory_fraction, draw=looks.draw)

    def feed(step):
        torch.cuda.set_sync_debug_mode("error" if 3 <= step < 13 else "default")
        batch = batches.batch_at(step)
        return [looks.make(batch.images, Draws(*batch.draws), batch.epoch)]

    plan = Schedule(total_steps=16, steps_per_epoch=16, batch_size=8, lr_at=lambda step: 1e-3)
    try:
        with Run(tmp_path / "run") as run:
            fit(method, feed, optimizer, plan, device=device, run=run, signals=SignalHandler())
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nan_on_the_gpu_stops_before_a_weight_moves(image_cache, tmp_path):
    method, error = _train(image_cache, tmp_path / "run", steps=99, spoil=3)
    assert isinstance(error, HealthError)
    assert all(torch.isfinite(tensor).all() for tensor in method.parameters())


def test_the_energy_of_work_is_counted():
    energy = energy_meter_for(torch.device("cuda"))
    assert energy.known
    one = torch.rand(4096, 4096, device="cuda")
    for _ in range(200):
        one = one @ one / one.norm()
    torch.cuda.synchronize()
    assert 0 < energy.joules() < 1e6
