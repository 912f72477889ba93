"""Trains small things in float64 with `fit`, and looks at images, as one of several processes.

Arguments: a folder for what comes of it.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from ssl_seg.augment import views as looks
from ssl_seg.augment.view_list import Views
from ssl_seg.base import IGNORE_INDEX, Model
from ssl_seg.data.image_cache import ImageCache
from ssl_seg.data.loader import Loader
from ssl_seg.engine.device import Device
from ssl_seg.engine.inference import extract_features
from ssl_seg.engine.loop import fit
from ssl_seg.engine.monitors import CollapseMonitor
from ssl_seg.engine.optim import build_optimizer, build_param_groups
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Schedule
from ssl_seg.engine.signals import SignalHandler
from ssl_seg.heads.deeplabv3 import DeepLabV3
from ssl_seg.heads.linear import Linear
from ssl_seg.methods.barlow_twins import BarlowTwins
from ssl_seg.methods.byol import BYOL
from ssl_seg.methods.densecl import DenseCL
from ssl_seg.methods.dino import DINO
from ssl_seg.methods.fastsiam import FastSiam
from ssl_seg.methods.mae import MAE
from ssl_seg.methods.moco_v2 import MoCoV2
from ssl_seg.methods.moco_v3 import MoCoV3
from ssl_seg.methods.nnclr import NNCLR
from ssl_seg.methods.pixpro import PixPro
from ssl_seg.methods.simclr import SimCLR
from ssl_seg.methods.simmim import SimMIM
from ssl_seg.methods.simsiam import SimSiam
from ssl_seg.methods.spark import SparK
from ssl_seg.methods.supcon import SupCon
from ssl_seg.methods.swav import SwAV
from ssl_seg.methods.vicreg import VICReg
from ssl_seg.methods.vicregl import VICRegL
from ssl_seg.methods.visreg import VISReg
from ssl_seg.metrics.mean_iou import MeanIoU
from ssl_seg.tasks.classification import ClassificationTask, mixup
from ssl_seg.tasks.segmentation import SegmentationTask, full_image_logits
from ssl_seg.testing import TinyBackbone, TinyTokens

SIZE, BATCH, COUNT, CLASSES, STEPS = 16, 12, 29, 3, 5
NAMES = [f"class {index}" for index in range(CLASSES)]


class Pictures(ImageCache):
    """Images of noise with masks; the masks of some have many more pixels without a class."""

    images = masks = torch.empty(0)  # in memory, not those of a file
    num_bytes, shard_lengths = 0, ()

    def __init__(self, count):
        random = np.random.default_rng(0)
        self.canvas, self.classes, self.num_skipped, self.fingerprint = SIZE, NAMES, 0, "noise"
        self.images = torch.from_numpy(random.integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8))
        masks = random.integers(0, CLASSES, (count, SIZE, SIZE), dtype=np.uint8)
        masks[random.random(masks.shape) < np.linspace(0.0, 0.9, count)[:, None, None]] = IGNORE_INDEX
        self.masks = torch.from_numpy(masks)
        self.targets = torch.from_numpy(random.integers(0, CLASSES, count))
        self.sizes = torch.full((count, 2), SIZE)
        self.sample_indices = torch.arange(count)

    def at(self, rows):
        return [self.images[rows], self.masks[rows]]

    def masks_at(self, rows):
        return self.masks[rows]

    def check(self):
        pass

    def moved_to(self, device):
        return [self.images.to(device), self.masks.to(device)]


def seen(batch, recipe):
    fixed = {"seed": 1, "epoch": batch.epoch, "size": SIZE}
    made = looks.augment(batch.images, recipe, batch.sizes, batch.samples, **fixed)
    return made.replaced([view.double() for view in made]).with_facts(targets=batch.targets)


class Idle(TinyBackbone):
    """With a norm that nothing looks at, as many of timm's networks have one."""

    def __init__(self):
        super().__init__()
        self.idle = torch.nn.LayerNorm(16)


def method(make, backbone=TinyBackbone, **options):
    def case():
        module = make(backbone(), **options)
        return module, lambda batch: seen(batch, module.views)

    return case


def classifier(mixed):
    def case():
        backbone = TinyBackbone()
        module = ClassificationTask(
            Model(backbone, Linear(backbone.channels, (2, 4), CLASSES)), label_smoothing=0.1
        )

        def look(batch):
            (images,) = seen(batch, [looks.View()])
            if not mixed:
                return [images, batch.targets]
            fixed = {"seed": 1, "epoch": batch.epoch}
            return list(mixup(images, batch.targets, CLASSES, 0.4, batch.samples, **fixed))

        return module, look

    return case


def segmenter(loss, weights=None):
    def case():
        backbone = TinyBackbone()
        head = DeepLabV3(backbone.channels, backbone.strides, CLASSES, width=8, dropout=0.0)
        module = SegmentationTask(Model(backbone, head, excluded=[2]), loss=loss, weights=weights)

        def look(batch):
            fixed = {"seed": 1, "epoch": batch.epoch, "size": SIZE}
            images, masks = looks.augment_with_masks(
                batch.images, batch.masks, batch.sizes, batch.samples, looks.View(), **fixed
            )
            return [images.double(), masks]

        return module, look

    return case


