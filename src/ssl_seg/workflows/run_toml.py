"""`run.toml`: what a run was started with and what was found, which a resumed run is compared with."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from ssl_seg.base import SSLMethod
from ssl_seg.data.image_cache import FINGERPRINT, ImageCache
from ssl_seg.engine.optim import undecayed
from ssl_seg.engine.run_settings import is_longer, prolonged
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.log import log
from ssl_seg.weights.checkpoint_files import newest_state
from ssl_seg.workflows.module_summary import module_summary
from ssl_seg.workflows.run_status import versions

if TYPE_CHECKING:
    from ssl_seg.workflows.config import RunConfig
    from ssl_seg.workflows.session import Session


def record_settings(
    session: "Session",
    config: "RunConfig",
    caches: Mapping[str, ImageCache],
    module: nn.Module,
    steps_per_epoch: int,
    resolved: Mapping[str, Any],
    costs: Mapping[str, int | None] | None = None,
) -> None:
    """Write `run.toml`, or compare a resumed run with it.

    Args:
        caches: the images by what they are for: `data`, `probe`, ...
        module: what is trained.
        resolved: every option of every part, and the recipe of every view.
        costs: of training; what is None is left out.

    Raises:
        UsageError: a resumed run finds other images than it was started with; or several processes differ.
    """
    run, device, settings = session.run_dir, session.device, config.settings()
    # what differs would go unnoticed: gradients of anything can be averaged
    images = {name: {"images": len(each), "fingerprint": each.fingerprint} for name, each in caches.items()}
    more = {"precision": device.precision, "versions": versions(), "images": images}
    device.assert_same_config({**settings, **more})
    if not device.is_main:
        return
    found = {
        "command": run.command,
        "steps_per_epoch": steps_per_epoch,
        **{name: value for name, value in (costs or {}).items() if value is not None},
        "no_weight_decay": undecayed(module),
        "device": device.describe(),
        "versions": versions(),
        **{name: _images_of(each) for name, each in caches.items()},
        "resolved": resolved,
        **({"modules": module_summary(module)} if isinstance(module, SSLMethod) else {}),
    }
    if run.resume:
        _compare(session, caches, found)
        if is_longer(config.epochs, run.settings()):
            _prolong(session, config.epochs)
    else:
        run.write_config({**settings, "record": found})


def _prolong(session: "Session", epochs: int) -> None:
    """Give the run more epochs; its schedule is that of a run of this length from here on."""
    settings = session.run_dir.settings()
    step = int(newest_state(session.run_dir.checkpoints)[1].get("step", 0))
    session.progress.print_line(
        f"prolonged from {settings['epochs']} to {epochs} epochs: from step {step} on, the learning rate and other "
        "schedules are those of a run of this length"
    )
    session.run_dir.write_settings(prolonged(settings, epochs, step))


def _compare(session: "Session", caches: Mapping[str, ImageCache], found: Mapping[str, Any]) -> None:
    """Hold a resumed run against what it was started with."""
    run, resolved = session.run_dir, found["resolved"]
    before = run.settings().get("record", {})
    for name, images in caches.items():
        if not isinstance(before, dict) or not {"fingerprint", "images", "canvas"} <= set(
            before.get(name, ())
        ):
            where = f"{run.folder / 'run.toml'}: nothing in [record.{name}] says which they were"
            raise WeightsError(f"run.toml is corrupt: the images of {name!r} cannot be compared", where=where)
        _compare_images(name, before[name], _images_of(images))
    for key in ("device", "versions"):
        if before.get(key) != found[key]:
            log.warning("not bit-exact: %s was %s, is %s", key, before.get(key), found[key])
    then, now = (dict(_flat(values)) for values in (before.get("resolved", resolved), resolved))
    # an option that the version before did not have is by default what that version did
    known = [key for key in now if key in then or key.startswith("views.")]
    if changed := [f"{key} was {then.get(key)}, is {now[key]}" for key in known if now[key] != then.get(key)]:
        log.warning("not bit-exact: %s", "; ".join(changed))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """As TOML gives them back: `views.1.scale`, and lists for tuples."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _images_of(images: ImageCache) -> dict[str, Any]:
    return {
        "images": len(images),
        "skipped": images.num_skipped,
        "canvas": images.canvas,
        "fingerprint": images.fingerprint,
        "fingerprint_of": FINGERPRINT,
        **images.statistics,
        **images.notes,
    }


def _compare_images(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The images of a resumed run must be those that it was started with, wherever they lie, decoded alike.

    Raises:
        UsageError: they are not.
    """
    decoder = now.get("decoder")  # of shards; a cache has pixels
    if decoder and before.get("decoder", decoder) != decoder:
        raise UsageError(
            f"the images of {name!r} were decoded by {before['decoder']} when the run was started, now by {decoder}",
            next="resume with the version of ssl-seg that has started it, or start a new run with another --out",
        )
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
