"""What suits a method: an optimizer, and for each optimizer a learning rate and a weight decay of its own.

A rate belongs to one optimizer: AdamW's 1e-3 is far too small for LARS, whose 0.2 would be far too large for it.
"""

import math
from collections.abc import Mapping
from typing import Any

from ssl_seg.engine.optim import (
    BETAS,
    MOMENTUM,
    OPTIMIZERS,
    SCHEDULES,
    are_betas,
    check_optimizer,
    read_betas,
    scale_lr,
)
from ssl_seg.errors import PluginError, UsageError, did_you_mean

_OWN = (
    "lr",
    "lr_end",
    "lr_scaling",
    "weight_decay",
    "weight_decay_end",
    "momentum",
    "betas",
)  # of one optimizer
_SHARED = ("warmup", "schedule", "clip")  # of any, unless its table says otherwise
_KEYS = ("optimizer", *_OWN, *_SHARED, *OPTIMIZERS)
_WORDS = {"schedule": SCHEDULES, "lr_scaling": ("linear", "none")}
_DEFAULT = {"warmup": 0.05, "schedule": "cosine", "clip": 0.0}
_DEFAULT_RATES = {"adamw": {"lr": 1e-3, "weight_decay": 1e-4}}
_DECAYS = {"adamw": 1e-4, "adam": 0.0, "sgd": 1e-4, "lars": 1e-6}  # where a rate is given and no decay
_USUAL = {
    "adamw": (1e-4, 3e-3),
    "adam": (1e-4, 3e-3),
    "sgd": (0.01, 0.1),
    "lars": (0.1, 0.5),
}  # for 256 images


def trouble_in(recipe: Mapping[str, Any]) -> str:
    """What is wrong with a recipe, in words: an unknown key, or a value that does not fit it.

    Empty if all is well; what nobody reads would be a setting that a method believes to have.
    """
    name = recipe.get("optimizer", "adamw")
    if name not in OPTIMIZERS:
        return f"no optimizer {name!r}{did_you_mean(str(name), OPTIMIZERS)}"
    own = {key: value for key, value in recipe.items() if key not in ("optimizer", *OPTIMIZERS)}
    tables = [
        ("", name, own, _KEYS),
        *((f"{n}.", n, recipe[n], _OWN + _SHARED) for n in OPTIMIZERS if n in recipe),
    ]
    return next(filter(None, (_trouble_in_table(*table) for table in tables)), "")


def _trouble_in_table(prefix: str, optimizer: str, table: Any, keys: tuple[str, ...]) -> str:
    if not isinstance(table, Mapping):
        return f"{prefix[:-1]!r} must be a table of {', '.join(_OWN)}"
    for key, value in table.items():
        if key not in keys:
            hint = did_you_mean(str(key), keys) or f"; allowed: {', '.join(keys)}"
            return f"unknown key {prefix + str(key)!r}{hint}"
        if (key == "momentum" and optimizer not in MOMENTUM) or (key == "betas" and optimizer not in BETAS):
            return f"{prefix}{key} is none of {optimizer}'s"
        if expected := _expected(key, value):
            return f"{prefix}{key} must be {expected}, got {value!r}"
    if "lr_end" in table and not table["lr_end"] <= table.get("lr", -1.0):
        return f"{prefix}lr_end must be at most lr, which stands beside it"
    return ""


def _expected(key: str, value: Any) -> str:
    """What a value of a recipe must be, if it is something else."""
    if key == "betas":
        return "" if are_betas(value) else "two numbers in [0, 1)"
    if words := _WORDS.get(key):
        return "" if value in words else f"one of {', '.join(words)}"
    below = 1.0 if key == "momentum" else math.inf
    is_number = isinstance(value, int | float) and 0 <= value < below
    return "" if is_number else "a number" + (" in [0, 1)" if below == 1.0 else "")


