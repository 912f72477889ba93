"""Weights as other libraries save them, into a backbone: every tensor, or none."""

import argparse
import copy
import types
from collections import OrderedDict

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from ssl_seg.backbones.timm import TimmBackbone
from ssl_seg.base import Backbone
from ssl_seg.errors import WeightsError
from ssl_seg.methods.byol import BYOL
from ssl_seg.testing import TinyBackbone
from ssl_seg.weights.backbone_file import load_backbone, save_backbone
from ssl_seg.weights.checkpoint import save_checkpoint
from ssl_seg.weights.key_matching import find_matches

HEAD = ["fc.weight", "fc.bias"]


def shaken(module, seed):
    """The module with numbers in it that no fresh one has, running statistics and counters too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
            else:
                tensor.fill_(seed + 7)
    return module


THIN = {"channels": (64, 8, 16, 32)}  # a resnet18 in all its names


@pytest.fixture(scope="module")
def state():
    return dict(shaken(timm.create_model("resnet18", num_classes=3, **THIN), 0).state_dict())


@pytest.fixture(scope="module")
def other(state):
    """A moving average of it."""
    return {**state, "layer4.1.conv2.weight": state["layer4.1.conv2.weight"] * 0.5}


@pytest.fixture(scope="module")
def net():
    return shaken(torchvision.models.resnet18(), 0)


@pytest.fixture(scope="module")
def backbones():
    thin = TimmBackbone("resnet18")
    thin.net = timm.create_model("resnet18", num_classes=0, **THIN)
    return TimmBackbone("resnet18"), thin


@pytest.fixture
def blank(backbones):
    return emptied(backbones[0])


@pytest.fixture
def thin(backbones):
    return emptied(backbones[1])


def emptied(backbone):
    for tensor in backbone.state_dict().values():
        tensor.zero_()
    return backbone


def assert_equal(backbone, state):
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def assert_refused(path, backbone, sentence, **options):
    """Loading raises with this text, and no tensor of the backbone has moved."""
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(WeightsError, match=sentence) as error:
        load_backbone(path, backbone, **options)
    assert error.value.code == 4
    assert str(path) in error.value.where
    assert_equal(backbone, before)
    return error.value


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def numbered(prefix, state):
    """As `nn.Sequential(*list(resnet.children())[:-1])` names what it holds."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    split = {name: name.partition(".") for name in state if not name.startswith("fc.")}
    return {f"{prefix}{places[child]}.{rest}": state[name] for name, (child, _, rest) in split.items()}


def without_head(state):
    return {name: tensor for name, tensor in state.items() if name not in HEAD}


def projector(prefix):
    return {f"{prefix}0.weight": torch.ones(4, 512), f"{prefix}0.bias": torch.ones(4)}


def optimizer_of(state):
    """What an optimizer remembers: tensors of the shapes of the weights, by number."""
    moments = {place: {"exp_avg": tensor} for place, tensor in enumerate(state.values())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


def lightning(state):
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": OrderedDict(state),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(1.0)}},
        "optimizer_states": [optimizer_of(state)],
        "hyper_parameters": {"method": "byol", "lr": np.float64(0.1)},
    }


