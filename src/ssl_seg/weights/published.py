"""Weights that others have published, by name: `timm:resnet50.a1_in1k`, and what their publishers say of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_seg.base import Backbone
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.study.run_paths import find_run
from ssl_seg.weights.download import HubRepo, url_file
from ssl_seg.weights.readers import read_tensors, resolve_weight_file

_NAMES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them


@dataclass(frozen=True)
class PublishedWeights:
    """Weights by name.

    Attributes:
        name: complete, as it is recorded: `timm:resnet50.a1_in1k`.
        metadata: `backbone`, `options`, `image_size`, `mean`, `std` and `license`; the keys are those in the
            header of a weight file.
        fetch: gives the file, from a cache or from the network.
        timm_config: of a file that timm's loader reads; None where its tensors have the backbone's names.
    """

    name: str
    metadata: Mapping[str, Any]
    fetch: Callable[[], Path]
    timm_config: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return self.name

    def read(self, backbone: Backbone) -> tuple[Path, dict[str, Tensor]]:
        """The file, and its tensors under timm's names, with the position embeddings that a backbone needs.

        Raises:
            WeightsError: it cannot be downloaded or read.
        """
        file = self.fetch()
        tensors, _ = read_tensors(file)
        if self.timm_config is None:
            return file, tensors
        from ssl_seg.weights.timm_weights import as_timm_loads

        return file, as_timm_loads(tensors, self.timm_config, backbone)


def find_weights(text: str | Path | PublishedWeights) -> Path | PublishedWeights:
    """What `--init` means: published weights, or the path of a run or file; a `Path` is one already.

    Raises:
        UsageError: no such weights, see also `find_run`. WeightsError: what describes them cannot be read.
    """
    if not isinstance(text, str):
        return text
    scheme, _, name = text.partition(":")
    return _SCHEMES[scheme](name.strip()) if scheme in _SCHEMES else find_run(text)


def tensors_of(weights: Path | PublishedWeights) -> dict[str, Tensor]:
    """All tensors of a weight file under the names that they have there, those of a classifier too.

    Raises:
        WeightsError: it cannot be read or downloaded.
    """
    file = weights.fetch() if isinstance(weights, PublishedWeights) else resolve_weight_file(weights)
    return read_tensors(file)[0]


def _timm(name: str) -> PublishedWeights:
    """A name of timm, with the tag of the weights or without."""
    import timm

    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        known = timm.list_pretrained()
        network = name.split(".")[0]
        tags = [each for each in known if each.split(".")[0] == network]
        hint = f"timm:{', timm:'.join(tags[:4])}" if tags else "https://huggingface.co/timm"
        raise UsageError(f"timm has no weights {name!r}{did_you_mean(name, known)}", next=hint)
    found = config.to_dict()

    def fetch() -> Path:
        if not config.hf_hub_id:
            return url_file(config.url)
        repo, _, revision = config.hf_hub_id.partition("@")
        names = (config.hf_hub_filename,) if config.hf_hub_filename else _NAMES
        return HubRepo(repo, revision or None).file(*names)

    return PublishedWeights(
        f"timm:{config.architecture}.{config.tag}", _metadata_of_timm(found), fetch, found
    )


def _metadata_of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "backbone": config["architecture"],
        "options": {},
        "image_size": min(config["input_size"][1:]),
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "license": config.get("license") or "not stated",
    }


_SCHEMES: Mapping[str, Callable[[str], PublishedWeights]] = {"timm": _timm}
