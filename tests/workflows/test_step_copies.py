"""Of everything a training step needs, one block is copied to the device: counted on `meta`, without a GPU."""

from types import SimpleNamespace

import pytest
import torch

from ssl_seg.data import loader as module
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.dino import DINO
from ssl_seg.methods.mae import MAE
from ssl_seg.methods.pixpro import PixPro
from ssl_seg.methods.supcon import SupCon
from ssl_seg.methods.swav import SwAV
from ssl_seg.methods.vicregl import VICRegL
from ssl_seg.testing import TinyBackbone, TinyTokens
from ssl_seg.workflows.batches import method_views, open_loader, pretrain_batches
from tests.counting import META, DeviceCounter

CONFIG = SimpleNamespace(batch_size=8, seed=0, size=32, accumulate=2, compile=False)
NORMALIZATION = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
METHODS = {
    "byol": lambda: BYOL(TinyBackbone(), hidden=16, dimensions=8),
    "supcon": lambda: SupCon(TinyBackbone(), hidden=16, dimensions=8),
    "swav": lambda: SwAV(TinyBackbone(), hidden=16, dimensions=8, prototypes=6, crops=2),
    "pixpro": lambda: PixPro(TinyBackbone(), hidden=16, dimensions=8),
    "vicregl": lambda: VICRegL(TinyBackbone(), hidden=16, dimensions=8, cell_dimensions=8, crops=1, level=0),
    "dino": lambda: DINO(TinyBackbone(), prototypes=12, hidden=16, bottleneck=8, crops=0),
    "mae": lambda: MAE(TinyTokens(), decoder_width=16, decoder_depth=1, decoder_heads=2),
}


@pytest.fixture(scope="module")
def image_cache(tmp_path_factory):
    return open_image_cache(DemoDataset("train", 32), 48, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_a_step_of_a_method_takes_one_copy(image_cache, monkeypatch, make, resident):
    monkeypatch.setattr(module, "fits_on_device", lambda *_: resident)
    method = make().to(META)
    augmentation = method_views(method, CONFIG, NORMALIZATION)
    device = SimpleNamespace(device=META, rank=0, world_size=1)
    loader = open_loader(image_cache, CONFIG, device, augmentation.draw)
    assert loader.on_device == resident
    batches = pretrain_batches(loader, augmentation, method, CONFIG, total_steps=10)
    optimizer = torch.optim.AdamW(method.parameters(), fused=False)

    def train(step):
        for part in batches(step):
            method(part)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(0.5)

    train(0)  # constants reach the device once
    for step in (1, 2):
        with DeviceCounter() as counter:
            train(step)
        assert counter.copies.total() == 1, counter.copies
        assert counter.launches.total() > 100
