"""Published weights by name: what they are, what comes along with them, and what is refused."""

import json
import re

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from timm.layers import resample_abs_pos_embed
from torchvision import models

import ssl_seg
from ssl_seg import TimmBackbone, load_backbone
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.weights.publishers import _DINOV2, _DINOV3, _SAME_NAMES, find_weights

CONFIG = {
    "architecture": "test_vit",
    "num_classes": 10,
    "pretrained_cfg": {
        "input_size": [3, 160, 160],
        "fixed_input_size": True,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "classifier": "head",
        "first_conv": "patch_embed.proj",
        "license": "cc-by-nc-4.0",
    },
}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(2)
    return timm.create_model("test_vit", num_classes=10).state_dict()


def folder(tmp_path, state, config=CONFIG, **files):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / "w" / "model.safetensors")
    for name, text in files.items():
        (tmp_path / "w" / name).write_text(text)
    return f"local-dir:{tmp_path / 'w'}"


def test_a_repository_of_the_hub(hub, state):
    snapshot = hub("me/net", {"config.json": json.dumps(CONFIG), "model.safetensors": save(state)})
    weights = find_weights("hf-hub:me/net")
    assert weights.metadata == {
        "backbone": "test_vit",
        "options": {},
        "image_size": 160,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "license": "cc-by-nc-4.0",
    }
    result = load_backbone(weights, TimmBackbone("test_vit"))
    assert result.matched == result.num_tensors
    assert result.unexpected_keys == ["head.weight", "head.bias"]
    assert result.file == snapshot / "model.safetensors"
    assert find_weights(f"hf-hub:me/net@{snapshot.name}").metadata == weights.metadata


def test_a_folder_in_the_same_layout(tmp_path, state):
    config = {**CONFIG, "pretrained_cfg": {**CONFIG["pretrained_cfg"], "license": None}}
    card = "---\ntags: [a]\nlicense: cc-by-4.0\n---\nlicense: mit\n"
    backbone, about = ssl_seg.load(folder(tmp_path, state, config, **{"README.md": card}))
    assert about["license"] == "cc-by-4.0"
    assert about["mean"] == [0.1, 0.2, 0.3]
    own = backbone.state_dict()
    assert own and all(torch.equal(own[name], state[name]) for name in own)


def test_position_embeddings_are_interpolated_to_another_size(tmp_path, state):
    name = folder(tmp_path, state)
    backbone = TimmBackbone("test_vit", img_size=64)
    result = load_backbone(name, backbone)
    assert result.matched == result.num_tensors
    assert state["pos_embed"].shape[1] == 101 and backbone.state_dict()["pos_embed"].shape[1] == 17
    theirs = timm.create_model(name, pretrained=True, num_classes=0, img_size=64).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(
            backbone.eval().summary(images), theirs.forward_features(images)[:, 0], atol=1e-6
        )


def test_options_of_the_network_come_along(tmp_path):
    network = timm.create_model("test_vit", img_size=64, patch_size=8, num_classes=10)
    config = {**CONFIG, "model_args": {"img_size": [64, 64], "patch_size": 8, "dynamic_img_size": True}}
    backbone, about = ssl_seg.load(folder(tmp_path, network.state_dict(), config))
    assert about["options"] == {"img_size": "64", "patch_size": "8"}
    assert backbone.patch == 8


def test_what_is_published_with_this_library(tmp_path, cli):
    words = ("train", "demo:16", "--backbone", "test_resnet", "--image-size", 32, "--batch-size", 8)
    assert cli(*words, "--epochs", 1, "--cpu", "--out", tmp_path / "run")[0] == 0
    words = ("export", tmp_path / "run", "--to", "hub", "--license", "mit", "--out", tmp_path / "w")
    assert cli(*words)[0] == 0
    weights = find_weights(f"local-dir:{tmp_path / 'w'}")
    assert (weights.metadata["backbone"], weights.metadata["license"]) == ("test_resnet", "mit")
    assert weights.metadata["image_size"] == 32
    backbone, _ = ssl_seg.load(f"local-dir:{tmp_path / 'w'}")
    trained, _ = ssl_seg.load(tmp_path / "run")
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(backbone.summary(images), trained.summary(images))


REFUSED = {
    "code": ({"architecture": "net.py:Net"}, "code named by a file"),
    "no component": ({"architecture": "nowhere"}, "nowhere"),
    "another repository": ({"architecture": "hf-hub:evil/x"}, "timm has no network hf-hub:evil/x"),
    "a folder": ({"architecture": "local-dir:/tmp"}, "timm has no network local-dir:/tmp"),
    "no text": ({"architecture": ["resnet18"]}, "backbone"),
    "an argument": ({"model_args": {"act_layer": "relu"}}, "act_layer, which backbones have not"),
    "an argument's value": ({"model_args": {"img_size": [64, 32]}}, r"model_args\.img_size"),
    "no table": ({"model_args": 1}, "model_args"),
    "classes": ({"num_classes": 10**9}, "num_classes"),
    "no settings": ({"pretrained_cfg": []}, "input_size"),
    "nothing": ({"architecture": None}, "backbone = None"),
}


@pytest.mark.parametrize("lie", REFUSED)
def test_what_a_configuration_may_not_say(tmp_path, state, lie):
    change, sentence = REFUSED[lie]
    with pytest.raises(WeightsError, match=sentence) as refused:
        ssl_seg.load(folder(tmp_path, state, CONFIG | change))
    assert "config.json" in refused.value.where


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [1, 2]),
        ("std", [0, 1, 1]),
        ("input_size", [3, 160]),
        ("input_size", [4, 160, 160]),
        ("license", 3),
    ],
)
def test_a_value_of_another_range_is_refused(tmp_path, state, key, value):
    config = {**CONFIG, "pretrained_cfg": {**CONFIG["pretrained_cfg"], key: value}}
    with pytest.raises(WeightsError, match=key if value != [4, 160, 160] else "4 channels"):
        find_weights(folder(tmp_path, state, config))