def values_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says of its own optimizer, and by default: `optimizer`, `lr`, `weight_decay`, ..."""
    name = recipe.get("optimizer", "adamw")
    found = {"optimizer": name, **_DEFAULT, **_stated(recipe, name)}
    return {key: found[key] for key in ("optimizer", *_OWN, *_SHARED) if key in found}


def merged(*recipes: Mapping[str, Any]) -> dict[str, Any]:
    """Recipes over one another; of two that say different things the last holds, table by table."""
    result: dict[str, Any] = {}
    for recipe in recipes:
        for key, value in recipe.items():
            result[key] = {**result.get(key, {}), **value} if isinstance(value, Mapping) else value
    return result


def resolve(
    config: Mapping[str, Any], recipe: Mapping[str, Any], owner: str, started: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a run uses: the user's values, and where there are none those of the recipe.

    A learning rate of the user's falls as far as the recipe's does, as a share of the peak; a weight decay of the
    user's stays, unless they say where it ends.

    Args:
        config: settings of a run, None where they are open. Of these keys it has `optimizer`, `lr`, `weight_decay`,
            `warmup` and `batch_size`, and may have the others.
        recipe: `optimizer`; `lr`, `lr_end`, `weight_decay`, `weight_decay_end`, `momentum` and `betas` of that
            optimizer; `warmup`, `schedule` and `clip`. What differs with another optimizer stands in a table of
            its name. A rate is for a batch of 256, see `scale_lr`; `lr_scaling` (`linear` or `none`) says
            otherwise.
        owner: for the error.
        started: settings that a resumed run was started with: they hold, whatever the recipe says by now.

    Returns:
        The values of all these keys that `config` has. None: the usual momentum or betas, a rate that falls to 0, a
        weight decay that stays.

    Raises:
        UsageError: no rate is known for the optimizer, there is no such optimizer, or values do not go together.
        PluginError: see `trouble_in`.
    """
    if started and started.get("optimizer"):
        found: Mapping[str, Any] = started
    elif problem := trouble_in(recipe):
        raise PluginError(f"the recipe of {owner}: {problem}")
    else:
        found = _resolved(config, recipe, owner)
    return {key: found.get(key) for key in ("optimizer", *_OWN, *_SHARED) if key in config}


def _resolved(config: Mapping[str, Any], recipe: Mapping[str, Any], owner: str) -> dict[str, Any]:
    typed = {key: value for key, value in config.items() if value is not None}
    name = check_optimizer(typed.get("optimizer", recipe.get("optimizer", "adamw")))
    defaults = {**_DEFAULT, "weight_decay": _DECAYS[name], **_stated(recipe, name)}
    if betas := defaults.get("betas"):
        defaults["betas"] = ",".join(map(str, betas))
    if "lr" not in typed and "lr" not in defaults:
        raise _missing_lr_error(name, recipe, owner, config["batch_size"])
    scaling = {"linear": "sgd", "none": "adamw"}.get(defaults.pop("lr_scaling", ""), name)
    lr = typed.get("lr", scale_lr(scaling, defaults.get("lr", 0.0), config["batch_size"]))
    if "weight_decay" in typed:
        defaults.pop("weight_decay_end", None)
    if "lr_end" in defaults:
        defaults["lr_end"] *= lr / defaults["lr"] if defaults["lr"] else 1.0
    if typed.get("schedule", defaults["schedule"]) == "constant":
        defaults.pop("lr_end", None)
    values = {**defaults, **typed, "optimizer": name, "lr": lr}
    _check_together(name, typed, values)
    return values


def _check_together(name: str, typed: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """See that a person's values go together.

    Raises:
        UsageError: they do not.
    """
    if "momentum" in typed and name not in MOMENTUM:
        raise UsageError(f"{name} has no momentum, but betas", next="--betas 0.9,0.999")
    if "betas" in typed:
        read_betas(typed["betas"])
        if name not in BETAS:
            raise UsageError(f"{name} has no betas, but momentum", next="--momentum 0.9")
    if "lr_end" in typed and values["schedule"] == "constant":
        raise UsageError("a constant learning rate has no other end", next="omit --lr-end or --schedule")
    if "lr_end" in typed and typed["lr_end"] > values["lr"]:
        raise UsageError(f"the final learning rate {typed['lr_end']:g} is above the peak {values['lr']:g}")


def _stated(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What holds for one optimizer."""
    keys = (*_SHARED, *(_OWN if name == recipe.get("optimizer", "adamw") else ()))
    stated = {**_DEFAULT_RATES.get(name, {}), **{key: recipe[key] for key in keys if key in recipe}}
    return stated | dict(recipe.get(name, {}))


def _missing_lr_error(name: str, recipe: Mapping[str, Any], owner: str, size: int) -> UsageError:
    known = [n for n in OPTIMIZERS if "lr" in _stated(recipe, n)]
    low, high = (scale_lr(name, rate, size) for rate in _USUAL[name])
    return UsageError(
        f"{owner} has no learning rate for {name}, only for {', '.join(known)}",
        next=f"--lr {math.sqrt(low * high):.1g}  # usual for {name} and {size} images: {low:.2g} to {high:.2g}",
    )