# a wrapping: what is saved, the prefix that is found, and what is left over under it
WRAPPINGS = {
    "plain": lambda s, o: (s, "", HEAD),
    "DataParallel": lambda s, o: (under("module.", s), "module.", HEAD),
    "backbone": lambda s, o: (under("backbone.", s), "backbone.", HEAD),
    "encoder": lambda s, o: (under("encoder.", s), "encoder.", HEAD),
    "net": lambda s, o: (under("net.", s), "net.", HEAD),
    "model": lambda s, o: (under("model.", s), "model.", HEAD),
    "compiled": lambda s, o: (under("_orig_mod.", s), "_orig_mod.", HEAD),
    "compiled in DDP": lambda s, o: (
        under("module._orig_mod.backbone.", s),
        "module._orig_mod.backbone.",
        HEAD,
    ),
    **{
        f"{name} mapping": lambda s, o, name=name: ({name: s, "epoch": 3}, f"{name}.", HEAD)
        for name in (
            *("state_dict", "model", "model_state_dict", "net", "network", "module"),
            *("encoder", "student", "teacher", "what nobody else calls it"),
        )
    },
    "mapping in a mapping": lambda s, o: ({"a": {"b": {"c": s}}}, "a.b.c.", HEAD),
    "training script": lambda s, o: (
        {"model": under("module.", s), "optimizer": optimizer_of(s), "args": argparse.Namespace(lr=1.0)},
        "model.module.",
        HEAD,
    ),
    "FSDP optimizer": lambda s, o: ({"model": s, "optim_state": {"exp_avg": o}}, "model.", HEAD),
    "byol-pytorch": lambda s, o: (
        under("online_encoder.net.", s)
        | projector("online_encoder.projector.")
        | under("target_encoder.net.", o)
        | projector("target_encoder.projector."),
        "online_encoder.net.",
        HEAD,
    ),
    "lightly": lambda s, o: (
        numbered("backbone.", s) | numbered("backbone_momentum.", o) | projector("projection_head.layers."),
        "backbone.",
        [],
    ),
    "lightly, whole network": lambda s, o: (
        numbered("", s) | {"9.weight": s["fc.weight"], "9.bias": s["fc.bias"]},
        "",
        ["9.weight", "9.bias"],
    ),
    "solo-learn": lambda s, o: (
        lightning(
            under("momentum_backbone.", without_head(o))
            | under("backbone.", without_head(s))
            | projector("classifier.")
        ),
        "state_dict.backbone.",
        [],
    ),
    "older solo-learn": lambda s, o: (
        lightning(under("encoder.", without_head(s)) | under("momentum_encoder.", without_head(o))),
        "state_dict.encoder.",
        [],
    ),
    "MoCo": lambda s, o: (
        {
            "arch": "resnet18",
            "state_dict": under("module.encoder_k.", o)
            | {"module.queue": torch.ones(4, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
            | under("module.encoder_q.", without_head(s))
            | projector("module.encoder_q.fc."),
            "optimizer": optimizer_of(s),
        },
        "state_dict.module.encoder_q.",
        ["fc.0.weight", "fc.0.bias"],
    ),
    "MoCo v3": lambda s, o: (
        {"state_dict": under("module.base_encoder.", s) | under("module.momentum_encoder.", o)},
        "state_dict.module.base_encoder.",
        HEAD,
    ),
    "DINO": lambda s, o: (
        {
            "teacher": under("backbone.", without_head(s)) | projector("head.mlp."),
            "student": under("module.backbone.", without_head(o)) | projector("module.head.mlp."),
            "args": argparse.Namespace(arch="resnet18"),
        },
        "teacher.backbone.",
        [],
    ),
    "timm with EMA": lambda s, o: ({"state_dict_ema": s, "state_dict": o}, "state_dict_ema.", HEAD),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_wrapping_is_seen_through(tmp_path, state, other, thin, wrapping):
    content, prefix, unexpected_keys = WRAPPINGS[wrapping](state, other)
    torch.save(content, tmp_path / "file.pth.tar")
    match = load_backbone(tmp_path / "file.pth.tar", thin)
    assert (match.matched, match.num_tensors, match.prefix, match.unexpected_keys) == (
        120,
        120,
        prefix,
        unexpected_keys,
    )
    assert match.metadata == {}
    assert_equal(thin, state)


def test_resnet18_of_torchvision_fits(tmp_path, net, blank):
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    match = load_backbone(tmp_path / "resnet18.pth", blank)
    assert str(match) == "matched 120 of 120 tensors, unexpected: fc.weight, fc.bias"
    assert_equal(blank, net.state_dict())


def test_resnet50_of_torchvision_fits():
    with torch.device("meta"):  # names and shapes are enough
        mine, theirs = TimmBackbone("resnet50"), torchvision.models.resnet50().state_dict()
    tensors = {name: torch.empty(tensor.shape, dtype=tensor.dtype) for name, tensor in theirs.items()}
    [match] = [match for match in find_matches(mine, tensors) if len(match.keys) > 9]
    assert (len(match.keys), match.prefix, match.shape_mismatches, match.missing_keys) == (318, "", {}, [])
    assert (match.unexpected_keys, match.extra_layers) == (HEAD, [])


def test_timm_fits(tmp_path, blank):
    theirs = shaken(timm.create_model("resnet18", num_classes=3), 1)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    assert load_backbone(tmp_path / "model.safetensors", blank).unexpected_keys == ["fc.bias", "fc.weight"]
    assert_equal(blank, theirs.state_dict())


def test_a_transformer_of_timm_fits(tmp_path):
    theirs = shaken(timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2), 1)
    torch.save({"student": under("module.backbone.", theirs.state_dict())}, tmp_path / "dino.pth")

    class Vit(Backbone):
        def __init__(self):
            super().__init__()
            for name, child in timm.create_model(
                "vit_tiny_patch16_224", num_classes=0, depth=2
            ).named_children():
                self.add_module(name, child)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 192))
            self.pos_embed = nn.Parameter(torch.zeros(1, 197, 192))

    mine = Vit()
    assert load_backbone(tmp_path / "dino.pth", mine).unexpected_keys == ["head.weight", "head.bias"]
    assert_equal(mine, theirs.state_dict())


