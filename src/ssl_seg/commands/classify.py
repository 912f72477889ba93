"""`ssl-seg classify`: train a classifier, on top of a pre-trained backbone or from scratch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.config import settings
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.text import short
from ssl_seg.workflows.classify import CLASSIFICATION
from ssl_seg.workflows.config import ClassificationConfig
from ssl_seg.workflows.finetune import finetune_by_names
from ssl_seg.workflows.run_result import RunResult

_Passes = Annotated[
    int,
    typer.Option(min=0, max=limits.COUNT, help="With --freeze: random views of each image; 0: its centre."),
]
_KeepFeatures = Annotated[
    int,
    typer.Option(
        min=0,
        max=limits.COUNT,
        help="Training images whose features are kept, first and last epoch, for t-SNE.",
    ),
]


@from_python
def classify(
    train: flags.Train = None,
    val: flags.Val = None,
    allow_overlap: flags.AllowOverlap = False,
    backbone: flags.ModelBackbone = None,
    init: flags.Init = None,
    freeze: flags.Freeze = False,
    head: Annotated[str, typer.Option(help="Any of `ssl-seg list heads` that classifies.")] = "linear",
    epochs: flags.Epochs = 100,
    batch_size: flags.BatchSize = 64,
    image_size: flags.ModelImageSize = None,
    any_size: flags.AnySize = False,
    augment: Annotated[
        Literal["none", "light", "strong"], typer.Option(help="Random crops and flips; strong: colours too.")
    ] = "light",
    passes: _Passes = 0,
    mixup: Annotated[float, typer.Option(min=0.0, help="Alpha of mixup; 0: none.")] = 0.0,
    label_smoothing: Annotated[float, typer.Option(min=0.0, max=0.9, help="Of the targets.")] = 0.0,
    keep_features: _KeepFeatures = 2000,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
    backbone_lr: flags.BackboneLr = None,
    weight_decay: flags.WeightDecay = None,
    warmup: flags.Warmup = None,
    schedule: flags.Schedule = "cosine",
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
    canvas: flags.Canvas = 0,
    cache: flags.Cache = None,
    save_every: flags.SaveEvery = 0,
    track: flags.Track = None,
    progress: flags.Progress = True,
    metric: flags.Metric = "",
) -> RunResult:
    """Train a classifier on labelled images, and measure it on others.

    With --init the backbone starts from a run of `ssl-seg train` or from a weight file; with --freeze
    it stays as it is and only the head is trained.
    """
    values = settings(locals())
    if train is None:
        raise UsageError("no TRAIN given", next="ssl-seg classify TRAIN --val VAL")
    if freeze and mixup:
        raise UsageError("--mixup mixes images, and --freeze has only their features", next="leave one out")
    names = map(short, (backbone or init or "resnet50", train))
    folder = out or Path("runs") / "-".join(("classify", *names))
    return finetune_by_names(CLASSIFICATION, ClassificationConfig(**values), folder, resume=resume)
