"""Checks of the components and options that a study names, before anything runs."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ssl_seg.engine.run_settings import COMPONENTS, PLACES
from ssl_seg.errors import DataError, PluginError, UsageError
from ssl_seg.study.config import StageConfig, StudyConfig
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.log import log
from ssl_seg.utils.text import split_names
from ssl_seg.workflows.flag_values import as_text
from ssl_seg.workflows.recipe_check import check_lr

if TYPE_CHECKING:
    from ssl_seg.registry import Registry


def check_components(file: StudyConfig) -> None:
    """Check that methods, backbones, heads and metrics of a study exist and accept the given options.

    Also checks that a method can train its backbone, and that an optimizer named by a stage has a learning rate.

    Raises:
        UsageError: with the line in the study's file.
        PluginError: a component cannot be loaded.
    """
    named = [(stage, flag) for stage in file.stages.values() for flag in COMPONENTS if flag in stage.flags]
    optimized = [stage for stage in file.stages.values() if "optimizer" in stage.flags]
    if not named and not optimized:  # defaults only
        return
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.options import check_options

    registry = load_plugins().registry
    for stage, flag in named:
        # typed by the user: a file of Python code is allowed
        text, location = TypedName(stage.flags[flag]), file.flag_location(stage, flag)
        try:
            if flag == "metric":  # its options belong to the command
                for name in split_names(text):
                    registry.factory("metrics", name)
                continue
            factory = registry.factory(COMPONENTS[flag], text)
            options = stage.flags.get("o", {}).get(flag, {})
            location = _option_location(file, stage, flag) if options else location
            check_options(factory, f"{flag} {text}", {key: as_text(value) for key, value in options.items()})
        except (UsageError, PluginError) as error:
            error.where = location
            raise
    for stage in {stage.name: stage for stage, _ in named if stage.command == "train"}.values():
        try:
            _check_method(stage, registry)
        except (UsageError, PluginError) as error:
            error.where = file.flag_location(stage, "ssl" if "ssl" in stage.flags else "backbone")
            raise
    for stage in optimized:
        try:
            names = {
                "ssl": TypedName(stage.flags.get("ssl", "byol")),
                "optimizer": as_text(stage.flags["optimizer"]),
            }
            check_lr(stage.command, {**stage.flags, **names}, registry)
        except (UsageError, PluginError) as error:
            error.where = file.flag_location(stage, "optimizer")
            raise


def missing_paths(file: StudyConfig) -> Iterator[DataError]:
    """One error for each stage and flag whose images are not there, with the line in the study's file."""
    from ssl_seg.data.holdout import share_in
    from ssl_seg.plugins import load_plugins
    from ssl_seg.workflows.data import require_path

    registry = load_plugins().registry
    for stage in file.stages.values():
        for flag in sorted(PLACES & stage.flags.keys() - stage.references.keys()):
            value = as_text(stage.flags[flag])
            try:
                if flag != "val" or share_in(value) is None:
                    require_path(registry, value)
            except DataError as error:
                error.where = file.flag_location(stage, flag)
                yield error
            except UsageError as error:
                error.where = file.flag_location(stage, flag)
                raise


def _check_method(stage: StageConfig, registry: "Registry") -> None:
    """Build the method of a pre-training stage on its backbone, without memory for weights."""
    import torch

    from ssl_seg.workflows.components import Components
    from ssl_seg.workflows.config import PretrainConfig

    if "init" in stage.flags and "backbone" not in stage.flags:
        return  # the backbone is that of the weights
    named: dict[str, Any] = {
        flag: TypedName(stage.flags.get(flag, default))
        for flag, default in (("ssl", "byol"), ("backbone", "resnet50"))
    }
    stage_options = stage.flags.get("o", {})
    options = {
        part: {key: as_text(value) for key, value in stage_options.get(part, {}).items()}
        for part in (*COMPONENTS, "views")
    }
    components = Components(registry)
    with torch.device("meta"), torch.random.fork_rng([]):
        try:
            backbone, config = components.backbone(PretrainConfig(**named, o=options), early=False)
            components.method(config, backbone)
        except (UsageError, PluginError):
            raise
        except Exception as error:  # what needs the values of its weights cannot be built so
            log.debug("stage %s was not built for a check: %s", stage.name, error)


def _option_location(file: StudyConfig, stage: StageConfig, flag: str) -> str:
    own = flag in file.flags("stages", stage.name).get("o", {})
    return file.location(*(("stages", stage.name) if own else ("defaults", stage.command)), "o", flag)
