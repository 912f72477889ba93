"""Tiny SAMs of random weights, tiles in the layout of the course, and the command line in this process."""

import os
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

PLUGIN = Path(__file__).parents[1]
sys.path.insert(0, str(PLUGIN / "src"))
os.environ["HF_HUB_OFFLINE"] = "1"

from ssl_seg.data.palettes import BUILT_IN_PALETTES

COLOURS = BUILT_IN_PALETTES["deepglobe"].array
SIDE = 64
torch.set_num_threads(int(os.environ.get("TEST_THREADS", "1")))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_SEG_CACHE", str(tmp_path / "cache"))


@torch.no_grad()
def lively(model):
    """Random weights whose masks have pixels of both signs: what multiplies the last features is made
    orthogonal to their mean."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    seen, points = [], torch.rand(1, 50, 1, 2) * SIDE
    embedding = model.get_image_embeddings(torch.rand(1, 3, SIDE, SIDE))
    decoder = model.mask_decoder
    hook = decoder.upscale_conv2.register_forward_hook(lambda module, args, out: seen.append(out))
    model(image_embeddings=embedding, input_points=points)
    hook.remove()
    mean = torch.nn.functional.gelu(seen[0]).mean(dim=(0, 2, 3))
    mean /= mean.norm()
    ends = [mlp.proj_out for mlp in decoder.output_hypernetworks_mlps]
    for end in ends:
        end.weight -= mean[:, None] * (mean @ end.weight)
        end.bias -= mean * (mean @ end.bias)
    spread = model(image_embeddings=embedding, input_points=points).pred_masks.std()
    for end in ends:
        end.weight *= 4 / spread
        end.bias *= 4 / spread
    return model


DECODER = {"hidden_size": 32, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 8}


@pytest.fixture(scope="session")
def tiny_sam(tmp_path_factory):
    """A folder with SAM, of 64 x 64 pixels."""
    from transformers import SamConfig, SamImageProcessor, SamModel

    vision = {"hidden_size": 16, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": SIDE, "patch_size": 8, "window_size": 2, "global_attn_indexes": [1]}
    vision |= {"num_pos_feats": 16, "mlp_dim": 16}
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=dict(DECODER))
    folder = tmp_path_factory.mktemp("models") / "tiny-sam"
    lively(SamModel(config)).save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    SamImageProcessor(size={"longest_edge": SIDE}, pad_size=square).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_sam2(tmp_path_factory):
    """A folder with SAM 2, of 64 x 64 pixels."""
    import transformers
    from transformers import Sam2Config, Sam2Model

    hiera = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIDE, SIDE]}
    hiera |= {"blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64]}
    hiera |= {"num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 2, 2, 2]}
    hiera |= {"global_attention_blocks": [3], "window_positional_embedding_background_size": [2, 2]}
    vision = {"backbone_config": hiera, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32}
    vision |= {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=dict(DECODER))
    folder = tmp_path_factory.mktemp("models") / "tiny-sam2"
    lively(Sam2Model(config)).save_pretrained(folder)
    fast = "Fast" if not hasattr(transformers, "Sam2ImageProcessor") else ""  # its name in early 5.x
    processor = getattr(transformers, f"Sam2ImageProcessor{fast}")
    processor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def device():
    from ssl_seg import Device

    return Device("fp32", cpu=True)


def tile(folder, key, shape, classes=7):
    """A tile in coarse patches; the picture has the colour of its class, darkened, with noise."""
    random = np.random.default_rng(int(key))
    coarse = random.integers(0, classes, (-(-shape[0] // 16), -(-shape[1] // 16)))
    label = coarse.repeat(16, 0).repeat(16, 1)[: shape[0], : shape[1]]
    picture = COLOURS[label] // 2 + random.integers(0, 60, (*shape, 3))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(folder / f"{key}_sat.jpg", quality=92)
    Image.fromarray(COLOURS[label]).save(folder / f"{key}_mask.png")
    return label


@pytest.fixture(scope="session")
def make_tile():
    """`make_tile(folder, "0013", (height, width))`; see `tile`."""
    return tile


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The layout of the course: `train` and `validation`, tiles of several shapes."""
    root = tmp_path_factory.mktemp("data")
    for index in range(4):
        tile(root / "train", f"{index:04d}", (48, 48))
    for key, shape in {"0013": (48, 64), "0062": (33, 47), "0104": (53, 40)}.items():
        tile(root / "validation", key, shape)
    return root


def call(*words):
    """The command line in this process: exit code."""
    from ssl_seg import cli as module

    app, before = module.app, sys.argv
    registered = list(app.registered_commands), list(app.registered_groups)
    sys.argv = ["ssl-seg", *map(str, words)]
    try:
        module.main()
    except SystemExit as ended:
        return ended.code or 0
    finally:
        sys.argv = before
        app.registered_commands, app.registered_groups = registered
    return 0


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """As if the package were installed: its entry points, from its own pyproject.toml."""
    try:
        version("ssl-seg-sam")
    except PackageNotFoundError:
        project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
        info = tmp_path_factory.mktemp("site") / f"ssl_seg_sam-{project['version']}.dist-info"
        info.mkdir()
        about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(about)
        points = project["entry-points"]["ssl_seg.commands"].items()
        lines = [f"{name} = {target}" for name, target in points]
        (info / "entry_points.txt").write_text("\n".join(["[ssl_seg.commands]", *lines]) + "\n")
        sys.path.insert(0, str(info.parent))
        yield
        sys.path.remove(str(info.parent))  # other tests in this process have no such command
    else:
        yield


@pytest.fixture
def cli(capsys):
    """`cli("sam", folder)` -> exit code, stdout, stderr."""

    def run(*words):
        capsys.readouterr()
        code = call(*words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A real run of `ssl-seg segment` that has watched two images."""
    out = tmp_path_factory.mktemp("runs") / "fcn"
    short = ("--image-size", 32, "--batch-size", 2, "--epochs", 1, "--cpu", "--lr", 0.01)
    words = ("segment", data / "train", "--val", data / "validation", "--backbone", "test_resnet")
    cache = tmp_path_factory.mktemp("cache")
    more = ("--head", "fcn32s", "-o", "head.width=8", "--watch", "0013,0104", "--cache", cache, "--out", out)
    assert call(*words, *short, *more) == 0
    return out
