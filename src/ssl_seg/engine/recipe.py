"""What suits a method: an optimizer, and for each optimizer a learning rate and a weight decay of its own.

A rate belongs to one optimizer: AdamW's 1e-3 is far too small for LARS, whose 0.2 would be far too large for it.
"""

import math
from collections.abc import Mapping
from typing import Any

from ssl_seg.engine.optim import OPTIMIZERS, check_optimizer, scale_lr
from ssl_seg.errors import PluginError, UsageError, did_you_mean

_RATES = ("lr", "weight_decay")
_KEYS = ("optimizer", *_RATES, "warmup", *OPTIMIZERS)
_DEFAULT = {"optimizer": "adamw", "warmup": 0.05}
_DEFAULT_RATES = {"adamw": {"lr": 1e-3, "weight_decay": 1e-4}}
_DECAYS = {"adamw": 1e-4, "adam": 0.0, "sgd": 1e-4, "lars": 1e-6}  # where a rate is given and no decay
_USUAL = {
    "adamw": (1e-4, 3e-3),
    "adam": (1e-4, 3e-3),
    "sgd": (0.01, 0.1),
    "lars": (0.1, 0.5),
}  # for 256 images


def trouble_in(recipe: Mapping[str, Any]) -> str:
    """What is wrong with a recipe, in words: an unknown key, or a value that is no number or no optimizer.

    Empty if all is well; what nobody reads would be a setting that a method believes to have.
    """
    tables = [("", recipe, _KEYS), *((f"{n}.", recipe[n], _RATES) for n in OPTIMIZERS if n in recipe)]
    for prefix, table, keys in tables:
        if not isinstance(table, Mapping):
            return f"{prefix[:-1]!r} must be a table of {', '.join(_RATES)}"
        for key, value in table.items():
            if key not in keys:
                hint = did_you_mean(str(key), keys) or f"; allowed: {', '.join(keys)}"
                return f"unknown key {prefix + str(key)!r}{hint}"
            number = isinstance(value, int | float) and math.isfinite(value) and value >= 0
            if key in (*_RATES, "warmup") and not number:
                return f"{prefix}{key} must be a number, got {value!r}"
    name = recipe.get("optimizer", "adamw")
    return "" if name in OPTIMIZERS else f"no optimizer {name!r}{did_you_mean(str(name), OPTIMIZERS)}"


def merged(*recipes: Mapping[str, Any]) -> dict[str, Any]:
    """Recipes over one another; of two that say different things the last holds, table by table."""
    result: dict[str, Any] = {}
    for recipe in recipes:
        for key, value in recipe.items():
            result[key] = {**result.get(key, {}), **value} if isinstance(value, Mapping) else value
    return result


def resolve(given: Mapping[str, Any], recipe: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """What a run uses: the user's values, and where there are none those of the recipe.

    Args:
        given: `optimizer`, `lr`, `weight_decay` and `warmup`, None where they are open; `batch_size`.
        recipe: `optimizer`, `warmup`, and `lr` and `weight_decay` for that optimizer; those of
            another one in a table of its name. A rate is for a batch of 256, see `scale_lr`.
        whose: for the error.

    Returns:
        `optimizer`, `lr`, `weight_decay` and `warmup`.

    Raises:
        UsageError: no rate is known for the optimizer, or there is no such optimizer.
        PluginError: see `trouble_in`.
    """
    if trouble := trouble_in(recipe):
        raise PluginError(f"the recipe of {whose}: {trouble}")
    suits = {**_DEFAULT, **recipe}
    name = check_optimizer(_first(given["optimizer"], suits["optimizer"]))
    rates = {**_DEFAULT_RATES.get(name, {}), **_stated(recipe, suits["optimizer"], name)}
    lr, size = given["lr"], given["batch_size"]
    if lr is None:
        if "lr" not in rates:
            raise _no_rate(name, suits, whose, size)
        lr = scale_lr(name, rates["lr"], size)
    return {
        "optimizer": name,
        "lr": lr,
        "weight_decay": _first(given["weight_decay"], rates.get("weight_decay", _DECAYS[name])),
        "warmup": _first(given["warmup"], suits["warmup"]),
    }


def _first(given: Any, suits: Any) -> Any:
    return suits if given is None else given


def _stated(recipe: Mapping[str, Any], own: str, name: str) -> dict[str, float]:
    """What a recipe says of one optimizer."""
    first = {key: recipe[key] for key in _RATES if key in recipe} if name == own else {}
    return first | dict(recipe.get(name, {}))


def _no_rate(name: str, suits: Mapping[str, Any], whose: str, size: int) -> UsageError:
    known = [
        n
        for n in OPTIMIZERS
        if "lr" in {**_DEFAULT_RATES.get(n, {}), **_stated(suits, suits["optimizer"], n)}
    ]
    low, high = (scale_lr(name, rate, size) for rate in _USUAL[name])
    return UsageError(
        f"{whose} has no learning rate for {name}, only for {', '.join(known)}",
        next=f"--lr {math.sqrt(low * high):.1g}  # usual for {name} and {size} images: {low:.2g} to {high:.2g}",
    )
