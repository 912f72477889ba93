"""`ssl-seg train`: pre-train a backbone without labels."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.config import settings
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.text import short
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.pretrain import pretrain_by_names
from ssl_seg.workflows.run_result import RunResult


@from_python
def train(
    data: flags.Data = None,
    ssl: Annotated[str, typer.Option(help="Method: a name, or FILE.py:CLASS.")] = "byol",
    backbone: flags.Backbone = "resnet50",
    epochs: flags.Epochs = 100,
    batch_size: flags.BatchSize = 64,
    image_size: flags.ImageSize = 128,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
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
    probe: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled images for a k-NN accuracy on the way.")
    ] = None,
    probe_every: Annotated[
        int, typer.Option(min=1, max=limits.COUNT, help="Epochs between two of them.")
    ] = 1,
    on_collapse: Annotated[
        Literal["stop", "ignore"], typer.Option(help="When all images look the same to the network.")
    ] = "stop",
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
) -> RunResult:
    """Pre-train a backbone on images without labels.

    The folder in --out gets the weights (backbone.safetensors), the scores of every epoch, and
    checkpoints from which --resume goes on bit for bit.
    """
    values = settings(locals())
    if data is None:
        raise UsageError("no DATA given", next="ssl-seg train FOLDER, or ssl-seg train --resume --out RUN")
    folder = out or Path("runs") / "-".join(map(short, (ssl, backbone, data)))
    return pretrain_by_names(PretrainConfig(**values), folder, resume=resume)
