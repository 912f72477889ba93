"""A state dict that torchvision's own networks load strictly."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from ssl_seg.errors import UsageError
from ssl_seg.exporting.base import (
    ExportModel,
    as_linear,
    check_difference,
    difference,
    last_child,
    unsupported,
)
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import atomic_output
from ssl_seg.weights.backbone_file import FORMAT
from ssl_seg.weights.state_dict import write_tensors

_TOLERANCE = 1e-5
_LOST = -1e4  # a logit that wins nowhere; minus infinity is no number once it is interpolated


@dataclass(frozen=True)
class _Candidate:
    """A network of torchvision that may hold the subject, and the state it would get."""

    network: nn.Module
    state: dict[str, Tensor]
    code: str
    includes_head: bool

    @property
    def fits(self) -> bool:
        own = self.network.state_dict()
        return own.keys() == self.state.keys() and all(own[k].shape == t.shape for k, t in self.state.items())


def to_torchvision(source: ExportModel, path: Path) -> Exported:
    """Write a state dict for torchvision's network of the same name: .pth, .pt or .safetensors.

    With a linear classifier on a ResNet it is the whole network; with DeepLabv3 on a ResNet of output
    stride 8 it is `deeplabv3_resnet50` or its kin, whole. Otherwise it is all but the classifier.

    Args:
        source: its backbone has the `timm_call` of a network that torchvision has under that name.
        path: must not exist.

    Raises:
        UsageError: torchvision has no such network, or names or shapes its tensors in another way.
        WeightsError: torchvision's network computes something else from the weights.
        OutputInUseError, ResourceError: see `atomic_output`.
    """
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise UsageError(
            f"--to torchvision: expected --out with suffix .pth, .pt or .safetensors, got {path}"
        )
    chosen = _choose(source)
    max_difference = check_difference(_distance(source, chosen), _TOLERANCE, "torchvision")
    with atomic_output(path) as tmp_path:
        if path.suffix == ".safetensors":
            write_tensors(tmp_path, chosen.state, FORMAT, source.safetensors_metadata)
        else:
            torch.save({name: tensor.contiguous().clone() for name, tensor in chosen.state.items()}, tmp_path)
    read = {".safetensors": f"safetensors.torch.load_file({str(path)!r})"}
    load = read.get(path.suffix, f"torch.load({str(path)!r})")
    notes = (
        []
        if chosen.includes_head or source.head is None
        else ["the head is not exported: torchvision's network has a different one"]
    )
    return Exported(
        chosen.includes_head, max_difference, f"{chosen.code}\nnet.load_state_dict({load})", notes
    )


def _choose(source: ExportModel) -> _Candidate:
    """The first network that has exactly the subject's tensors, and says the same."""
    if source.timm_call is None:
        raise unsupported(
            "torchvision", "the backbone has no torchvision counterpart", "--to onnx or --to hub"
        )
    name, arguments = source.timm_call[0].split(".")[0], dict(source.timm_call[1])
    if name not in torchvision.models.list_models(torchvision.models):
        raise unsupported("torchvision", f"no network named {name}", "--to timm")
    stride = arguments.pop("output_stride", 32)
    if arguments:
        raise unsupported("torchvision", f"its {name} does not support {', '.join(arguments)}", "--to timm")
    dilated = {"replace_stride_with_dilation": [False, stride <= 8, stride <= 16]} if stride < 32 else {}
    for candidate in _candidates(source, name, dilated):
        if candidate.fits and not (candidate.includes_head and _disagrees(source, candidate)):
            return candidate
    raise unsupported("torchvision", f"its {name} has other tensors or tensor names", "--to timm")


