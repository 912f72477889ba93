"""A folder that `timm.create_model` loads with nothing of ours."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from ssl_seg.exporting.base import Subject, affine, cannot, check, difference
from ssl_seg.exporting.exported import Exported
from ssl_seg.exporting.output import placed, write_json
from ssl_seg.nn.layers import global_pool
from ssl_seg.weights.backbone_file import FORMAT
from ssl_seg.weights.first_version import MARK, untrained_in
from ssl_seg.weights.state_dict import write_tensors

_ALLOWED = 1e-5
_ELSEWHERE = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "architecture")
_OF_OTHERS = ("license", "description", "origin_url", "paper_name", "paper_ids", "notes", "label_offset")
_OF_TESTS = ("test_input_size", "test_crop_pct", "test_pool_size", "min_input_size")


@torch.random.fork_rng(devices=[])  # building a network draws random numbers
def to_timm(subject: Subject, folder: Path) -> Exported:
    """Write `config.json` and `model.safetensors`: a model of timm with these weights.

    A linear classifier is in it where timm's network classifies the same way, from the mean of its
    deepest map (ResNets and EfficientNets do); a BatchNorm before it is folded into its weights. Layers
    that belong to the classifier of timm's network and that the backbone has not (VGG's two wide ones,
    ConvNeXt's last norm) get timm's initial weights, and a note says so; so does one of layers that
    version 0.1.0 kept and never trained.

    Args:
        subject: its backbone has a `timm_call`.
        folder: must not exist, or be empty.

    Raises:
        UsageError: the backbone is not a network of timm.
        WeightsError: what timm makes of the folder computes something else.
        OccupiedError, ResourceError: see `placed`.
    """
    net, whole, notes = network(subject)
    with placed(folder) as aside:
        aside.mkdir()
        write_json(aside / "config.json", config(subject, net, whole=whole))
        header = {**subject.header, MARK: [*subject.header[MARK], *_missing(subject, net)]}
        write_tensors(aside / "model.safetensors", net.state_dict(), FORMAT, header)
        found = compare(subject, aside, whole=whole)
    code = f"timm.create_model({f'local-dir:{folder.absolute()}'!r}, pretrained=True).eval()"
    return Exported(whole, found, f"import timm\nmodel = {code}", notes)


def network(subject: Subject) -> tuple[Any, bool, list[str]]:
    """The network of timm with the weights; whether the head is in it; and notes.

    Raises:
        UsageError: see `to_timm`.
    """
    notes: list[str] = []
    if subject.head is not None:
        net = _with_classifier(subject)
        if net is not None:
            return net, True, notes
        notes.append("the head is not exported: timm's network has a different one")
    net = _filled(subject, 0)
    if missing := _layers(_missing(subject, net)):
        notes.append(f"{missing} belongs to timm's classifier and is untrained: use forward_features()")
    if kept := _layers(untrained_in(subject.backbone)):
        why = "from version 0.1.0, which kept the initial values"
        notes.append(f"{kept} is untrained ({why}): use forward_intermediates(), not forward_features()")
    return net, False, notes


def _layers(names: list[str]) -> str:
    """`head.norm.weight, head.norm.bias` -> `head.norm`: the layers, to be read."""
    return ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _filled(subject: Subject, classes: int) -> Any:
    if subject.timm_call is None:
        raise cannot("timm", "the backbone is not a timm network", "--to onnx or --to hub")
    name, arguments = subject.timm_call
    torch.manual_seed(0)  # what is not trained is the same every time
    net = timm.create_model(name, pretrained=False, num_classes=classes, **arguments).eval()
    own, state = subject.backbone.state_dict(), net.state_dict()
    for key in _missing(subject, net):
        if key not in getattr(subject.backbone, "idle", ()) and not key.startswith(_classifiers(net)):
            raise cannot("timm", f"the backbone lacks {key} of timm's {name}", "--to onnx")
    net.load_state_dict({**state, **own})
    return net


def _missing(subject: Subject, net: nn.Module) -> list[str]:
    return [name for name in net.state_dict() if name not in subject.backbone.state_dict()]


def _classifiers(net: Any) -> tuple[str, ...]:
    names = net.pretrained_cfg.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


@torch.no_grad()
def _with_classifier(subject: Subject) -> Any:
    """The network with its classifier, if it says the same as the subject's; otherwise None."""
    assert subject.head is not None and subject.model is not None
    found = affine(subject.head, subject.backbone.channels[-1])
    if found is None:
        return None
    net = _filled(subject, len(subject.classes))
    last = net.get_classifier()
    if not isinstance(last, nn.Linear) or last.weight.shape != found[0].shape:
        return None
    last.weight.copy_(found[0])
    last.bias.copy_(found[1])
    images = subject.images()
    same = difference(net(images), subject.model(images)) <= _ALLOWED
    return net if same else None


def config(subject: Subject, net: Any, *, whole: bool) -> dict[str, Any]:
    """What timm's `config.json` says: the network, and how it wants its images."""
    assert subject.timm_call is not None
    name, arguments = subject.timm_call
    given = {key: value for key, value in net.pretrained_cfg.items() if value is not None}
    for key in (*_ELSEWHERE, *_OF_OTHERS, *_OF_TESTS):
        given.pop(key, None)
    fixed = bool(given.get("fixed_input_size"))
    free = fixed and any(key in arguments for key in ("dynamic_img_size", "strict_img_size"))
    # positions were made for the size that timm's own settings name, whatever it was trained at
    made_for = {"img_size": list(net.pretrained_cfg["input_size"][-2:])} if free else {}
    classes = len(subject.classes) if whole else 0
    given |= {
        "input_size": [3, subject.size, subject.size],
        "fixed_input_size": fixed and not free,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(subject.mean),
        "std": list(subject.std),
        "num_classes": classes,
        "pool_size": None,
        "custom_load": False,
    }
    result: dict[str, Any] = {"architecture": name.split(".")[0], "num_classes": classes}
    result["num_features"] = net.num_features
    if whole:
        result["label_names"] = list(subject.classes)
    if arguments or made_for:
        result["model_args"] = {**arguments, **made_for}
    return result | {"pretrained_cfg": given}


@torch.no_grad()
def compare(subject: Subject, folder: Path, *, whole: bool) -> float:
    """What timm makes of a folder, held against the subject: the largest difference.

    Raises:
        WeightsError: it is above 1e-5.
    """
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = subject.images()
    if whole:
        assert subject.model is not None
        return check(difference(loaded(images), subject.model(images)), _ALLOWED, "timm")
    if subject.backbone.whole:
        return check(
            difference(global_pool([loaded.forward_features(images)]), subject.pooled(images)),
            _ALLOWED,
            "timm",
        )
    how: dict[str, Any] = {"norm": True, "output_fmt": "NCHW", "intermediates_only": True}
    theirs = loaded.forward_intermediates(images, indices=1, **how)
    return check(difference(global_pool(theirs), subject.pooled(images)), _ALLOWED, "timm")
