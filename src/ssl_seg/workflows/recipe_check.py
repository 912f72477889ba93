"""Whether an optimizer has a learning rate, before images are read."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_seg.registry import Registry


def check_lr(command: str, flags: Mapping[str, Any], registry: "Registry") -> None:
    """See that an optimizer has a learning rate: of the flags, or of the recipe of a method or command.

    Args:
        command: `train`, `classify` or `segment`.
        flags: some of its flags, by their names in a configuration.

    Raises:
        UsageError: it has none.
        PluginError: the recipe of a plugin is malformed.
    """
    from ssl_seg.engine.recipe import resolve
    from ssl_seg.utils.options import paper_in
    from ssl_seg.workflows.classify import CLASSIFICATION
    from ssl_seg.workflows.segment import SEGMENTATION

    recipes = {"classify": CLASSIFICATION.recipe, "segment": SEGMENTATION.recipe}
    owner, recipe = f"ssl-seg {command}", recipes.get(command)
    if command == "train":
        name = flags.get("ssl", "byol")
        factory, owner = registry.factory("ssl", name), f"ssl method {name}"
        paper = paper_in(factory, f"ssl {name}", flags.get("o", {}).get("ssl", {}))
        recipe = paper.recipe if paper else getattr(factory, "recipe", None)
    if isinstance(recipe, Mapping):  # what it is otherwise is said where the method is built
        known = {"lr": None, "weight_decay": None, "warmup": None, "batch_size": 64} | dict(flags)
        resolve(known, recipe, owner)
