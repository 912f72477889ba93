"""What runs import, in one import: for the process whose forks they are. It computes nothing."""
# ruff: noqa: F401

import torch._dynamo  # each optimizer asks for it

from ssl_seg.engine import device, linear_probe, loop
from ssl_seg.plugins import built_in_modules
from ssl_seg.weights import backbone_file, model_file
from ssl_seg.workflows import (
    classification_validator,
    classify,
    crop_size,
    held_out,
    init_weights,
    knn_probe,
    mask_snapshots,
    optimization,
    pretrain,
    run_toml,
    segment,
    segmentation_validator,
)

list(built_in_modules())
