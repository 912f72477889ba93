"""A folder that `timm.create_model` loads with nothing of ours."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from ssl_seg.exporting.base import ExportModel, as_linear, check_difference, difference, unsupported
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import atomic_output, write_json
from ssl_seg.nn.layers import global_pool, in_chans_of
from ssl_seg.weights.backbone_file import FORMAT
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.state_dict import write_tensors

_TOLERANCE = 1e-5
_SOURCE_KEYS = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "architecture")
_DESCRIPTION_KEYS = (
    "license",
    "description",
    "origin_url",
    "paper_name",
    "paper_ids",
    "notes",
    "label_offset",
)
_TEST_KEYS = ("test_input_size", "test_crop_pct", "test_pool_size", "min_input_size")


@torch.random.fork_rng(devices=[])  # building a network draws random numbers
def to_timm(source: ExportModel, folder: Path) -> Exported:
    """Write `config.json` and `model.safetensors`: a model of timm with these weights.

    A linear classifier is in it where timm's network classifies the same way, from the mean of its
    deepest map (ResNets and EfficientNets do); a BatchNorm before it is folded into its weights. Layers
    that belong to the classifier of timm's network and that the backbone has not (VGG's two wide ones,
    ConvNeXt's last norm) get timm's initial weights, and a note says so; so does one of layers that
    version 0.1.0 kept and never trained.

    Args:
        source: its backbone has a `timm_call`.
        folder: must not exist, or be empty.

    Raises:
        UsageError: the backbone is not a network of timm.
        WeightsError: what timm makes of the folder computes something else.
        OutputInUseError, ResourceError: see `atomic_output`.
    """
    net, with_head, notes = network(source)
    with atomic_output(folder) as tmp_path:
        tmp_path.mkdir()
        write_json(tmp_path / "config.json", config(source, net, with_head=with_head))
        safetensors_metadata = {
            **source.safetensors_metadata,
            MARK: [*source.safetensors_metadata[MARK], *_missing(source, net)],
        }
        write_tensors(tmp_path / "model.safetensors", net.state_dict(), FORMAT, safetensors_metadata)
        max_difference = compare(source, tmp_path, with_head=with_head)
    code = f"timm.create_model({f'local-dir:{folder.absolute()}'!r}, pretrained=True).eval()"
    return Exported(with_head, max_difference, f"import timm\nmodel = {code}", notes)


def network(source: ExportModel) -> tuple[Any, bool, list[str]]:
    """The network of timm with the weights; whether the head is in it; and notes.

    Raises:
        UsageError: see `to_timm`.
    """
    notes: list[str] = []
    if source.head is not None:
        net = _with_classifier(source)
        if net is not None:
            return net, True, notes
        notes.append("the head is not exported: timm's network has a different one")
    net = _filled(source, 0)
    if missing := _layers(_missing(source, net)):
        notes.append(f"{missing} belongs to timm's classifier and is untrained: use forward_features()")
    if kept := _layers(untrained_in(source.backbone)):
        reason = "from version 0.1.0, which kept the initial values"
        notes.append(f"{kept} is untrained ({reason}): use forward_intermediates(), not forward_features()")
    return net, False, notes


def _layers(names: list[str]) -> str:
    """`head.norm.weight, head.norm.bias` -> `head.norm`: the layers, to be read."""
    return ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _filled(source: ExportModel, classes: int) -> Any:
    if source.timm_call is None:
        raise unsupported("timm", "the backbone is not a timm network", "--to onnx or --to hub")
    name, arguments = source.timm_call
    torch.manual_seed(0)  # what is not trained is the same every time
    net = timm.create_model(name, pretrained=False, num_classes=classes, **arguments).eval()
    own, state = source.backbone.state_dict(), net.state_dict()
    for key in _missing(source, net):
        if key not in getattr(source.backbone, "idle", ()) and not key.startswith(_classifiers(net)):
            raise unsupported("timm", f"the backbone lacks {key} of timm's {name}", "--to onnx")
    net.load_state_dict({**state, **own})
    return net


def _missing(source: ExportModel, net: nn.Module) -> list[str]:
    return [name for name in net.state_dict() if name not in source.backbone.state_dict()]


def _classifiers(net: Any) -> tuple[str, ...]:
    names = net.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


@torch.no_grad()
def _with_classifier(source: ExportModel) -> Any:
    """The network with its classifier, if it says the same as the subject's; otherwise None."""
    assert source.head is not None and source.model is not None
    max_difference = as_linear(source.head, source.backbone.channels[-1])
    if max_difference is None:
        return None
    net = _filled(source, len(source.classes))
    last = net.get_classifier()
    if not isinstance(last, nn.Linear) or last.weight.shape != max_difference[0].shape:
        return None
    last.weight.copy_(max_difference[0])
    last.bias.copy_(max_difference[1])
    images = source.sample_images()
    same = difference(net(images), source.model(images)) <= _TOLERANCE
    return net if same else None


def config(source: ExportModel, net: Any, *, with_head: bool) -> dict[str, Any]:
    """What timm's `config.json` says: the network, and how it wants its images."""
    assert source.timm_call is not None
    name, arguments = source.timm_call
    settings = {key: value for key, value in net.pretrained_cfg.items() if value is not None}
    for key in (*_SOURCE_KEYS, *_DESCRIPTION_KEYS, *_TEST_KEYS):
        settings.pop(key, None)
    fixed = bool(settings.get("fixed_input_size"))
    free = fixed and any(key in arguments for key in ("dynamic_img_size", "strict_img_size"))
    # positions were made for the size that timm's own settings name, whatever it was trained at
    made_for = (
        {"img_size": list(net.pretrained_cfg["input_size"][-2:])}
        if free and "img_size" not in arguments
        else {}
    )
    classes = len(source.classes) if with_head else 0
    settings |= {
        "input_size": [in_chans_of(source.backbone), source.image_size, source.image_size],
        "fixed_input_size": fixed and not free,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(source.mean),
        "std": list(source.std),
        "num_classes": classes,
        "pool_size": None,
        "custom_load": False,
    }
    result: dict[str, Any] = {"architecture": name.split(".")[0], "num_classes": classes}
    result["num_features"] = net.num_features
    if with_head:
        result["label_names"] = list(source.classes)
    if arguments or made_for:
        result["model_args"] = {**arguments, **made_for}
    pixels = {key: source.metadata[key] for key in ("range", "bands") if key in source.metadata}
    return result | pixels | {"pretrained_cfg": settings}


@torch.no_grad()
def compare(source: ExportModel, folder: Path, *, with_head: bool) -> float:
    """What timm makes of a folder, held against the subject: the largest difference.

    Raises:
        WeightsError: it is above 1e-5.
    """
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = source.sample_images()
    if with_head:
        assert source.model is not None
        return check_difference(difference(loaded(images), source.model(images)), _TOLERANCE, "timm")
    if source.backbone.whole:
        return check_difference(
            difference(global_pool([loaded.forward_features(images)]), source.pooled_features(images)),
            _TOLERANCE,
            "timm",
        )
    options: dict[str, Any] = {"norm": True, "output_fmt": "NCHW", "intermediates_only": True}
    theirs = loaded.forward_intermediates(images, indices=1, **options)
    return check_difference(
        difference(global_pool(theirs), source.pooled_features(images)), _TOLERANCE, "timm"
    )
