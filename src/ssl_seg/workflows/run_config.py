"""From the settings of a run to what the engine needs; every training command does it this way."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ssl_seg.data.image_cache import FINGERPRINT, Store
from ssl_seg.engine.device import Device
from ssl_seg.engine.optim import build_optimizer, parameter_groups, rate_at, undecayed
from ssl_seg.engine.run_dir import Run
from ssl_seg.engine.schedule import Plan
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.log import log
from ssl_seg.workflows.run_status import versions


def plan_of(
    settings: dict[str, Any],
    module: nn.Module,
    suits: Mapping[str, Any],
    per_epoch: int,
    run: Run,
    backbone: str = "",
) -> tuple[Plan, Optimizer]:
    """The schedule and the optimizer; what the user left open becomes what suits the method.

    Args:
        settings: of the run; gets the values that were open.
        module: what is trained.
        suits: see `ssl_seg.engine.recipe.resolve`.
        per_epoch: steps of an epoch.
        run: if it is resumed, it goes on with the groups of parameters that it began with.
        backbone: how the names of the parameters begin for which `backbone_lr` holds.
    """
    settings.update(suits)
    own, peak = settings.get("backbone_lr"), settings["lr"]
    scales = {} if own is None else {backbone: own / peak} if peak else {backbone: 1.0, "": 0.0}
    peak = peak or own or 0.0
    # of version 0.1.0: everything decayed that has two dimensions, and the optimizer's state is in that order
    groups = parameter_groups(module, settings["weight_decay"], scales, () if run.is_early else None)
    total = settings["epochs"] * per_epoch
    warmup, schedule = round(settings["warmup"] * total), settings["schedule"]
    plan = Plan(
        total=total,
        per_epoch=per_epoch,
        batch_size=settings["batch_size"],
        rate=lambda step: rate_at(step, total, peak, warmup, schedule),
        clip=settings["clip"],
        save_every=settings["save_every"],
    )
    return plan, build_optimizer(settings["optimizer"], groups, peak)


def warn_of_parts(settings: Mapping[str, Any], module: nn.Module, what: str) -> None:
    """Say why `--accumulate` does not compute what the whole batch would give."""
    if settings["accumulate"] == 1:
        return
    over = getattr(module, "loss_over", None)
    reasons: list[str] = {
        "image": [],
        "batch": [f"the loss of {what} compares images, and compares those of a part alone"],
    }.get(str(over), [f"{what} does not say whether its loss compares images (`loss_over`)"])
    if any(part.training and isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        reasons.append("BatchNorm takes its statistics from each part")
    if reasons:
        log.warning("--accumulate is not the whole batch in parts: %s", "; ".join(reasons))


def record(
    run: Run,
    settings: Mapping[str, Any],
    stores: Mapping[str, Store],
    module: nn.Module,
    per_epoch: int,
    device: Device,
    resolved: Mapping[str, Any],
) -> None:
    """Write `run.toml`, or hold a resumed run against it.

    Args:
        stores: the images by what they are for: `data`, `probe`, ...
        module: what is trained.
        resolved: every option of every part, and the recipe of every view.

    Raises:
        UsageError: a resumed run finds other images than it was started with; or several processes are not of
            one mind.
    """
    # what differs would go unnoticed: gradients of anything can be averaged
    images = {
        name: {"images": len(store), "fingerprint": store.fingerprint} for name, store in stores.items()
    }
    more = {"precision": device.precision, "versions": versions(), "images": images}
    device.agree_on({**settings, **more})
    if not device.is_main:
        return
    found = {
        "command": run.command,
        "steps_per_epoch": per_epoch,
        "no_weight_decay": undecayed(module),
        "device": device.describe(),
        "versions": versions(),
        **{name: _images_of(store) for name, store in stores.items()},
        "resolved": resolved,
    }
    if not run.resume:
        run.write_settings({**settings, "record": found})
        return
    before = run.settings().get("record", {})
    for name, store in stores.items():
        if not isinstance(before, dict) or not {"fingerprint", "images", "canvas"} <= set(
            before.get(name, ())
        ):
            where = f"{run.folder / 'run.toml'}: nothing in [record.{name}] says which they were"
            raise WeightsError(f"run.toml is damaged: the images of {name!r} cannot be compared", where=where)
        _hold_against(name, before[name], _images_of(store))
    for key in ("device", "versions"):
        if before.get(key) != found[key]:
            log.warning("not bit-exact: %s was %s, is %s", key, before.get(key), found[key])
    then, now = (dict(_flat(values)) for values in (before.get("resolved", resolved), resolved))
    if changed := [
        f"{key} was {then.get(key)}, is {now.get(key)}" for key in now if now[key] != then.get(key)
    ]:
        log.warning("not bit-exact: %s", "; ".join(changed))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """As TOML gives them back: `views.1.scale`, and lists for tuples."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _images_of(store: Store) -> dict[str, Any]:
    return {
        "images": len(store),
        "skipped": store.skipped,
        "canvas": store.canvas,
        "fingerprint": store.fingerprint,
        "fingerprint_of": FINGERPRINT,
        **store.notes,
    }


def _hold_against(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The images of a resumed run must be those that it was started with, wherever they lie.

    Raises:
        UsageError: they are not.
    """
    if before["fingerprint"] == now["fingerprint"]:
        return
    made_alike = before.get("fingerprint_of") == now["fingerprint_of"]
    if made_alike or before["images"] != now["images"]:
        raise UsageError(
            f"the images of {name!r} are not those the run was started with",
            where=f"{before['images']} then, {now['images']} now; a file, its name or its label differs",
            next="start a new run with another --out",
        )
    log.warning(
        "another version of ssl-seg has started this run: whether the images of %r are the same is not known, "
        "their number is",
        name,
    )