def _candidates(source: ExportModel, name: str, dilated: dict[str, Any]) -> Iterator[_Candidate]:
    own, classes = source.backbone.state_dict(), len(source.classes)
    head = source.head
    if head is not None and dilated.get("replace_stride_with_dilation") == [False, True, True]:
        full_name = f"deeplabv3_{name}"
        if full_name in torchvision.models.list_models(torchvision.models.segmentation):
            state = {f"backbone.{key}": tensor for key, tensor in own.items()} | _with_excluded_classes(
                source
            )
            aux = any(key.startswith("aux_classifier.") for key in state)
            settings = {"weights": None, "weights_backbone": None, "num_classes": classes, "aux_loss": aux}
            arguments = f"{full_name}(weights_backbone=None, num_classes={classes}, aux_loss={aux})"
            code = f"net = torchvision.models.segmentation.{arguments}"
            network = _network(full_name, **settings)
            yield _Candidate(network, state, code + _with_rates_of(head, network), True)
    linear = as_linear(head, source.backbone.channels[-1]) if head is not None else None
    arguments = "".join(f", {key}={value}" for key, value in dilated.items())
    try:
        if linear is not None:
            network = _network(name, weights=None, num_classes=classes, **dilated)
            last = last_child(network)
            state = own | {f"{last}.weight": linear[0], f"{last}.bias": linear[1]}
            code = f"net = torchvision.models.{name}(num_classes={classes}{arguments})"
            yield _Candidate(network, state, code, True)
        network = _network(name, weights=None, **dilated)
    except (TypeError, ValueError, NotImplementedError) as error:  # how torchvision refuses an argument
        reason = f"its {name} supports output stride 32 only ({error})"
        raise unsupported("torchvision", reason, "--to timm") from error
    last = last_child(network)
    setattr(network, last, nn.Identity())
    arguments = arguments.removeprefix(", ")
    code = f"net = torchvision.models.{name}({arguments})\nnet.{last} = torch.nn.Identity()"
    yield _Candidate(network, own, code, False)


def _with_rates_of(head: nn.Module, network: nn.Module) -> str:
    """Give torchvision's DeepLabv3 the rates of a head of ours; returns the code that does it."""
    if not hasattr(head, "classifier"):
        return ""
    own, theirs = _atrous(head), _atrous(network)
    rates = tuple(conv.dilation[0] for conv in own)
    if rates == tuple(conv.dilation[0] for conv in theirs) or len(own) != len(theirs):
        return ""
    for conv, rate in zip(theirs, rates, strict=True):
        conv.dilation = conv.padding = (rate, rate)
    return (
        f"\nfor branch, rate in zip(net.classifier[0].convs[1:4], {rates}):"
        "\n    branch[0].dilation = branch[0].padding = (rate, rate)"
    )


def _atrous(network: nn.Module) -> list[nn.Conv2d]:
    """The atrous convolutions of a DeepLabv3."""
    parts = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    return [
        part for name, part in parts if name.startswith("classifier.0.convs.") and part.kernel_size == (3, 3)
    ]


def _with_excluded_classes(source: ExportModel) -> dict[str, Tensor]:
    """DeepLabv3's tensors, so that the excluded classes lose everywhere: torchvision's network has no mask."""
    assert source.head is not None
    state = dict(source.head.state_dict())
    weight, bias = (state[f"classifier.4.{name}"].clone() for name in ("weight", "bias"))
    weight[source.excluded], bias[source.excluded] = 0.0, _LOST
    return {**state, "classifier.4.weight": weight, "classifier.4.bias": bias}


def _network(name: str, **options: Any) -> nn.Module:
    """A network without numbers: it gets all of them from the subject."""
    with torch.device("meta"):
        network: nn.Module = torchvision.models.get_model(name, **options)
    return network


def _disagrees(source: ExportModel, candidate: _Candidate) -> bool:
    return not _distance(source, candidate) <= _TOLERANCE


@torch.no_grad()
def _distance(source: ExportModel, candidate: _Candidate) -> float:
    """Logits of a whole network, features of one without its classifier, against the subject's."""
    network, images = candidate.network.eval(), source.sample_images()
    network.load_state_dict(candidate.state, assign=True)
    theirs = network(images)
    if candidate.includes_head:
        assert source.model is not None
        logits = theirs["out"] if isinstance(theirs, dict) else theirs
        return difference(source.model.without_excluded(logits), source.model(images))
    pooling = getattr(network, "avgpool", nn.AdaptiveAvgPool2d(1))
    return difference(theirs.flatten(1), pooling(source.backbone(images)[-1]).flatten(1))