def lightly_byol(backbone):
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead

    module = nn.Module()
    module.backbone = backbone
    module.projection_head = BYOLProjectionHead(512, 8, 4)
    module.prediction_head = BYOLPredictionHead(4, 8, 4)
    module.backbone_momentum = shaken(copy.deepcopy(module.backbone), 1)
    module.projection_head_momentum = copy.deepcopy(module.projection_head)
    return module


def lightly_moco(backbone):
    from lightly.models.modules import MoCoProjectionHead

    module = nn.Module()
    module.backbone = backbone
    module.projection_head = MoCoProjectionHead(512, 8, 4)
    module.backbone_momentum = shaken(copy.deepcopy(module.backbone), 1)
    module.projection_head_momentum = copy.deepcopy(module.projection_head)
    return module


def lightly_simsiam(backbone):
    from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead

    module = nn.Module()
    module.backbone = backbone
    module.projection_head = SimSiamProjectionHead(512, 8, 4)
    module.prediction_head = SimSiamPredictionHead(4, 2, 4)
    return module


@pytest.mark.parametrize("method", [lightly_byol, lightly_moco, lightly_simsiam])
def test_lightly_itself_fits(tmp_path, net, blank, method):
    pytest.importorskip("lightly")
    module = method(nn.Sequential(*list(net.children())[:-1]))
    torch.save(module.state_dict(), tmp_path / "lightly.pt")
    match = load_backbone(tmp_path / "lightly.pt", blank)
    assert str(match).startswith("matched 120 of 120 tensors (prefix 'backbone.')")
    assert all(prefix in str(match) for prefix in match.passed_over)
    assert len(match.passed_over) == (method is not lightly_simsiam)
    assert_equal(blank, net.state_dict())


def test_byol_pytorch_itself_fits(tmp_path, net, blank):
    byol_pytorch = pytest.importorskip("byol_pytorch")
    theirs = copy.deepcopy(net)
    learner = byol_pytorch.BYOL(theirs, image_size=32, hidden_layer="avgpool", projection_hidden_size=8)
    shaken(theirs, 3)
    shaken(learner.target_encoder, 4)
    torch.save(learner.state_dict(), tmp_path / "byol.pt")
    match = load_backbone(tmp_path / "byol.pt", blank)
    assert match.prefix in ("net.", "online_encoder.net.")  # one network under two names
    assert match.unexpected_keys == HEAD
    assert_equal(blank, theirs.state_dict())


