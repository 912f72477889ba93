"""`ssl-seg train`: pre-train a backbone on unlabeled images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import completion, flags, recipe_flags
from ssl_seg.commands import training_flags as training
from ssl_seg.commands.from_python import from_python
from ssl_seg.engine.run_settings import can_resume
from ssl_seg.errors import UsageError
from ssl_seg.utils import limits
from ssl_seg.utils.text import short_name
from ssl_seg.workflows.config import PretrainConfig
from ssl_seg.workflows.flag_values import OF_PRETRAINING, config_from_flags
from ssl_seg.workflows.pretrain import pretrain_by_names
from ssl_seg.workflows.run_result import RunResult

_Method = Annotated[
    str, flags.model_flag(help="SSL method: a name or FILE.py:CLASS.", autocompletion=completion.ssl)
]


@from_python
def train(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=flags.DATA_HELP)] = None,
    ssl: _Method = "byol",
    backbone: training.ModelBackbone = None,
    init: training.Init = None,
    prefix: training.Prefix = None,
    epochs: training.Epochs = 100,
    batch_size: training.BatchSize = 64,
    image_size: Annotated[
        int, flags.data_flag(min=8, max=limits.SIDE, help="Input image size, in pixels.")
    ] = 128,
    optimizer: Annotated[str | None, recipe_flags.optimizer("method's recipe; byol: adamw")] = None,
    lr: Annotated[
        float | None, recipe_flags.lr("method's recipe; byol: 0.001; sgd, lars: x batch size / 256")
    ] = None,
    lr_end: recipe_flags.LrEnd = None,
    weight_decay: Annotated[float | None, recipe_flags.weight_decay("method's recipe; byol: 0.0001")] = None,
    weight_decay_end: recipe_flags.WeightDecayEnd = None,
    warmup: Annotated[float | None, recipe_flags.warmup("method's recipe; byol: 0.05")] = None,
    schedule: recipe_flags.Schedule = None,
    momentum: recipe_flags.Momentum = None,
    betas: recipe_flags.Betas = None,
    clip: recipe_flags.Clip = None,
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
    probe: Annotated[
        str | None,
        training.validation_flag(
            metavar="DATA", help="Labeled images for a k-NN probe during training; never trained on."
        ),
    ] = None,
    probe_every: Annotated[
        int, training.validation_flag(min=1, max=limits.COUNT, help="Epochs between probes.")
    ] = 1,
    on_collapse: Annotated[
        Literal["stop", "ignore"], training.validation_flag(help="Action when the representation collapses.")
    ] = "stop",
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
) -> RunResult:
    """Pre-train a backbone on unlabeled images.

    Writes the weights (backbone.safetensors), the scores of every epoch, and checkpoints to --out.
    --init starts from other weights than random ones. --resume continues from the latest checkpoint, bit-exactly.
    """
    values = config_from_flags(locals(), OF_PRETRAINING)
    if data is None:
        raise UsageError("no DATA given", next="ssl-seg train FOLDER, or ssl-seg train --resume --out RUN")
    folder = out or Path("runs") / "-".join(map(short_name, (ssl, backbone or init or "resnet50", data)))
    resume = resume or (auto_resume and can_resume(folder))
    return pretrain_by_names(PretrainConfig(**values), folder, resume=resume)
