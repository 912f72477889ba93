"""Flags whose default is that of a recipe: each command shows its own values."""

from typing import Any

from ssl_seg.commands.training_flags import optimization_flag


def optimizer(default: str) -> Any:
    """`--optimizer`."""
    return optimization_flag(help="Optimizer: adamw, adam, sgd or lars.", show_default=default)


def lr(default: str) -> Any:
    """`--lr`."""
    return optimization_flag(min=0.0, help="Peak learning rate; not rescaled.", show_default=default)


def weight_decay(default: str) -> Any:
    """`--weight-decay`."""
    text = "Weight decay; not applied to biases and norm layers."
    return optimization_flag(min=0.0, help=text, show_default=default)


def warmup(default: str) -> Any:
    """`--warmup`."""
    text = "Learning-rate warm-up, as a fraction of all steps."
    return optimization_flag(min=0.0, max=0.9, help=text, show_default=default)
