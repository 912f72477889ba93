"""Finding and loading weights, and answers against transformers' own processing."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from ssl_seg_sam import model as module
from ssl_seg_sam.mask_generation import GridConfig, generate_masks
from ssl_seg_sam.model import find_weights, load_sam

from ssl_seg.errors import PluginError, ResourceError, WeightsError

SHAPES = [(64, 64), (33, 47), (3, 50), (50, 1), (120, 91)]


def picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def copy(tiny_sam, tmp_path):
    folder = tmp_path / "sam"
    shutil.copytree(tiny_sam, folder)
    return folder


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["points", "boxes"])
@pytest.mark.parametrize("which", ["tiny_sam", "tiny_sam2"])
def test_answers_are_those_of_transformers(which, kind, shape, device, request):
    """The same prompts through the processor of transformers, from the image to full-size logits."""
    import transformers

    folder = request.getfixturevalue(which)
    classes = {"tiny_sam": ("SamModel", "SamProcessor"), "tiny_sam2": ("Sam2Model", "Sam2Processor")}[which]
    theirs = getattr(transformers, classes[0]).from_pretrained(folder).eval()
    images = transformers.AutoImageProcessor.from_pretrained(folder)
    processor = getattr(transformers, classes[1])(images)
    image, (height, width) = picture(*shape), shape
    points = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([width, height])
    boxes = torch.cat([points * 0.5, points * 0.5 + torch.tensor([width, height]) * 0.4], dim=1)
    if kind == "points":
        config = {"input_points": [[[point] for point in points.tolist()]]}
        config["input_labels"] = [[[1] for _ in points]]
    else:
        config = {"input_boxes": [boxes.tolist()]}
    options = {"return_tensors": "pt", "input_data_format": "channels_last"}
    config = processor(images=image, **options, **config)
    sizes = [
        config.pop("original_sizes"),
        *([config.pop("reshaped_input_sizes")] if "reshaped_input_sizes" in config else []),
    ]
    config = {key: value.float() if value.is_floating_point() else value for key, value in config.items()}
    with torch.no_grad():
        predicted = theirs(**config, multimask_output=kind == "points")
    expected = processor.post_process_masks(predicted.pred_masks, *sizes, binarize=False)[0]

    view = load_sam(str(folder), device, 8).encode_image(image)
    logits, scores = view.predict_masks(**{kind: points if kind == "points" else boxes})
    torch.testing.assert_close(scores, predicted.iou_scores[0], atol=1e-4, rtol=1e-4)
    ours = torch.stack([view.enlarge(few) for few in logits])
    assert ours.shape == (5, 3 if kind == "points" else 1, *shape)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)


def test_the_grid_finds_what_transformers_generator_keeps(tiny_sam, device):
    """All masks that pass the filters, without suppression, against transformers' functions."""
    from transformers import AutoImageProcessor, SamModel

    image, rules = picture(64, 64), GridConfig(points=4, tile=64, quality=0.1, stability=0.3, overlap=1.0)
    images, theirs = AutoImageProcessor.from_pretrained(tiny_sam), SamModel.from_pretrained(tiny_sam)
    boxes, points, _, _ = images.generate_crop_boxes(image, 64, points_per_crop=4)
    config = images(images=image, return_tensors="pt")
    with torch.no_grad():
        predicted = theirs(
            pixel_values=config["pixel_values"], input_points=points.permute(0, 1, 2, 3).reshape(1, 16, 1, 2)
        )
    masks = images.post_process_masks(
        predicted.pred_masks, config["original_sizes"], config["reshaped_input_sizes"], binarize=False
    )
    scored_classes = images.filter_masks(masks[0], predicted.iou_scores[0], (64, 64), boxes[0], 0.1, 0.3)
    expected = sorted(np.round(scored_classes[1].tolist(), 4).tolist())
    found = generate_masks(load_sam(str(tiny_sam), device, 5), image, rules, lambda: None)
    assert 0 < len(expected) < 48, "the filters leave out some, not all"
    assert sorted(round(one.score, 4) for one in found) == pytest.approx(expected, abs=2e-4)


