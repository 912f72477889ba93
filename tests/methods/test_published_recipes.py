"""`recipe=paper`: rate, weight decay and moving average over a whole run are the published formulas.

The formulas are written down here, in epochs of the paper's own run. Our warm-up is one step ahead of most
authors', so that the first step learns.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from ssl_seg.engine.recipe import trouble_in
from ssl_seg.engine.schedule import set_rates
from ssl_seg.nn.tiny_backbone import TinyBackbone, TinyTokens
from ssl_seg.plugins import load_plugins
from ssl_seg.utils.options import check_options
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.optimization import configure_optimizer

STEPS = 7  # of an epoch


@dataclass
class Published:
    """A paper's run. The rate is that of its own batch."""

    epochs: int
    batch: int
    optimizer: str
    lr: float
    warmup: float = 0.0  # epochs
    lr_end: float = 0.0
    weight_decay: float = 1e-4
    weight_decay_end: float | None = None  # along half a cosine over the whole run; None: it stays
    momentum: float | None = None  # of the target network at the start; None: there is none
    rises: bool = True  # to 1, along half a cosine

    def rate(self, epoch):
        if epoch < self.warmup:
            return self.lr * epoch / self.warmup
        done = (epoch - self.warmup) / (self.epochs - self.warmup)
        return self.lr_end + (self.lr - self.lr_end) * (1 + math.cos(math.pi * done)) / 2

    def weight_decay_at(self, epoch):
        if self.weight_decay_end is None:
            return self.weight_decay
        gap = self.weight_decay - self.weight_decay_end
        return self.weight_decay_end + gap * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def decay(self, epoch):
        if not self.rises:
            return self.momentum
        return 1 - (1 - self.momentum) * (math.cos(math.pi * epoch / self.epochs) + 1) / 2


PAPERS = {
    "byol": Published(1000, 4096, "lars", 3.2, 10, weight_decay=1.5e-6, momentum=0.996),
    "simclr": Published(1000, 4096, "lars", 4.8, 10, weight_decay=1e-6),
    "simsiam": Published(100, 512, "sgd", 0.1),
    "fastsiam": Published(25, 32, "sgd", 0.05 / 8),
    "moco_v2": Published(200, 256, "sgd", 0.03, momentum=0.999, rises=False),
    "moco_v3": Published(1000, 4096, "lars", 4.8, 10, weight_decay=1.5e-6, momentum=0.996),
    "nnclr": Published(1000, 4096, "lars", 4.8, 10, weight_decay=1e-6),
    "swav": Published(400, 256, "lars", 0.6, lr_end=0.0006, weight_decay=1e-6),
    "dino": Published(100, 256, "adamw", 5e-4, 10, 1e-6, 0.04, 0.4, momentum=0.996),
    "mae": Published(1600, 4096, "adamw", 2.4e-3, 40, weight_decay=0.05),
    "simmim": Published(100, 2048, "adamw", 8e-4, 10, 4e-5, 0.05),
    "distill": Published(300, 2048, "adamw", 1.2e-3, 10, 2e-5, 0.05),
    "barlow_twins": Published(1000, 2048, "lars", 1.6, 10, weight_decay=1e-6),
    "vicreg": Published(1000, 2048, "lars", 1.6, 10, 0.0016, 1e-6),
    "vicregl": Published(300, 2048, "lars", 2.4, 10, 0.0024, 1e-6),
    "visreg": Published(100, 128, "adamw", 9e-4, 5, 9e-7, 0.05),
    "densecl": Published(200, 256, "sgd", 0.03, momentum=0.999, rises=False),
    "pixpro": Published(400, 1024, "lars", 1.0, 5, weight_decay=1e-5, momentum=0.99),
    "spark": Published(1600, 4096, "adamw", 3.2e-3, 40, 3.2e-6, 0.04, 0.2),
    "supcon": Published(1000, 1024, "sgd", 0.5, 10, 0.0005),
}
# to build quickly: no schedule knows of them
SMALL = {
    "hidden": "8",
    "width": "16",
    "dimensions": "4",
    "queue": "8",
    "predictor_hidden": "8",
    "prototypes": "8",
}


def built(registry, name):
    factory = registry.factory("ssl", name)
    small = {key: SMALL[key] for key in factory.paper.options if key in SMALL} | {"recipe": "paper"}
    return registry.build("ssl", name, tiny(factory), options=small)


def tiny(factory):
    return TinyTokens() if factory.network == "transformer" else TinyBackbone()


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


