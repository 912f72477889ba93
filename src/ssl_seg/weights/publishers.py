"""Names of published weights: `timm:`, `hf-hub:`, `local-dir:`, `torchvision:`, `dinov2:` and `dinov3:`."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.home import expanded
from ssl_seg.weights.download import HubRepo, LocalFolder, url_file
from ssl_seg.weights.published import PublishedWeights
from ssl_seg.weights.repository import FILES, of_repository

_SAME_NAMES = re.compile("densenet|inception_v3|resne|vgg|wide_resnet")  # in torchvision and in timm
_DINOV2 = {
    f"vit{letter}14{'_reg' if registers else ''}": f"vit_{size}_patch14{registers}_dinov2.lvd142m"
    for letter, size in zip("sblg", ("small", "base", "large", "giant"), strict=True)
    for registers in ("", "_reg4")
}
_DINOV3 = {
    **{
        name: f"vit_{size}_patch16_dinov3.lvd1689m"
        for name, size in {
            "vits16": "small",
            "vits16plus": "small_plus",
            "vitb16": "base",
            "vitl16": "large",
            "vith16plus": "huge_plus",
            "vit7b16": "7b",
        }.items()
    },
    "vitl16_sat493m": "vit_large_patch16_dinov3.sat493m",
    "vit7b16_sat493m": "vit_7b_patch16_dinov3.sat493m",
    **{f"convnext_{size}": f"convnext_{size}.dinov3_lvd1689m" for size in ("tiny", "small", "base", "large")},
}


def find_weights(text: str | Path | PublishedWeights) -> Path | PublishedWeights:
    """What `--init` means: published weights, or the path of a run or file; a `Path` is one already.

    Raises:
        UsageError: no such weights, see also `find_run`. WeightsError: what describes them cannot be read.
    """
    if not isinstance(text, str):
        return text
    scheme, _, name = text.partition(":")
    return _SCHEMES[scheme](name.strip()) if scheme in _SCHEMES else find_run(text)


def _timm(name: str) -> PublishedWeights:
    """A name of timm, with the tag of the weights or without."""
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        known = timm.list_pretrained()
        tags = [each for each in known if each.split(".")[0] == name.split(".")[0]]
        hint = f"timm:{', timm:'.join(tags[:4])}" if tags else "https://huggingface.co/timm"
        raise UsageError(f"timm has no weights {name!r}{did_you_mean(name, known)}", next=hint)

    def fetch() -> Path:
        if not config.hf_hub_id:
            return url_file(config.url)
        repo, _, revision = config.hf_hub_id.partition("@")
        return HubRepo(repo, revision or None).file(*_file_names(config))

    values = config.to_dict()
    metadata = {
        "backbone": config.architecture,
        "options": {},
        "image_size": min(config.input_size[1:]),
        "mean": list(config.mean),
        "std": list(config.std),
        "license": config.license or "not stated",
    }
    return PublishedWeights(f"timm:{config.architecture}.{config.tag}", metadata, fetch, values)


def _file_names(config: Any) -> tuple[str, ...]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else FILES


def _hub(name: str) -> PublishedWeights:
    """A repository of Hugging Face's hub: `USER/NAME`, or `USER/NAME@REVISION`."""
    repo, _, revision = name.partition("@")
    return of_repository(f"hf-hub:{name}", HubRepo(repo, revision or None))


def _local(name: str) -> PublishedWeights:
    """A folder with the files of such a repository."""
    return of_repository(f"local-dir:{name}", LocalFolder(expanded(name)))


def _torchvision(name: str) -> PublishedWeights:
    """A name of torchvision's: `ResNet50_Weights.IMAGENET1K_V2`."""
    import timm
    from torchvision import models

    kinds = {str(network): models.get_model_weights(network) for network in models.list_models(module=models)}
    known = {
        f"{kind.__name__}.{each.name}": (network, each) for network, kind in kinds.items() for each in kind
    }
    if name not in known:
        near = did_you_mean(name, known)
        raise UsageError(f"torchvision has no weights {name!r}{near}", next="ResNet50_Weights.IMAGENET1K_V2")
    network, weights = known[name]
    if not _SAME_NAMES.match(network):
        near = did_you_mean(network, timm.list_pretrained()).removeprefix("; ")
        raise UsageError(
            f"the tensors of torchvision's {network} have other names than those of a backbone",
            where="known of torchvision: DenseNet, Inception v3, ResNet, ResNeXt, VGG, Wide ResNet",
            next=f"timm has many weights of such networks: --init timm:NAME{f', {near}' if near else ''}",
        )
    images = weights.transforms()
    metadata = {
        "backbone": network,
        "options": {},
        "image_size": images.crop_size[0],
        "mean": list(images.mean),
        "std": list(images.std),
        "license": weights.meta.get("license", "not stated"),
    }
    config = {"architecture": network, "num_classes": len(weights.meta["categories"])}
    usual = timm.get_pretrained_cfg(network).to_dict()
    return PublishedWeights(f"torchvision:{name}", metadata, lambda: url_file(weights.url), usual | config)


def _alias(scheme: str, names: Mapping[str, str]) -> Callable[[str], PublishedWeights]:
    """Names as the authors' own repository has them, for the same weights at timm."""

    def find(name: str) -> PublishedWeights:
        if name not in names:
            what = f"no weights {name!r} of {scheme}{did_you_mean(name, names)}"
            raise UsageError(what, next=f"one of {', '.join(names)}")
        return _timm(names[name])

    return find


_SCHEMES: Mapping[str, Callable[[str], PublishedWeights]] = {
    "timm": _timm,
    "hf-hub": _hub,
    "local-dir": _local,
    "torchvision": _torchvision,
    "dinov2": _alias("dinov2", _DINOV2),
    "dinov3": _alias("dinov3", _DINOV3),
}
