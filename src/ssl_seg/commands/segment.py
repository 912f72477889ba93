"""`ssl-seg segment`: train a semantic segmentation network."""

from pathlib import Path
from typing import Annotated

from ssl_seg.commands import flags, mask_flags, recipe_flags
from ssl_seg.commands import training_flags as training
from ssl_seg.commands.from_python import from_python
from ssl_seg.engine.run_settings import can_resume
from ssl_seg.errors import UsageError
from ssl_seg.utils.text import short_name
from ssl_seg.workflows.config import SegmentationConfig
from ssl_seg.workflows.finetune import finetune_by_names
from ssl_seg.workflows.flag_values import OF_FINETUNING, config_from_flags
from ssl_seg.workflows.run_result import RunResult
from ssl_seg.workflows.segment import SEGMENTATION


@from_python
def segment(
    train: mask_flags.Train = None,
    val: mask_flags.Val = None,
    extra: training.Extra = None,
    extra_weight: training.ExtraWeight = None,
    fraction: training.Fraction = None,
    per_class: training.PerClass = None,
    images: training.Images = None,
    subset_seed: training.SubsetSeed = None,
    allow_overlap: flags.AllowOverlap = False,
    backbone: training.ModelBackbone = None,
    init: training.Init = None,
    prefix: training.Prefix = None,
    freeze: training.Freeze = False,
    head: mask_flags.Head = "deeplabv3",
    epochs: training.Epochs = 50,
    batch_size: training.BatchSize = 8,
    image_size: mask_flags.CropSize = 256,
    augment: mask_flags.Augment = "light",
    loss: mask_flags.Loss = "ce",
    class_weights: mask_flags.ClassWeights = False,
    exclude: mask_flags.Exclude = None,
    watch: mask_flags.Watch = "",
    watch_epochs: mask_flags.WatchEpochs = "",
    val_every: mask_flags.ValEvery = 1,
    optimizer: Annotated[str | None, recipe_flags.optimizer("adamw")] = None,
    lr: Annotated[float | None, recipe_flags.lr("adamw: 0.0003")] = None,
    backbone_lr: training.BackboneLr = None,
    layer_decay: training.LayerDecay = None,
    weight_decay: Annotated[float | None, recipe_flags.weight_decay("adamw: 0.01")] = None,
    warmup: Annotated[float | None, recipe_flags.warmup("0.05")] = None,
    schedule: training.Schedule = "poly",
    clip: training.Clip = 0.0,
    ema: training.Ema = None,
    accumulate: training.Accumulate = 1,
    max_steps: training.MaxSteps = None,
    max_time: training.MaxTime = None,
    early_stop: training.EarlyStop = None,
    seed: flags.Seed = 0,
    precision: flags.Precision = "auto",
    deterministic: training.Deterministic = False,
    compile: training.Compile = False,
    cuda_graph: training.CudaGraph = False,
    sync_batchnorm: training.SyncBatchNorm = "all",
    device: flags.Device = "auto",
    cpu: flags.Cpu = False,
    out: training.Out = None,
    config: training.Config = None,
    option: flags.Option = None,
    resume: training.Resume = False,
    auto_resume: training.AutoResume = False,
    dry_run: training.DryRun = False,
    bad_images: flags.BadImages = "stop",
    canvas: mask_flags.Canvas = 0,
    cache: flags.Cache = None,
    save_every: training.SaveEvery = 0,
    track: training.Track = None,
    progress: flags.Progress = True,
    metric: training.Metric = "",
) -> RunResult:
    """Train a semantic segmentation network and validate it.

    Training uses crops; validation uses full-size images. --init loads the backbone from a run of
    `ssl-seg train` or a weight file.
    """
    values = config_from_flags(locals(), OF_FINETUNING)
    if train is None:
        raise UsageError("no TRAIN given", next="ssl-seg segment TRAIN --val VAL")
    if watch and not val:
        raise UsageError("--watch requires --val")
    names = [short_name(each) for each in (head, backbone or init or "resnet50", train)]
    folder = out or Path("runs") / "-".join([names[0].replace(":", "-"), *names[1:]])
    resume = resume or (auto_resume and can_resume(folder))
    return finetune_by_names(SEGMENTATION, SegmentationConfig(**values), folder, resume=resume)
