"""`ssl-seg segment`: train a network that tells the class of every pixel."""

from pathlib import Path
from typing import Annotated

import typer

from ssl_seg.commands import flags, mask_flags
from ssl_seg.commands.config import settings
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import UsageError
from ssl_seg.utils.text import short
from ssl_seg.workflows.config import SegmentationConfig
from ssl_seg.workflows.finetune import finetune_by_names
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.segment import SEGMENTATION


@from_python
def segment(
    train: flags.TrainMasks = None,
    val: flags.ValMasks = None,
    allow_overlap: flags.AllowOverlap = False,
    backbone: flags.ModelBackbone = None,
    init: flags.Init = None,
    freeze: flags.Freeze = False,
    head: Annotated[str, typer.Option(help="fcn32s, deeplabv3, or smp:NAME as smp:Unet.")] = "deeplabv3",
    epochs: flags.Epochs = 50,
    batch_size: flags.BatchSize = 8,
    image_size: mask_flags.CropSize = 256,
    augment: mask_flags.Augment = "light",
    loss: mask_flags.Loss = "ce",
    class_weights: mask_flags.ClassWeights = False,
    exclude: mask_flags.Exclude = None,
    watch: mask_flags.Watch = "",
    watch_epochs: mask_flags.WatchEpochs = "",
    val_every: mask_flags.ValEvery = 1,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
    backbone_lr: flags.BackboneLr = None,
    weight_decay: flags.WeightDecay = None,
    warmup: flags.Warmup = None,
    schedule: flags.Schedule = "poly",
    clip: flags.Clip = 0.0,
    accumulate: flags.Accumulate = 1,
    seed: flags.Seed = 0,
    precision: flags.Precision = "auto",
    deterministic: flags.Deterministic = False,
    compile: flags.Compile = False,
    cpu: flags.Cpu = False,
    out: flags.Out = None,
    config: flags.Config = None,
    option: flags.Option = None,
    resume: flags.Resume = False,
    bad_images: flags.BadImages = "stop",
    canvas: mask_flags.Canvas = 0,
    cache: flags.Cache = None,
    save_every: flags.SaveEvery = 0,
    track: flags.Track = None,
    progress: flags.Progress = True,
    metric: flags.Metric = "",
) -> RunResult:
    """Train a segmentation network on images with masks, and measure it on others, whole.

    With --init the backbone starts from a run of `ssl-seg train` or from a weight file.
    """
    values = settings(locals())
    if train is None:
        raise UsageError("no TRAIN given", next="ssl-seg segment TRAIN --val VAL")
    if watch and not val:
        raise UsageError("--watch names validation images, and there is no --val")
    names = [short(each) for each in (head, backbone or init or "resnet50", train)]
    folder = out or Path("runs") / "-".join([names[0].replace(":", "-"), *names[1:]])
    return finetune_by_names(SEGMENTATION, SegmentationConfig(**values), folder, resume=resume)
