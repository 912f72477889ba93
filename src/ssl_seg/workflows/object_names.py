"""What `run.toml` and weight files say of objects that were made in Python."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ssl_seg.errors import SslSegError, UsageError, did_you_mean
from ssl_seg.workflows.config import ClassificationConfig, PretrainConfig, SegmentationConfig
from ssl_seg.workflows.flag_values import device_of

if TYPE_CHECKING:
    from ssl_seg.base import Backbone, Dataset
    from ssl_seg.registry import Registry

K = TypeVar("K", PretrainConfig, ClassificationConfig, SegmentationConfig)

# settings that objects decide
_DECIDED = frozenset(
    {"data", "ssl", "backbone", "probe", "train", "val", "extra", "head", "init", "any_size", "o"}
)
_LEAST = {"epochs": 1, "batch_size": 2, "image_size": 8, "accumulate": 1, "probe_every": 1, "val_every": 1}


def with_settings(config: K, settings: dict[str, Any]) -> K:
    """A configuration with some settings replaced, and all of them checked.

    Raises:
        UsageError: there is no such setting, an object decides it, or it takes no such value.
    """
    from pydantic import TypeAdapter, ValidationError

    settings = dict(settings)
    if "cpu" in settings:
        settings |= {"device": device_of(settings.get("device", "auto"), settings.pop("cpu"))}
    known = [name for name in config.settings() if name not in _DECIDED]
    for name in settings:
        if name in _DECIDED:
            raise UsageError(f"{name!r} is not a setting here: the objects decide it")
        if name not in known:
            raise UsageError(f"no setting {name!r}{did_you_mean(name, known)}")
    try:
        checked: K = TypeAdapter(type(config)).validate_python(replace(config, **settings).settings())
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise UsageError(f"{location}: {first['msg'].lower()}, got {first['input']!r}") from error
    for name, value in checked.settings().items():
        least = _LEAST.get(name, 0)
        if isinstance(value, int | float) and value < least:
            raise UsageError(f"{name} must be at least {least}, got {value!r}")
    return checked


def stated_normalization(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> dict[str, Any] | None:
    """What is stated, with ImageNet's numbers for the other one; None if nothing is."""
    from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD

    return (
        None if mean is None and std is None else {"mean": mean or IMAGENET_MEAN, "std": std or IMAGENET_STD}
    )


def dataset_name(dataset: "Dataset") -> str:
    """`Arrays(120)`: its kind, and how many images it has."""
    return f"{type(dataset).__name__}({len(dataset)})"


def with_datasets(config: K, datasets: Mapping[str, "Dataset | float | None"]) -> K:
    """Settings with the names of datasets by what they are for; the share that is held out stands for itself."""
    names: dict[str, Any] = {
        role: each if each is None else str(each) if isinstance(each, int | float) else dataset_name(each)
        for role, each in datasets.items()
    }
    return replace(config, **names)


def with_backbone(config: K, backbone: "Backbone") -> K:
    """Settings with the name and the options of a backbone, as far as it knows them."""
    name, options = getattr(backbone, "built_as", (type(backbone).__name__, {}))
    return replace(config, backbone=name).with_options("backbone", options)


def registered_name(registry: "Registry", kind: str, component: object) -> str:
    """The name of a component's class in the registry, or that of the class itself."""
    for name in registry.names(kind):
        try:
            if registry.factory(kind, name) is type(component):
                return name
        except SslSegError:  # a plugin that cannot be loaded
            continue
    return type(component).__name__
