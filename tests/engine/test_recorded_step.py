"""Steps that are replayed train what steps train that are computed: bit for bit, with operators noted on the CPU.

Whatever the host puts into a step while it is recorded (a rate, a decay, a draw) would show as a difference.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssl_seg.base import Model
from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.datasets.demo import DemoDataset
from ssl_seg.engine.device import Device
from ssl_seg.engine.loop import fit
from ssl_seg.engine.optim import build_optimizer, build_param_groups, lr_at_step, weight_decay_at_step
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.errors import Stopped
from ssl_seg.heads.linear import Linear
from ssl_seg.methods.barlow_twins import BarlowTwins
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.densecl import DenseCL
from ssl_seg.methods.dino import DINO
from ssl_seg.methods.mae import MAE
from ssl_seg.methods.moco_v2 import MoCoV2
from ssl_seg.methods.moco_v3 import MoCoV3
from ssl_seg.methods.nnclr import NNCLR
from ssl_seg.methods.pixpro import PixPro
from ssl_seg.methods.simclr import SimCLR
from ssl_seg.methods.simsiam import SimSiam
from ssl_seg.methods.spark import SparK
from ssl_seg.methods.supcon import SupCon
from ssl_seg.methods.swav import SwAV
from ssl_seg.methods.vicreg import VICReg
from ssl_seg.methods.vicregl import VICRegL
from ssl_seg.methods.visreg import VISReg
from ssl_seg.tasks.classification import ClassificationTask
from ssl_seg.testing import TinyBackbone, TinyTokens
from ssl_seg.workflows.batches import method_views, open_loader, pretrain_batches
from tests.recording import OperatorRecorder

STEPS = 10
NORMALIZATION = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
SMALL = {"hidden": 16, "dimensions": 8}
METHODS = {
    "byol": lambda: BYOL(TinyBackbone(), **SMALL),
    "simclr": lambda: SimCLR(TinyBackbone(), **SMALL),
    "simsiam": lambda: SimSiam(TinyBackbone(), dimensions=16, bottleneck=8),
    "moco_v2": lambda: MoCoV2(TinyBackbone(), dimensions=8, queue=40),
    "moco_v3": lambda: MoCoV3(TinyBackbone(), **SMALL),
    "nnclr": lambda: NNCLR(TinyBackbone(), **SMALL, queue=20),
    "barlow_twins": lambda: BarlowTwins(TinyBackbone(), **SMALL),
    "vicreg": lambda: VICReg(TinyBackbone(), **SMALL),
    "vicregl": lambda: VICRegL(TinyBackbone(), **SMALL, cell_dimensions=8, crops=1, level=0),
    "densecl": lambda: DenseCL(TinyBackbone(), dimensions=8, queue=40),
    "swav": lambda: SwAV(TinyBackbone(), **SMALL, prototypes=6, crops=2),
    "visreg": lambda: VISReg(TinyBackbone(), **SMALL, directions=32, crops=1),
    "supcon": lambda: SupCon(TinyBackbone(), **SMALL),
    "pixpro": lambda: PixPro(TinyBackbone(), **SMALL, instance=0.5),
    "dino": lambda: DINO(TinyBackbone(), prototypes=12, hidden=16, bottleneck=8, crops=0),
    "mae": lambda: MAE(TinyTokens(), decoder_width=16, decoder_depth=1, decoder_heads=2),
    "spark": lambda: SparK(TinyBackbone(), width=16),
}
EAGER = {"mae": "draws for each epoch", "spark": "draws for each epoch"}


@pytest.fixture(scope="module")
def image_cache(tmp_path_factory):
    return open_image_cache(DemoDataset("train", 32), 48, tmp_path_factory.mktemp("cache"))


def train(
    folder, image_cache, make, recorder, *, optimizer="adamw", accumulate=1, stop_after=STEPS, resume=False
):
    """Weights, optimizer state and scores after ten steps with all schedules there are."""
    torch.manual_seed(0)
    device, method = Device("fp32", cpu=True), make()
    device.recorder = recorder
    config = SimpleNamespace(batch_size=8, seed=0, size=32, accumulate=accumulate, compile=False)
    augmentation = method_views(method, config, NORMALIZATION)
    loader = open_loader(image_cache, config, device, augmentation.draw)
    batches, stop = pretrain_batches(loader, augmentation, method, config, STEPS), SignalHandler()

    def feed(step):
        stop.signal = 15 if step == stop_after else 0
        return batches(step)

    chosen = build_optimizer(optimizer, build_param_groups(method, 1e-3), 1e-2)
    plan = Schedule(
        STEPS,
        4,
        8,
        lr_at=lambda step: lr_at_step(step, STEPS, 1e-2, 2),
        max_grad_norm=1.0,
        weight_decay_at=lambda step: weight_decay_at_step(step, STEPS, 1e-3, 1e-2),
    )
    with Run(folder, resume=resume) as run:
        run.write_config({})
        fit(method, feed, chosen, plan, device=device, run=run, signals=stop)
        scores = [{name: line[name] for name in line if "second" not in name} for line in run.scores()]
    return method.state_dict(), chosen.state_dict()["state"], scores


def notes(folder):
    return (folder / "recorded" / "run.log").read_text()


def assert_same(one, two):
    for here, there in zip(one[:2], two[:2], strict=True):
        assert here.keys() == there.keys()
        for key in here:
            mine, theirs = (
                {"": each[key]} if torch.is_tensor(each[key]) else each[key] for each in (here, there)
            )
            assert all(torch.equal(mine[name], theirs[name]) for name in mine if mine[name] is not None), key
    assert one[2] == two[2]


@pytest.mark.parametrize("name", METHODS)
def test_ten_replayed_steps_are_ten_steps(name, image_cache, tmp_path):
    recorder = OperatorRecorder()
    eager = train(tmp_path / "eager", image_cache, METHODS[name], None)
    assert_same(train(tmp_path / "recorded", image_cache, METHODS[name], recorder), eager)
    if name in EAGER:
        assert (recorder.replays, notes(tmp_path).count("is not recorded")) == (0, 1)
        assert EAGER[name] in notes(tmp_path)
    else:
        assert (len(recorder.recordings), recorder.replays) == (1, STEPS), notes(tmp_path)


@pytest.mark.parametrize("given", [{"optimizer": "sgd"}, {"optimizer": "lars"}, {"accumulate": 2}], ids=str)
def test_whatever_steps_the_weights(given, image_cache, tmp_path):
    recorder = OperatorRecorder()
    eager = train(tmp_path / "eager", image_cache, METHODS["byol"], None, **given)
    assert_same(train(tmp_path / "recorded", image_cache, METHODS["byol"], recorder, **given), eager)
    assert recorder.replays == STEPS * given.get("accumulate", 1)


def test_a_resumed_run_records_anew_and_is_the_same(image_cache, tmp_path):
    eager = train(tmp_path / "eager", image_cache, METHODS["byol"], None)
    given = tmp_path / "recorded", image_cache, METHODS["byol"]
    with pytest.raises(Stopped):
        train(*given, OperatorRecorder(), stop_after=5)
    recorder = OperatorRecorder()
    assert_same(train(*given, recorder, resume=True), eager)
    assert 0 < recorder.replays < STEPS


class Scheduled(BYOL):
    """With a number of the host that changes in some steps, or in each; `hidden`: where nobody looks."""

    def __init__(self, kind):
        super().__init__(TinyBackbone(), **SMALL)
        self.kind, self.scale, self.counted, self.numbers = kind, 1.0, 0, [1.0]

    def training_step(self, views):
        self.counted += self.kind == "counts"
        out = super().training_step(views)
        if self.kind == "waits" and out["loss"] > 100:
            raise ValueError
        return out | {"loss": out["loss"] * self.scale * self.numbers[0] * (1 + self.counted)}

    def after_step(self, progress):
        super().after_step(progress)
        self.scale = {"twice": 1.0 if progress < 0.5 else 0.5, "each": 1.0 + progress}.get(self.kind, 1.0)
        self.numbers[0] = 1.0 + progress if self.kind == "hidden" else 1.0


@pytest.mark.parametrize(
    ("kind", "replays", "reason"),
    [
        ("twice", STEPS, ""),
        ("each", 8, "too often"),
        ("counts", 0, "changes counted of Scheduled"),
        ("waits", 0, "waits for a result"),
    ],
)
def test_numbers_of_the_host_are_those_of_the_step(kind, replays, reason, image_cache, tmp_path):
    recorder = OperatorRecorder()
    eager = train(tmp_path / "eager", image_cache, lambda: Scheduled(kind), None)
    assert_same(train(tmp_path / "recorded", image_cache, lambda: Scheduled(kind), recorder), eager)
    assert reason in notes(tmp_path)
    assert recorder.replays == replays


def test_control_a_number_that_is_baked_in_shows(image_cache, tmp_path):
    eager = train(tmp_path / "eager", image_cache, lambda: Scheduled("hidden"), None)
    with pytest.raises(AssertionError):
        assert_same(
            train(tmp_path / "recorded", image_cache, lambda: Scheduled("hidden"), OperatorRecorder()), eager
        )


def test_supervised_steps_of_several_shapes(tmp_path):
    """Plain lists of tensors; a last batch that is smaller is a recording of its own."""

    def run(folder, recorder):
        torch.manual_seed(0)
        device, backbone = Device("fp32", cpu=True), TinyBackbone()
        device.recorder = recorder
        task = ClassificationTask(
            Model(backbone, Linear(backbone.channels, backbone.strides, 3)), label_smoothing=0.1
        )
        optimizer = build_optimizer("sgd", build_param_groups(task, 1e-3), 1e-2)
        plan = Schedule(STEPS, 5, 8, lr_at=lambda step: 0.1 / (step + 1))

        def feed(step):
            generator = torch.Generator().manual_seed(step)
            count = 6 if step % 5 == 4 else 8
            images = torch.randn(count, 3, 16, 16, generator=generator)
            return [[images, torch.arange(count) % 3]]

        with Run(folder) as opened:
            fit(task, feed, optimizer, plan, device=device, run=opened, signals=SignalHandler())
            return task.state_dict(), optimizer.state_dict()["state"], []

    recorder = OperatorRecorder()
    assert_same(run(tmp_path / "recorded", recorder), run(tmp_path / "eager", None))
    assert (len(recorder.recordings), recorder.replays) == (2, STEPS)


def test_dropout_draws_as_it_would(tmp_path, image_cache):
    class Dropping(TinyBackbone):
        def forward(self, images):
            return [nn.functional.dropout(each, 0.5) for each in super().forward(images)]

    eager, recorded = (
        train(tmp_path / str(recorder is None), image_cache, lambda: BYOL(Dropping(), **SMALL), recorder)
        for recorder in (None, OperatorRecorder())
    )
    assert_same(recorded, eager)
