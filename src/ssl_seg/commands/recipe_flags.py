"""Flags whose default is that of a recipe: each command shows its own values."""

from typing import Annotated, Any, Literal

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


LrEnd = Annotated[
    float | None,
    optimization_flag(min=0.0, help="Final learning rate.", show_default="method's recipe; byol: 0"),
]
WeightDecayEnd = Annotated[
    float | None,
    optimization_flag(
        min=0.0,
        help="Final weight decay, reached along a cosine schedule.",
        show_default="method's recipe; byol: constant",
    ),
]
Schedule = Annotated[
    Literal["cosine", "constant", "poly"] | None,
    optimization_flag(
        help="Learning-rate schedule after warm-up.", show_default="method's recipe; byol: cosine"
    ),
]
Momentum = Annotated[
    float | None,
    optimization_flag(
        min=0.0, max=0.9999, help="Momentum of sgd and lars.", show_default="method's recipe; byol: 0.9"
    ),
]
Betas = Annotated[
    str | None,
    optimization_flag(
        metavar="B1,B2", help="Betas of adam and adamw.", show_default="method's recipe; byol: 0.9,0.999"
    ),
]
Clip = Annotated[
    float | None,
    optimization_flag(
        min=0.0,
        help="Maximum gradient norm; 0 disables clipping.",
        show_default="method's recipe; byol: 0",
    ),
]
