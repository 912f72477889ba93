"""Conformance checks of observers."""

import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ssl_seg import hooks
from ssl_seg.engine.run_dir import Run
from ssl_seg.plugins import OBSERVERS, PluginManager
from ssl_seg.utils.entry_points import PluginSource

# and what each may take
HOOKS = {name: tuple(inspect.signature(getattr(hooks, name)).parameters) for name in OBSERVERS}
_STEPS, _EPOCHS = 2, 2


def check_observer(observer: object) -> None:
    """Check the contract of an observer in a simulated run of two epochs.

    Its hooks have known names and arguments and do not fail, `epoch_end` returns None or `"stop"`, and no hook
    modifies `run.toml`, `scores.jsonl` or the scores that it receives.

    Args:
        observer: a module with functions marked `@hookimpl`, or an object with hooks as methods, as
            `fit(observers=[...])` takes it.
    """
    own = _marked(observer) if isinstance(observer, ModuleType) else _methods(observer)
    assert own, f"no observer hook found; expected one of {', '.join(HOOKS)}"
    for hook, function in own.items():
        for name in inspect.signature(function).parameters:
            assert name in HOOKS[hook], (
                f"{hook} has no argument {name!r}; available: {', '.join(HOOKS[hook])}"
            )
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run") as run:
        run.write_config({"data": "photos", "ssl": "byol", "backbone": "resnet18", "epochs": _EPOCHS})
        _call(own, "run_start", run)
        for epoch in range(1, _EPOCHS + 1):
            for step in range(_STEPS * (epoch - 1) + 1, _STEPS * epoch + 1):
                _call(own, "step_end", run, step=step, scores={"loss": torch.tensor(1.0 / step)})
            scores = {"loss": 1.0 / epoch, "probe_knn": 0.25 * epoch}
            more = {"epoch": epoch, "step": _STEPS * epoch, "seconds": 1.0, "images_per_second": 16.0}
            run.append_scores({**more, **scores})
            returned = _call(own, "epoch_end", run, epoch=epoch, scores=scores)
            assert returned in (None, "stop"), f'epoch_end must return None or "stop", got {returned!r}'
        _call(own, "run_end", run)


def _marked(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The observer hooks of a module, registered like an installed plugin."""
    plugins = PluginManager()
    try:
        plugins.register(module, module.__name__, PluginSource(module.__name__))
    except Exception as error:
        raise AssertionError(str(error)) from error
    found = {
        hook: implementation.function
        for hook in HOOKS
        for implementation in getattr(plugins.manager.hook, hook).get_hookimpls()
    }
    for hook in HOOKS:
        assert hook in found or not callable(getattr(module, hook, None)), f"{hook} is not marked @hookimpl"
    return found


def _methods(observer: object) -> dict[str, Callable[..., Any]]:
    return {hook: getattr(observer, hook) for hook in HOOKS if callable(getattr(observer, hook, None))}


def _call(own: Mapping[str, Callable[..., Any]], hook: str, run: Run, **values: Any) -> Any:
    """Call a hook with the arguments that it declares; its return value."""
    if hook not in own:
        return None
    function, offered = own[hook], {"run": run, **values}
    before = _contents(run), dict(values.get("scores", {}))
    try:
        returned = function(**{name: offered[name] for name in inspect.signature(function).parameters})
    except Exception as error:
        raise AssertionError(f"{hook} failed: {type(error).__name__}: {error}") from error
    after = _contents(run), dict(values.get("scores", {}))
    assert before[1] == after[1], f"{hook} modifies its scores"
    changed = [name for name, content in before[0].items() if after[0][name] != content]
    assert not changed, f"{hook} modifies {changed[0]} of the run"
    return returned


def _contents(run: Run) -> dict[str, bytes | None]:
    files = (run.folder / name for name in ("run.toml", "scores.jsonl"))
    return {file.name: file.read_bytes() if file.exists() else None for file in files}
