"""How methods are trained where the user says nothing: recipes, published ones, and rates of parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ParamGroup:
    """How the parameters of a method whose names begin with a prefix are trained; the first that fits holds.

    Attributes:
        prefix: of the names, as `predictor.`.
        lr_scale: times the run's learning rate.
        constant_lr: the peak learning rate throughout, without warm-up and decline (SimSiam's predictor).
        frozen_until: the part of the run before which they stay as they are (SwAV's prototypes), in [0, 1].
        weight_decay: whether they decay; None leaves it to their dimensions, see `build_param_groups`.
    """

    prefix: str
    lr_scale: float = 1.0
    constant_lr: bool = False
    frozen_until: float = 0.0
    weight_decay: bool | None = None


@dataclass(frozen=True)
class PaperRecipe:
    """A method as its paper has it, where that differs from the defaults; `-o ssl.recipe=paper` takes it.

    Attributes:
        options: of the method.
        recipe: in place of `SSLMethod.recipe`, and written alike.
        epochs, batch_size: of the paper's run, for people: they stay the user's.
    """

    options: Mapping[str, Any]
    recipe: Mapping[str, Any]
    epochs: int | None = None
    batch_size: int | None = None


# what suits most methods in short runs: the start of their recipes
_ADAM = {"lr": 1e-3, "weight_decay": 1e-4}
ADAMW_RECIPE: dict[str, Any] = {"optimizer": "adamw", **_ADAM, "warmup": 0.05, "adam": _ADAM}