def test_memory_is_bounded_by_pieces(tiny_sam, device, monkeypatch):
    view = load_sam(str(tiny_sam), device, 8).encode_image(picture(120, 91))
    monkeypatch.setattr(module, "_PIXELS", 120 * 91 * 5 + 1)
    assert view.chunk_size == 5
    monkeypatch.setattr(module, "_PIXELS", 10)
    assert view.chunk_size == 1


def test_memory_that_runs_out_is_told(tiny_sam, device, monkeypatch):
    sam = load_sam(str(tiny_sam), device, 8)
    view = sam.encode_image(picture(20, 30))

    def full(**_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sam.model, "forward", full)
    with pytest.raises(ResourceError, match="memory"):
        view.predict_masks(points=torch.ones(1, 2))


class TestWithoutWeights:
    def test_a_name_on_the_hub_without_a_network(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsError) as caught:
            find_weights("facebook/sam-vit-large")
        assert "no folder facebook/sam-vit-large" in caught.value.what
        files = "config.json preprocessor_config.json model.safetensors"
        assert f"hf download facebook/sam-vit-large {files} --local-dir sam-vit-large" in caught.value.next
        assert "--model sam-vit-large" in caught.value.next

    @pytest.mark.parametrize("name", ["nowhere", "a/b/c", "", "../x y", "/no/such"])
    def test_a_folder_that_is_not_there(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsError) as caught:
            find_weights(name or "./x")
        assert "hf download facebook/sam-vit-base" in caught.value.next

    def test_other_files(self, tmp_path):
        (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"x")
        with pytest.raises(WeightsError, match="missing config.json and model.safetensors") as caught:
            find_weights(str(tmp_path))
        assert caught.value.where == "found: sam_vit_b_01ec64.pth"
        with pytest.raises(WeightsError, match="is a file"):
            find_weights(str(tmp_path / "sam_vit_b_01ec64.pth"))

    def test_the_hubs_cache_is_enough(self, tiny_sam, monkeypatch):
        import huggingface_hub

        asked = []

        def cached(name, *, local_files_only=False, allow_patterns):
            asked.append(local_files_only)
            return str(tiny_sam)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
        assert find_weights("me/sam-tiny") == tiny_sam and asked == [True]


class TestDamaged:
    def refused(self, folder, device):
        with pytest.raises(WeightsError) as caught:
            load_sam(str(folder), device, 8)
        return caught.value

    def test_weights_cut_short(self, copy, device):
        whole = (copy / "model.safetensors").read_bytes()
        (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        assert "could not be loaded" in self.refused(copy, device).what

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": 3}', '{"model_type": "nosuch"}'])
    def test_a_configuration_that_is_none(self, copy, device, text):
        (copy / "config.json").write_text(text)
        self.refused(copy, device)

    def test_another_model(self, copy, device):
        (copy / "config.json").write_text('{"model_type": "vit"}')
        assert "'vit', expected SAM" in self.refused(copy, device).what

    def test_no_processor(self, copy, device):
        (copy / "preprocessor_config.json").unlink()
        assert "could not be loaded" in self.refused(copy, device).what

    def test_weights_that_are_missing_are_not_made_up(self, copy, device):
        tensors = load_file(copy / "model.safetensors")
        name = "mask_decoder.iou_token.weight"
        del tensors[name]
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        error = self.refused(copy, device)
        assert "lacks 1 tensors" in error.what and error.where == name

    def test_weights_of_another_size(self, copy, device):
        about = json.loads((copy / "config.json").read_text())
        about["mask_decoder_config"]["iou_head_hidden_dim"] = 16
        (copy / "config.json").write_text(json.dumps(about))
        self.refused(copy, device)


def test_a_broken_transformers_is_told(monkeypatch, tiny_sam, device):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PluginError, match="cannot import transformers"):
        load_sam(str(tiny_sam), device, 8)


def test_an_image_from_a_file_may_be_read_only(tiny_sam, device, tmp_path):
    Image.fromarray(picture(9, 9)).save(tmp_path / "x.png")
    image = np.asarray(Image.open(tmp_path / "x.png"))
    assert not image.flags.writeable
    load_sam(str(tiny_sam), device, 8).encode_image(image)