CASES = {
    "byol": (method(BYOL, hidden=16, dimensions=8), 1),
    "byol in two parts": (method(BYOL, hidden=16, dimensions=8), 2),
    "simclr": (method(SimCLR, hidden=16, dimensions=8), 1),
    "simsiam with an idle part": (method(SimSiam, Idle, dimensions=16, bottleneck=8), 1),
    "simsiam": (method(SimSiam, dimensions=16, bottleneck=8), 1),
    "fastsiam": (method(FastSiam, dimensions=16, bottleneck=8), 1),
    "moco_v2": (method(MoCoV2, dimensions=8, queue=40, splits=1), 1),
    "moco_v2 in two parts": (method(MoCoV2, dimensions=8, queue=40, splits=1), 2),
    "moco_v3": (method(MoCoV3, hidden=16, dimensions=8), 1),
    "nnclr": (method(NNCLR, hidden=16, dimensions=8, queue=20), 1),
    "barlow_twins": (method(BarlowTwins, hidden=16, dimensions=8), 1),
    "vicreg": (method(VICReg, hidden=16, dimensions=8), 1),
    "vicregl": (method(VICRegL, hidden=16, dimensions=8, cell_dimensions=8, crops=1, level=0), 1),
    "densecl": (method(DenseCL, dimensions=8, queue=40, splits=1), 1),
    "swav": (method(SwAV, hidden=16, dimensions=8, prototypes=6, crops=2), 1),
    "swav with a queue": (method(SwAV, hidden=16, dimensions=8, prototypes=6, crops=2, queue=24), 1),
    "visreg": (method(VISReg, hidden=16, dimensions=8, directions=32, crops=1), 1),
    "lejepa": (method(VISReg, hidden=16, dimensions=8, directions=32, regulariser="sigreg"), 1),
    "supcon": (method(SupCon, hidden=16, dimensions=8), 1),
    "pixpro": (method(PixPro, hidden=16, dimensions=8, instance=0.5), 1),
    "pixpro in two parts": (method(PixPro, hidden=16, dimensions=8), 2),
    "dino": (method(DINO, prototypes=12, hidden=16, bottleneck=8, crops=0), 1),
    "dino of tokens in two parts": (
        method(DINO, TinyTokens, prototypes=12, hidden=16, bottleneck=8, crops=0),
        2,
    ),
    "mae": (method(MAE, TinyTokens, decoder_width=16, decoder_depth=1, decoder_heads=2), 1),
    "mae in two parts": (method(MAE, TinyTokens, decoder_width=16, decoder_depth=1, decoder_heads=2), 2),
    "simmim": (method(SimMIM, TinyTokens, mask_patch=8), 1),
    "spark": (method(SparK, width=16), 1),
    "dclw": (method(SimCLR, hidden=16, dimensions=8, loss="dclw"), 1),
    "classify": (classifier(False), 1),
    "classify mixup": (classifier(True), 1),
    "segment": (segmenter("ce"), 1),
    "segment one image each": (segmenter("ce"), 6),
    "segment weights": (segmenter("ce", torch.tensor([0.2, 1.0, 2.0], dtype=torch.float64)), 1),
    "segment dice": (segmenter("ce+dice"), 1),
    "segment lovasz": (segmenter("lovasz"), 1),
}


def train(folder, case, parts, device):
    torch.manual_seed(0)
    module, look = case()
    exact = "lovasz" not in folder.name  # smp's is float32 alone
    module.to(torch.float64 if exact else torch.float32)
    batches = Loader(Pictures(COUNT), BATCH, 1, device.device, rank=device.rank, world_size=device.world_size)
    optimizer = build_optimizer("adamw" if exact else "sgd", build_param_groups(module, 1e-2), 1e-2)
    plan = Schedule(STEPS, batches.steps_per_epoch, BATCH, lr_at=lambda step: 1e-2, max_grad_norm=1.0)

    def feed(step):
        tensors = look(batches.batch_at(step))
        if isinstance(tensors, Views) and exact:
            return tensors.chunk(parts)
        cut = [(tensor if exact or tensor.ndim < 4 else tensor.float()).chunk(parts) for tensor in tensors]
        return [list(part) for part in zip(*cut, strict=True)]

    alarm = CollapseMonitor(every_n_steps=1, patience=10**6)
    with SignalHandler() as stop, Run(folder, main=device.is_main) as run:
        fit(module, feed, optimizer, plan, device=device, run=run, signals=stop, monitor=alarm)


def measure(device):
    """Features and confusion of 1 to 17 images in batches of 2, by number of images."""
    torch.manual_seed(0)
    backbone = TinyBackbone()
    model = Model(backbone, DeepLabV3(backbone.channels, backbone.strides, CLASSES, width=8)).eval()
    found = {}
    for count in range(1, 18):
        image_cache = Pictures(count)
        features, targets = extract_features(backbone, image_cache, device, size=SIZE, batch_size=2)
        metric, seen = MeanIoU(NAMES), []
        for logits, batch in full_image_logits(model, image_cache, device, batch_size=2):
            metric.update(logits, batch.masks)
            seen += batch.samples.tolist()
        found[count] = {"features": features, "targets": targets, "confusion": metric.confusion, "seen": seen}
    return found


if __name__ == "__main__":
    folder, device = Path(sys.argv[1]), Device("fp32", cpu=True)
    for name, (case, parts) in CASES.items():
        train(folder / name, case, parts, device)
        print(name, flush=True)
    torch.save(measure(device), folder / f"measured-{device.rank}.pt")
    device.barrier()
    device.destroy_process_group()