def test_a_folder_of_another_library(tmp_path, state):
    with pytest.raises(WeightsError, match="it is for dinov2"):
        find_weights(folder(tmp_path, state, {"model_type": "dinov2"}))
    (tmp_path / "w" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is corrupt"):
        find_weights(f"local-dir:{tmp_path / 'w'}")
    (tmp_path / "w" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json in the folder"):
        find_weights(f"local-dir:{tmp_path / 'w'}")


def test_a_tensor_that_is_missing_is_missed(tmp_path, state):
    fewer = {name: tensor for name, tensor in state.items() if name != "blocks.1.attn.qkv.weight"}
    with pytest.raises(WeightsError, match="1 missing"):
        load_backbone(folder(tmp_path, fewer), TimmBackbone("test_vit"))


def test_families_that_timm_loads_loosely_are_loaded_strictly(hub):
    state = timm.create_model("dla46_c").state_dict()
    del state["level2.tree1.conv1.weight"]
    hub("timm/dla46_c.in1k", {"model.safetensors": save(state)})
    with pytest.raises(WeightsError, match="1 missing"):
        load_backbone("timm:dla46_c.in1k", TimmBackbone("dla46_c"))


def test_loading_draws_no_random_number(tmp_path, state):
    name, backbone = folder(tmp_path, state), TimmBackbone("test_vit")
    before = torch.get_rng_state()
    load_backbone(name, backbone)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("network", ["resnet18", "densenet121"])
def test_torchvision(tmp_path, monkeypatch, network):
    """As torchvision publishes them, in its own place: a file of `torch.save` in the cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kind = models.get_model_weights(network)
    state = models.get_model(network, weights=None).state_dict()
    file = tmp_path / "hub" / "checkpoints" / kind.IMAGENET1K_V1.url.split("/")[-1]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    name = f"torchvision:{kind.__name__}.IMAGENET1K_V1"
    assert find_weights(name).metadata == {
        "backbone": network,
        "options": {},
        "image_size": 224,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "license": "not stated",
    }
    backbone = TimmBackbone(network)
    result = load_backbone(name, backbone)
    assert result.matched == result.num_tensors and result.file == file


def test_a_name_of_torchvision_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'ResNet50_Weights.IMAGENET1K_V2'"):
        find_weights("torchvision:ResNet50_Weights.IMAGENET1K_V3")
    with pytest.raises(UsageError, match="torchvision has no weights 'os'"):
        find_weights("torchvision:os")


@pytest.mark.parametrize(
    "network", ["ConvNeXt_Tiny", "EfficientNet_B0", "ViT_B_16", "Swin_T", "MobileNet_V2"]
)
def test_networks_of_torchvision_with_other_names_are_refused(network):
    with pytest.raises(UsageError, match="have other names than those of a backbone") as error:
        find_weights(f"torchvision:{network}_Weights.IMAGENET1K_V1")
    assert "--init timm:NAME" in error.value.next


def test_the_known_networks_of_torchvision_are_those_that_are_named():
    """What the refusal names is what is taken, and every network that is taken has timm's names."""
    with pytest.raises(UsageError) as error:
        find_weights("torchvision:ConvNeXt_Tiny_Weights.IMAGENET1K_V1")
    named = {"DenseNet", "Inception v3", "ResNet", "ResNeXt", "VGG", "Wide ResNet"}
    assert set(error.value.where.removeprefix("known of torchvision: ").split(", ")) == named
    taken = {name for name in models.list_models(module=models) if _SAME_NAMES.match(name)}
    assert {re.match(r"[a-z_]+", name)[0].strip("_") for name in taken} == {
        *("densenet", "inception_v", "resnet", "resnext", "vgg", "wide_resnet")
    }


def test_position_embeddings_are_those_of_timm(tmp_path, state):
    """A grid of 10 x 10 on one of 4 x 4, beside `resample_abs_pos_embed`; its first token is the class's."""
    ramp = torch.arange(100.0).view(1, 100, 1) * torch.linspace(-1, 1, state["pos_embed"].shape[2])
    state = state | {"pos_embed": torch.cat([torch.full_like(ramp[:, :1], 7.0), ramp], dim=1)}
    backbone = TimmBackbone("test_vit", img_size=64)
    load_backbone(folder(tmp_path, state), backbone)
    found = backbone.state_dict()["pos_embed"]
    expected = resample_abs_pos_embed(state["pos_embed"], (4, 4), old_size=(10, 10), num_prefix_tokens=1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found[:, 0] == 7).all()
    assert found[0, 1:, -1].mean() == pytest.approx(49.5, abs=0.5), (
        "the middle of the ramp stays in the middle"
    )


def test_the_authors_names_of_dino():
    known = set(timm.list_pretrained("*dino*"))
    assert {*_DINOV2.values(), *_DINOV3.values()} <= known
    weights = find_weights("dinov2:vits14")
    assert weights.name == "timm:vit_small_patch14_dinov2.lvd142m"
    assert (weights.metadata["image_size"], weights.metadata["license"]) == (518, "apache-2.0")
    assert find_weights("dinov3:vits16").metadata["license"] == "dinov3-license"
    with pytest.raises(UsageError, match="did you mean 'vits14'") as refused:
        find_weights("dinov2:vits16")
    assert "vitg14_reg" in refused.value.next
