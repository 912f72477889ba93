"""`ssl-seg classify`: train a classifier on a pre-trained backbone or from scratch."""

from pathlib import Path
from typing import Annotated

from ssl_seg.commands import classify_flags, flags, recipe_flags
from ssl_seg.commands import training_flags as training
from ssl_seg.commands.from_python import from_python
from ssl_seg.engine.run_settings import can_resume
from ssl_seg.errors import UsageError
from ssl_seg.utils.text import short_name
from ssl_seg.workflows.classify import CLASSIFICATION
from ssl_seg.workflows.config import ClassificationConfig
from ssl_seg.workflows.finetune import finetune_by_names
from ssl_seg.workflows.flag_values import OF_FINETUNING, config_from_flags
from ssl_seg.workflows.run_result import RunResult


@from_python
def classify(
    train: classify_flags.Train = None,
    val: classify_flags.Val = None,
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
    head: classify_flags.Head = "linear",
    epochs: training.Epochs = 100,
    batch_size: training.BatchSize = 64,
    image_size: classify_flags.ImageSize = None,
    any_size: training.AnySize = False,
    augment: classify_flags.Augment = "light",
    passes: classify_flags.Passes = 0,
    mixup: classify_flags.Mixup = 0.0,
    label_smoothing: classify_flags.LabelSmoothing = 0.0,
    keep_features: classify_flags.KeepFeatures = 2000,
    optimizer: Annotated[str | None, recipe_flags.optimizer("adamw")] = None,
    lr: Annotated[
        float | None, recipe_flags.lr("adamw: 0.001; with BatchNorm: 0.003; --freeze: 0.01")
    ] = None,
    backbone_lr: training.BackboneLr = None,
    layer_decay: training.LayerDecay = None,
    weight_decay: Annotated[float | None, recipe_flags.weight_decay("adamw: 0.05")] = None,
    warmup: Annotated[float | None, recipe_flags.warmup("0.05")] = None,
    schedule: training.Schedule = "cosine",
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
    canvas: training.Canvas = 0,
    cache: flags.Cache = None,
    save_every: training.SaveEvery = 0,
    track: training.Track = None,
    progress: flags.Progress = True,
    metric: training.Metric = "",
) -> RunResult:
    """Train a classifier on labeled images and validate it.

    --init loads the backbone from a run of `ssl-seg train` or a weight file. --freeze keeps the backbone
    fixed and trains only the head.
    """
    values = config_from_flags(locals(), OF_FINETUNING)
    if train is None:
        raise UsageError("no TRAIN given", next="ssl-seg classify TRAIN --val VAL")
    if freeze and mixup:
        raise UsageError(
            "--mixup requires images, but --freeze trains on precomputed features", next="drop one of them"
        )
    names = map(short_name, (backbone or init or "resnet50", train))
    folder = out or Path("runs") / "-".join(("classify", *names))
    resume = resume or (auto_resume and can_resume(folder))
    return finetune_by_names(CLASSIFICATION, ClassificationConfig(**values), folder, resume=resume)