def test_every_method_has_its_papers_values(registry):
    ours = [name for name in registry.names("ssl") if str(registry.providers("ssl", name)[0]) == "ssl-seg"]
    assert set(ours) == set(PAPERS)
    for name in ours:
        factory = registry.factory("ssl", name)
        assert not trouble_in(factory.paper.recipe), name
        assert check_options(factory, name, {"recipe": "paper"}) == dict(factory.paper.options)
        with torch.device("meta"):
            method = registry.build("ssl", name, tiny(factory), options={"recipe": "paper"})
        assert method.recipe == factory.paper.recipe != factory.recipe


@pytest.mark.parametrize("name", PAPERS)
def test_rate_and_weight_decay_are_the_published_ones(registry, name):
    paper, method = PAPERS[name], built(registry, name)
    assert (method.paper.epochs, method.paper.batch_size) == (paper.epochs, paper.batch)
    config = PretrainConfig(epochs=paper.epochs, batch_size=paper.batch).resolved(method.recipe, name)
    optimizer, plan = configure_optimizer(config, method, STEPS)
    assert (config.optimizer, plan.total_steps) == (paper.optimizer, paper.epochs * STEPS)
    warm = round(paper.warmup * STEPS)
    for step in (0, warm // 2, warm, plan.total_steps // 2, plan.total_steps - 1):
        rate, ahead = set_rates(optimizer, plan, step), 1 if step < warm else 0
        assert rate == pytest.approx(paper.rate((step + ahead) / STEPS)), step
        found = {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
        if name not in ("simsiam", "swav", "dino"):  # which have parts with rates of their own
            decays = (rate, pytest.approx(paper.weight_decay_at(step / STEPS)))
            assert all(each in (decays, (rate, 0.0)) for each in found) and decays in list(found)
    assert plan.lr_at(warm) == pytest.approx(paper.lr)


@pytest.mark.parametrize("name", [name for name, paper in PAPERS.items() if paper.momentum])
def test_the_target_moves_as_published(registry, name):
    paper, method = PAPERS[name], built(registry, name)
    for progress in (1 / (paper.epochs * STEPS), 0.25, 0.5, 1.0):
        for parameter in method.parameters():
            parameter.data.fill_(float(parameter.requires_grad))
        method.after_step(progress)
        decay = paper.decay(progress * paper.epochs)
        moved = [parameter for parameter in method.parameters() if not parameter.requires_grad]
        assert moved
        for parameter in moved:
            torch.testing.assert_close(parameter, torch.full_like(parameter, 1 - decay), rtol=1e-4, atol=1e-7)


def test_dinos_weight_decay_rises_while_its_rate_falls(registry):
    paper, method = PAPERS["dino"], built(registry, "dino")
    config = PretrainConfig(epochs=paper.epochs, batch_size=paper.batch).resolved(method.recipe, "dino")
    optimizer, plan = configure_optimizer(config, method, STEPS)
    for step in (0, plan.total_steps // 2, plan.total_steps - 1):
        rate = set_rates(optimizer, plan, step)
        assert max(group["lr"] for group in optimizer.param_groups) == rate
        decay = max(group["weight_decay"] for group in optimizer.param_groups)
        assert decay == pytest.approx(paper.weight_decay_at(step / STEPS))
    assert plan.max_grad_norm == 3.0


def test_the_predictor_of_simsiam_keeps_its_rate(registry):
    method = built(registry, "simsiam")
    config = PretrainConfig(epochs=100, batch_size=512).resolved(method.recipe, "simsiam")
    optimizer, plan = configure_optimizer(config, method, STEPS)
    predictor = {id(parameter) for parameter in method.predictor.parameters()}
    set_rates(optimizer, plan, plan.total_steps - 1)
    for group in optimizer.param_groups:
        constant = all(id(parameter) in predictor for parameter in group["params"])
        assert group["lr"] == (0.1 if constant else pytest.approx(0.0, abs=1e-6))


def test_adamws_rate_for_transformers_grows_with_the_batch(registry):
    """1.5e-4 x batch / 256, 40 of 300 epochs of warm-up, weight decay 0.1 (MoCo v3)."""
    recipe = built(registry, "moco_v3").recipe
    config = PretrainConfig(optimizer="adamw", batch_size=4096).resolved(recipe, "moco_v3")
    assert config.lr == pytest.approx(1.5e-4 * 16)
    assert (config.weight_decay, config.warmup) == (0.1, pytest.approx(40 / 300))
