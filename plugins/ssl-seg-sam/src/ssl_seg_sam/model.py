"""SAM and SAM 2 from transformers: found, loaded whole, asked in batches."""

import importlib
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ssl_seg.errors import PluginError, ResourceError, WeightsError

if TYPE_CHECKING:
    from ssl_seg.engine.device import Device

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
_CLASSES = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
_SHOWN = 4
_PIXELS = 1 << 24  # of masks enlarged at a time: 64 MiB of float32


class Sam:
    """A model on a device.

    Args:
        model, processor: of transformers.
        device: where it computes.
        batch: prompts answered at a time.
    """

    def __init__(self, model: Any, processor: Any, device: "Device", batch: int) -> None:
        self.model, self.processor, self.device, self.batch = model.eval(), processor, device, batch
        device.prepare(model)

    def encode_image(self, image: NDArray[np.uint8]) -> "ImageEmbedding":
        """Take in an (H, W, 3) image."""
        return ImageEmbedding(self, image)


class ImageEmbedding:
    """An image that SAM has looked at, ready for prompts.

    Args:
        sam: whose view it is.
        image: (H, W, 3).
    """

    @torch.no_grad()
    def __init__(self, sam: Sam, image: NDArray[np.uint8]) -> None:
        self.size = (image.shape[0], image.shape[1])
        self._sam, self._device = sam, sam.device.device
        # told, not guessed: an image of three rows could as well be one of three channels
        options: dict[str, Any] = {"return_tensors": "pt", "input_data_format": "channels_last"}
        inputs = sam.processor(images=np.array(image), **options)
        pixels = inputs["pixel_values"].to(self._device)
        self._square = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        padded = "reshaped_input_sizes" in inputs  # SAM keeps the shape and fills up, SAM 2 stretches
        self._inner = tuple(inputs["reshaped_input_sizes"][0].tolist()) if padded else None
        with _memory_errors(), sam.device.autocast():
            found = sam.model.get_image_embeddings(pixels)
        # prompts are answered in float32: bfloat16 would round their places to a few pixels
        self._embedding = found.float() if isinstance(found, Tensor) else [part.float() for part in found]

    @torch.no_grad()
    def predict_masks(
        self, points: Tensor | None = None, boxes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The masks of at most `batch` prompts.

        Args:
            points: (P, 2) x, y in pixels of the image: three masks for each, as a point may mean a part.
            boxes: (P, 4) left, top, right, bottom: one mask for each.

        Returns:
            (P, M, h, w) small logits for `enlarge`, and (P, M) the IoU the model expects of each.
        """
        prompts: dict[str, Tensor] = {}
        if points is not None:
            prompts["input_points"] = self._scaled(points)[None, :, None]
        if boxes is not None:
            prompts["input_boxes"] = self._scaled(boxes.reshape(-1, 2)).reshape(1, -1, 4)
        with _memory_errors():
            predicted = self._sam.model(
                image_embeddings=self._embedding, multimask_output=boxes is None, **prompts
            )
        return predicted.pred_masks[0].float(), predicted.iou_scores[0].float()

    def _scaled(self, prompts: Tensor) -> Tensor:
        height, width = self._inner or self._square
        factor = torch.tensor([width / self.size[1], height / self.size[0]])
        return (prompts.float() * factor).to(self._device)

    @torch.no_grad()
    def enlarge(self, logits: Tensor) -> Tensor:
        """(N, h, w) small logits -> (N, H, W) of the image's size."""
        options: dict[str, Any] = {"mode": "bilinear", "align_corners": False}
        with _memory_errors():
            upscaled = logits[:, None]
            if self._inner:
                upscaled = F.interpolate(upscaled, self._square, **options)[
                    ..., : self._inner[0], : self._inner[1]
                ]
            return F.interpolate(upscaled, self.size, **options)[:, 0]

    @property
    def chunk_size(self) -> int:
        """How many masks may be enlarged at a time."""
        largest: int = max(self.size[0] * self.size[1], self._square[0] * self._square[1])
        return max(1, _PIXELS // largest)


class _memory_errors:
    """Tells of memory that ran out in words."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise ResourceError("out of memory in SAM", next="--batch 8, or --cpu") from error


def load_sam(name: str, device: "Device", batch: int) -> Sam:
    """SAM or SAM 2 from a folder in the format of transformers, or by its name on the hub.

    Raises:
        WeightsError: nothing there, no such model, or not all of its weights.
        PluginError: transformers cannot be imported.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
    except Exception as error:  # a broken package raises anything
        raise PluginError(
            f"cannot import transformers: {_brief(error)}", next="pip install 'transformers>=5'"
        ) from error
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()  # what is missing is told below, as an error
    folder = find_weights(name)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = getattr(config, "model_type", "")
        if kind not in _CLASSES:
            raise WeightsError(
                f"{folder} contains a model of type {kind!r}, expected SAM or SAM 2", next=_advice(name)
            )
        options = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32}
        model, loading_info = getattr(transformers, _CLASSES[kind]).from_pretrained(
            folder, output_loading_info=True, **options
        )
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except WeightsError:
        raise
    except Exception as error:  # each part of a damaged folder has errors of its own
        raise WeightsError(f"{folder} could not be loaded: {_brief(error)}", next=_advice(name)) from error
    missing = sorted(loading_info["missing_keys"]) + sorted(
        str(key) for key in loading_info["mismatched_keys"]
    )
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise WeightsError(f"{folder} lacks {len(missing)} tensors of the model", where=shown)
    return Sam(model, processor, device, batch)


def find_weights(name: str) -> Path:
    """The folder of a model: as given, or that of the hub's cache, filled if need be.

    Raises:
        WeightsError: no such folder, and the hub does not give it; with what to download, and how.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if missing := [file for file in FILES[::2] if not (folder / file).is_file()]:
            held = ", ".join(sorted(path.name for path in folder.iterdir())[:_SHOWN]) or "nothing"
            what = f"{folder} is not a SAM model in the transformers format: missing {' and '.join(missing)}"
            raise WeightsError(what, where=f"found: {held}", next=_advice(name))
        return folder
    if folder.is_file():
        raise WeightsError(f"{folder} is a file; --model expects its folder", next=_advice(name))
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise WeightsError(f"folder not found: {name}", next=_advice(name))
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    """The hub's cache first, so that a filled one needs no network."""
    from huggingface_hub import snapshot_download

    with suppress(Exception):  # not there
        folder = Path(snapshot_download(name, local_files_only=True, allow_patterns=list(FILES)))
        if all((folder / file).is_file() for file in FILES):  # a broken download leaves a part
            return folder
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # no network, no such name, no access: each in its own words
        raise WeightsError(
            f"weights not found: no folder {name}, and the Hugging Face Hub did not provide it",
            where=_brief(error, 160),
            next=_advice(name),
        ) from error


def _advice(name: str) -> str:
    """Commands that fetch a model on a machine with a network, and what to say here then."""
    hub = name if re.fullmatch(r"[\w-]+/sam[\w.-]*", name) else "facebook/sam-vit-base"
    folder = hub.rpartition("/")[2]
    return (
        f"on a machine with a network (sam-vit-base: 375 MB)\n"
        f"  hf download {hub} {' '.join(FILES)} --local-dir {folder}\n"
        f"copy the folder here, and\n"
        f"  ssl-seg sam ... --model {folder}"
    )


def _brief(error: BaseException, most: int = 300) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:most]}" if text else type(error).__name__
