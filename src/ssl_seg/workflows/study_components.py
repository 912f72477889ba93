"""The flags of a study's stages, held against the commands and the components before anything is run."""

from typing import TYPE_CHECKING

from ssl_seg.errors import PluginError, UsageError
from ssl_seg.study.config import Stage, StudyFile
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.flag_values import as_text

if TYPE_CHECKING:
    from ssl_seg.registry import Registry

# flags that name components
_KINDS = {"ssl": "ssl", "backbone": "backbones", "head": "heads", "metric": "metrics"}


def check_parts(file: StudyFile) -> None:
    """Whether there are the methods, backbones, heads and metrics that stages name, and have the options given to them.

    Likewise whether a rate is known for an optimizer that a stage names.

    Raises:
        UsageError: with the line in the study's file.
        PluginError: one cannot be loaded.
    """
    named = [(stage, flag) for stage in file.stages.values() for flag in _KINDS if flag in stage.flags]
    optimized = [stage for stage in file.stages.values() if "optimizer" in stage.flags]
    if not named and not optimized:  # the usual ones
        return
    from ssl_seg.plugins import load_plugins
    from ssl_seg.registry import check_options

    registry = load_plugins().registry
    for stage, flag in named:
        text, place = TypedName(stage.flags[flag]), file.where_flag(stage, flag)  # in a person's own file
        try:
            if flag == "metric":  # its options are those of the command's own
                for name in names_in(text):
                    registry.factory("metrics", name)
                continue
            factory = registry.factory(_KINDS[flag], text)
            given = stage.flags.get("o", {}).get(flag, {})
            place = _where_option(file, stage, flag) if given else place
            check_options(factory, f"{flag} {text}", {key: as_text(value) for key, value in given.items()})
        except (UsageError, PluginError) as error:
            error.where = place
            raise
    for stage in optimized:
        try:
            _check_rate(stage, registry)
        except (UsageError, PluginError) as error:
            error.where = file.where_flag(stage, "optimizer")
            raise


def _check_rate(stage: Stage, registry: "Registry") -> None:
    from ssl_seg.engine.recipe import resolve
    from ssl_seg.workflows.classify import CLASSIFICATION
    from ssl_seg.workflows.segment import SEGMENTATION

    recipes = {"classify": CLASSIFICATION.recipe, "segment": SEGMENTATION.recipe}
    whose, recipe = f"ssl-seg {stage.command}", recipes.get(stage.command)
    if stage.command == "train":
        whose = f"ssl method {stage.flags.get('ssl', 'byol')}"
        recipe = getattr(registry.factory("ssl", str(stage.flags.get("ssl", "byol"))), "recipe", {})
    if recipe is not None:
        given = {"lr": None, "weight_decay": None, "warmup": None, "batch_size": 64} | dict(stage.flags)
        resolve(given, recipe, whose)


def _where_option(file: StudyFile, stage: Stage, flag: str) -> str:
    own = flag in file.flags("stages", stage.name).get("o", {})
    return file.where(*(("stages", stage.name) if own else ("defaults", stage.command)), "o", flag)