def test_a_checkpoint_of_ours_fits(tmp_path, thin):
    method = shaken(BYOL(copy.deepcopy(thin), hidden=8, dimensions=4), 2)
    method.target_backbone.load_state_dict(thin.state_dict())
    optimizer = types.SimpleNamespace(state_dict=lambda: {"state": {}})
    folder = save_checkpoint(tmp_path, 1, method, optimizer, {})
    text = "matched 120 of 120 tensors (prefix 'backbone.'), passed over: 'target_backbone.' (--prefix)"
    assert str(load_backbone(folder, thin)) == text
    assert_equal(thin, method.backbone.state_dict())
    (folder / "state.json").write_text("{}")
    assert_refused(folder, thin, "the checkpoint is corrupt: state.json has 2 bytes")


# what is in the file beside a set that fits


def tiny_file(tmp_path, change=lambda tensors: tensors, seed=0):
    tensors = {name: tensor.clone() for name, tensor in shaken(TinyBackbone(), seed).state_dict().items()}
    torch.save(change(tensors), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def test_a_larger_network_is_refused(tmp_path, thin, state):
    extra_layers = state | {
        "layer1.2.conv1.weight": torch.ones(64, 64, 3, 3),
        "layer1.2.bn1.weight": torch.ones(64),
    }
    for wrapped in (extra_layers, under("module.", extra_layers), {"model": extra_layers}):
        torch.save(wrapped, tmp_path / "resnet34.pth")
        error = assert_refused(tmp_path / "resnet34.pth", thin, "contains a larger network: all 120 tensors")
        assert "layer1.2.conv1.weight, layer1.2.bn1.weight" in error.what
    places = numbered("backbone.", state) | {"backbone.4.2.conv1.weight": torch.ones(64, 64, 3, 3)}
    torch.save(places, tmp_path / "resnet34.pth")
    assert_refused(tmp_path / "resnet34.pth", thin, "contains a larger network.*4.2.conv1.weight")


def test_resnet34_itself_is_larger(net):
    with torch.device("meta"):
        names = torchvision.models.resnet34().state_dict()
    tensors = {name: torch.empty(tensor.shape) for name, tensor in names.items()}
    [match] = [match for match in find_matches(net, tensors) if match.prefix == ""]
    assert (len(match.keys), match.shape_mismatches, match.missing_keys) == (122, {}, [])
    assert len(match.unexpected_keys) == 96
    assert len(match.extra_layers) == 80  # counters count for nothing


def test_of_a_larger_network_and_the_right_one_the_right_one_is_taken(tmp_path):
    path = tiny_file(tmp_path, lambda t: {"big": {**t, "two.3.weight": torch.ones(1)}, "small": t})
    assert load_backbone(path, TinyBackbone()).prefix == "small."


def test_the_members_of_a_list_are_no_heads(tmp_path):
    class Vgg(Backbone):
        def __init__(self, depth):
            super().__init__()
            self.features = nn.Sequential(*(nn.Linear(2, 2) for _ in range(depth)))

    deep = Vgg(3).state_dict()
    torch.save(deep | {"classifier.weight": torch.ones(1)}, tmp_path / "vgg.pt")
    assert load_backbone(tmp_path / "vgg.pt", Vgg(3)).unexpected_keys == ["classifier.weight"]
    assert_refused(tmp_path / "vgg.pt", Vgg(2), "larger network.*features.2.weight")


def test_a_head_beside_the_backbone_in_one_container_is_left_over(tmp_path):
    class Wrapped(Backbone):
        def __init__(self):
            super().__init__()
            self.net = TinyBackbone()

    torch.save(Wrapped().state_dict() | {"net.fc.weight": torch.ones(1)}, tmp_path / "w.pt")
    assert load_backbone(tmp_path / "w.pt", Wrapped()).unexpected_keys == ["net.fc.weight"]
    torch.save(Wrapped().state_dict() | {"net.two.9.weight": torch.ones(1)}, tmp_path / "w.pt")
    assert_refused(tmp_path / "w.pt", Wrapped(), "larger network")


def test_a_classifier_in_a_part_that_the_backbone_keeps_is_left_over(tmp_path):
    class Convnext(Backbone):
        def __init__(self):
            super().__init__()
            self.stages, self.head = nn.Linear(2, 2), nn.ModuleDict({"norm": nn.LayerNorm(2)})

    torch.save(Convnext().state_dict() | {"head.fc.weight": torch.ones(1)}, tmp_path / "c.pt")
    assert load_backbone(tmp_path / "c.pt", Convnext()).unexpected_keys == ["head.fc.weight"]


def test_what_is_worked_out_from_the_size_is_left_over(tmp_path):
    path = tiny_file(tmp_path, lambda t: {**t, "one.0.relative_position_index": torch.ones(2)})
    assert load_backbone(path, TinyBackbone()).unexpected_keys == ["one.0.relative_position_index"]


def test_old_files_have_no_counters(tmp_path):
    counters = ["one.1.num_batches_tracked", "two.1.num_batches_tracked"]
    path = tiny_file(tmp_path, lambda t: {name: t[name] for name in t if name not in counters})
    module = TinyBackbone()
    assert (
        str(load_backbone(path, module)) == "matched 10 of 12 tensors (the file has no num_batches_tracked)"
    )
    loaded = module.state_dict()
    assert [int(loaded[name]) for name in counters] == [0, 0]
    assert torch.equal(
        loaded["two.1.running_var"], shaken(TinyBackbone(), 0).state_dict()["two.1.running_var"]
    )


def test_a_file_of_ours_has_its_counters(tmp_path):
    class Counts(Backbone):
        def __init__(self, counts):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            if not counts:
                self.norm.num_batches_tracked = None

    save_backbone(tmp_path / "ours", Counts(counts=False), {})
    assert_refused(tmp_path / "ours", Counts(counts=True), "matched 4 of 5 tensors: 1 missing")


# which of several


def test_of_two_networks_that_differ_none_is_guessed(tmp_path):
    first, second = (shaken(TinyBackbone(), seed).state_dict() for seed in (1, 2))
    torch.save({"left": first, "right": second}, tmp_path / "two.pt")
    module = TinyBackbone()
    error = assert_refused(
        tmp_path / "two.pt", module, "several candidate networks: under 'left.' and 'right.'"
    )
    assert error.next == "--prefix left."
    for prefix in ("right.", "right"):
        assert load_backbone(tmp_path / "two.pt", module, prefix=prefix).prefix == "right."
        assert_equal(module, second)


def test_one_network_under_two_names_is_taken(tmp_path):
    state = shaken(TinyBackbone(), 1).state_dict()
    torch.save({"a": state, "longer": dict(state)}, tmp_path / "two.pt")
    assert load_backbone(tmp_path / "two.pt", TinyBackbone()).prefix == "a."


@pytest.mark.parametrize(
    "slow",
    [
        "target_net.",
        "momentum_encoder.",
        "teacher.",
        "key_encoder.",
        "encoder_k.",
        "shadow.",
        "EMA.",
    ],
)
def test_the_trained_network_goes_before_its_average(tmp_path, slow):
    first, second = (shaken(TinyBackbone(), seed).state_dict() for seed in (1, 2))
    torch.save(under(slow, second) | under("schema.monkeys.kernel.", first), tmp_path / "two.pt")
    module = TinyBackbone()
    assert load_backbone(tmp_path / "two.pt", module).prefix == "schema.monkeys.kernel."
    assert_equal(module, first)
    assert load_backbone(tmp_path / "two.pt", module, prefix=slow).prefix == slow
    assert_equal(module, second)


@pytest.mark.parametrize(
    ("published", "other"),
    [("teacher.", "student."), ("teacher_backbone.", "student_backbone."), ("model_ema.", "model.")],
)
def test_the_set_that_authors_publish_is_taken(tmp_path, published, other):
    first, second = (shaken(TinyBackbone(), seed).state_dict() for seed in (1, 2))
    torch.save(under(other, second) | under(published, first), tmp_path / "two.pt")
    module = TinyBackbone()
    result = load_backbone(tmp_path / "two.pt", module)
    assert (result.prefix, result.passed_over) == (published, [other])
    assert f"passed over: {other!r} (--prefix)" in str(result)
    assert_equal(module, first)
    result = load_backbone(tmp_path / "two.pt", module, prefix=other)
    assert (result.prefix, result.passed_over) == (other, [])


@pytest.mark.parametrize("name", ["register_tokens", "dist_token", "pos_embed"])
def test_a_tensor_beside_the_parts_is_of_another_network(tmp_path, name):
    path = tiny_file(tmp_path, lambda tensors: tensors | {name: torch.ones(1, 4, 8)})
    assert_refused(path, TinyBackbone(), f"larger network.*{name}")


@pytest.mark.parametrize("name", ["mask_token", "decoder_pos_embed", "temperature"])
def test_a_tensor_of_training_alone_is_left_over(tmp_path, name):
    value = torch.tensor(1.0) if name == "temperature" else torch.ones(1, 4, 8)
    path = tiny_file(tmp_path, lambda tensors: tensors | {name: value})
    assert load_backbone(path, TinyBackbone()).unexpected_keys == [name]


def test_registers_are_not_left_out(tmp_path):
    network = timm.create_model("vit_tiny_patch16_224", reg_tokens=4, num_classes=0)
    torch.save(network.state_dict(), tmp_path / "v.pt")
    assert_refused(
        tmp_path / "v.pt", TimmBackbone("vit_tiny_patch16_224"), "1 unexpected, 1 with another shape"
    )


@pytest.mark.parametrize(("name", "asked"), [("resnet18", "resnet50"), ("resnet34", "resnet18")])
def test_the_right_network_is_named(tmp_path, name, asked):
    state = timm.create_model(name).state_dict()
    torch.save({"model": under("module.", state)}, tmp_path / "w.pt")
    error = assert_refused(tmp_path / "w.pt", TimmBackbone(asked), f"this looks like {name}")
    assert error.next == f"--backbone {name}"


def test_an_average_alone_is_taken(tmp_path):
    path = tiny_file(tmp_path, lambda tensors: under("teacher.", tensors))
    assert load_backbone(path, TinyBackbone()).prefix == "teacher."


def test_a_forced_prefix_that_does_not_fit_names_the_one_that_does(tmp_path):
    path = tiny_file(tmp_path, lambda tensors: under("student.", tensors))
    sentence = "matched 0 of 12 tensors: 12 missing.*; 12 names match with prefix 'student.'"
    assert_refused(path, TinyBackbone(), sentence, prefix="teacher")
    assert_refused(path, TinyBackbone(), sentence, prefix="")
    sentence = "matched 0 of 12 tensors: 12 missing.*; 12 names match with prefix ''"
    assert_refused(tiny_file(tmp_path), TinyBackbone(), sentence, prefix="teacher")


# what does not fit


def test_another_network_is_told_by_its_shapes(tmp_path, state, thin):
    wrong = dict(state)
    wrong["conv1.weight"] = torch.ones(64, 3, 3, 3)
    del wrong["layer1.0.conv1.weight"]
    torch.save({"state_dict": under("module.encoder_q.", wrong)}, tmp_path / "f.pt")
    error = assert_refused(
        tmp_path / "f.pt",
        thin,
        "matched 118 of 120 tensors: 1 missing, 2 unexpected, 1 with another shape; "
        r"119 names match with prefix 'state_dict\.module\.encoder_q\.'",
    )
    assert "conv1.weight is 64x3x3x3 float32 in the file, 64x3x7x7 float32 in the network" in error.where
    assert "not in the file: layer1.0.conv1.weight" in error.where
    assert error.next.startswith("ssl-seg list backbones")


def test_nothing_in_common_shows_both_sides(tmp_path):
    torch.save({"a.b": torch.ones(1)}, tmp_path / "f.pt")
    error = assert_refused(
        tmp_path / "f.pt", TinyBackbone(), "matched 0 of 12 tensors: 12 missing, 1 unexpected"
    )
    assert "names match" not in error.what
    assert "not in the file: one.0.weight, " in error.where
    assert "only in the file: a.b" in error.where


def test_a_file_of_ours_says_what_it_fits(tmp_path, thin):
    metadata = {"backbone": "resnet18", "options": {"stem": "small"}}
    save_backbone(tmp_path / "ours", TinyBackbone(), metadata)
    error = assert_refused(tmp_path / "ours", thin, "matched 0 of 120")
    assert error.next == "--backbone resnet18 -o backbone.stem=small"
    save_backbone(tmp_path / "ours", TinyBackbone(), {"backbone": "x; rm -r y"})
    assert assert_refused(tmp_path / "ours", thin, "matched 0").next == "--backbone 'x; rm -r y'"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("int8", lambda tensor: tensor.to(torch.int8)),
        ("complex64", lambda tensor: tensor.to(torch.complex64)),
        ("meta", lambda tensor: tensor.to("meta")),
        ("sparse", lambda tensor: tensor.to_sparse()),
    ],
)
def test_what_is_no_plain_weight_is_refused(tmp_path, kind, change):
    path = tiny_file(tmp_path, lambda tensors: {**tensors, "two.0.weight": change(tensors["two.0.weight"])})
    assert_refused(path, TinyBackbone(), "matched 11 of 12 tensors: 0 missing, 0 unexpected, 1 with another")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_that_of_the_backbone(tmp_path, dtype):
    path = tiny_file(tmp_path, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    module = TinyBackbone()
    assert load_backbone(path, module).matched == 12
    for name, tensor in shaken(TinyBackbone(), 0).state_dict().items():
        loaded = module.state_dict()[name]
        assert loaded.dtype == tensor.dtype
        assert torch.equal(loaded, tensor.to(dtype).to(tensor.dtype))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    def broken(tensors):
        tensors["two.1.running_var"][3] = number
        return under("a.", tensors)

    error = assert_refused(tiny_file(tmp_path, broken), TinyBackbone(), "NaN or infinity")
    assert error.where.endswith(": a.two.1.running_var")


def test_a_head_that_is_not_finite_does_not_matter(tmp_path):
    path = tiny_file(tmp_path, lambda tensors: {**tensors, "fc.weight": torch.tensor([torch.nan])})
    assert load_backbone(path, TinyBackbone()).matched == 12


def test_more_than_the_backbones_precision_holds_is_refused(tmp_path):
    path = tiny_file(
        tmp_path, lambda t: {**t, "one.0.weight": torch.full((8, 3, 3, 3), 1e300, dtype=torch.double)}
    )
    assert_refused(path, TinyBackbone(), "NaN or infinity")


def test_a_long_list_is_cut_short(tmp_path):
    heads = {f"head{number}.weight": torch.ones(1) for number in range(7)}
    match = load_backbone(tiny_file(tmp_path, lambda tensors: tensors | heads), TinyBackbone())
    assert len(match.unexpected_keys) == 7
    assert str(match).endswith(
        "unexpected: head0.weight, head1.weight, head2.weight, head3.weight and 3 more"
    )
