"""Weights in the layout of Hugging Face's hub, as timm writes it or `ssl-seg export --to hub`.

What `config.json` says is checked like the header of a weight file: it names a registered component and values
of known types and ranges, and nothing else of it is used.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_seg.errors import SslSegError, WeightsError
from ssl_seg.utils.code_names import FoundName, names_code
from ssl_seg.utils.text import shown
from ssl_seg.utils.toml import read_json
from ssl_seg.weights.download import HubRepo, LocalFolder
from ssl_seg.weights.header import check_values, values_of
from ssl_seg.weights.published import PublishedWeights
from ssl_seg.weights.readers import read_header

FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_OPTIONS = (
    "img_size",
    "patch_size",
    "output_stride",
    "in_chans",
)  # of timm's networks, and of `TimmBackbone`
# change no tensor and no feature map, or `TimmBackbone` sets them itself
_IDLE = (
    "dynamic_img_size",
    "strict_img_size",
    "num_classes",
    "global_pool",
    "drop_rate",
    "drop_path_rate",
)
_MAX_CLASSES = 100_000
_LICENSE = re.compile(r"^license:\s*[\"']?([\w.+-]{1,60})[\"']?\s*$", re.MULTILINE)


def of_repository(name: str, files: HubRepo | LocalFolder) -> PublishedWeights:
    """The weights that a repository, or its copy in a folder, holds.

    Args:
        name: as the user wrote it.
        files: gives the files.

    Raises:
        WeightsError: `config.json` or the file it describes cannot be read, is not of timm or this library, or
            says something that cannot be.
    """
    path = files.file("config.json")
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"cannot read weights: config.json is corrupt ({error})", where=str(path)
        ) from error
    if "ssl_seg_version" in config:
        file = files.file(FILES[0])
        found = values_of(read_header(file), file, ("backbone",))
        return PublishedWeights(name, {**found, "license": _license(files)}, lambda: file)
    if "architecture" not in config:
        made_for = config.get("model_type", "another library")
        raise WeightsError(
            f"{name} is not in timm's layout: config.json has no 'architecture' (it is for {made_for})",
            where=str(path),
            next="https://huggingface.co/timm has most networks; or --init FILE --backbone NAME",
        )
    stated = _pretrained_config(config, path)
    metadata = _metadata(config, stated, path)
    metadata["license"] = stated.get("license") or _license(files)
    return PublishedWeights(name, metadata, lambda: files.file(*FILES), stated)


def _pretrained_config(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What `config.json` says of the weights, as timm's loader takes it."""
    from dataclasses import fields

    from timm.models import PretrainedCfg

    inner = config.get("pretrained_cfg", config)
    known = {field.name for field in fields(PretrainedCfg)}
    stated = (
        {key: value for key, value in dict(inner).items() if key in known} if isinstance(inner, dict) else {}
    )
    classes = config.get("num_classes", stated.get("num_classes", 1000))
    if type(classes) is not int or not 0 <= classes <= _MAX_CLASSES:
        raise _refused(path, "num_classes", classes)
    license = stated.get("license")
    if not (license is None or isinstance(license, str)):
        raise _refused(path, "license", license)
    return stated | {"architecture": config["architecture"], "num_classes": classes}


def _metadata(config: Mapping[str, Any], stated: Mapping[str, Any], path: Path) -> dict[str, Any]:
    size = stated.get("input_size")
    if not (isinstance(size, list) and len(size) == 3 and all(type(side) is int for side in size)):
        raise _refused(path, "input_size", size)
    options = _options(config.get("model_args", {}), path)
    if size[0] != int(options.get("in_chans", "3")):
        what = f"input_size is of {size[0]} channels, and model_args of {options.get('in_chans', 3)}"
        raise WeightsError(f"cannot read weights: {what}", where=str(path))
    metadata = {
        "backbone": config["architecture"],
        "options": options,
        "image_size": min(size[1:]),
        "mean": stated.get("mean"),
        "std": stated.get("std"),
    }
    check_values(metadata, path)
    for key in ("mean", "std"):
        if len(stated[key]) != size[0]:
            raise _refused(path, key, stated[key])
    from timm import is_model

    found = FoundName.of(metadata["backbone"], path)
    # timm would look for other names on the network, or in a folder; code is refused where names are resolved
    if not (names_code(found) or is_model(found)):
        raise WeightsError(f"timm has no network {shown(found)}", where=str(path))
    return metadata | {"backbone": found}


def _options(arguments: Any, path: Path) -> dict[str, str]:
    """Options of the backbone from the arguments with which timm makes the network."""
    if not isinstance(arguments, dict):
        raise _refused(path, "model_args", arguments)
    if unknown := arguments.keys() - {*_OPTIONS, *_IDLE}:
        raise WeightsError(
            f"the weights need a network with {', '.join(sorted(unknown))}, which backbones have not",
            where=f"{path}: model_args",
        )
    found = {}
    for key in _OPTIONS:
        sides = value if isinstance(value := arguments.get(key), list) else [value]
        if value is not None:
            if len(set(map(str, sides))) != 1 or type(sides[0]) is not int:
                raise _refused(path, f"model_args.{key}", value)
            found[key] = str(sides[0])
    return found


def _license(files: HubRepo | LocalFolder) -> str:
    """What the model card's front matter says."""
    with suppress(SslSegError, OSError, UnicodeDecodeError):
        front = files.file("README.md").read_text(encoding="utf-8").split("\n---", 1)[0]
        if found := _LICENSE.search(front):
            return found[1]
    return "not stated"


def _refused(path: Path, key: str, value: object) -> WeightsError:
    value_text = repr(value)[:60]
    return WeightsError(f"cannot read weights: invalid value {key} = {value_text}", where=str(path))
