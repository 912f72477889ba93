"""What `evaluate`, `predict` and `embed` do alike: a finished run, read over images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ssl_seg.engine.run_dir import RUN_FILES
from ssl_seg.errors import WeightsError
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.progress import ProgressDisplay

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.base import Dataset
    from ssl_seg.data.image_cache import ImageCache
    from ssl_seg.engine.tta import Averaged


def files_of(dataset: "Dataset") -> Iterator[Path]:
    """The files of a data set, as far as it says where they lie: images, masks, and the list of them."""
    for each in (dataset, getattr(dataset, "mask_files", None)):
        root = Path(getattr(each, "root", ""))
        yield from (root / name for name, _ in getattr(each, "samples", ()))
    if path := getattr(dataset, "path", None):
        yield Path(path)


def run_files(run: Path) -> Iterator[Path]:
    """The files of a run that commands read; of a weight file itself."""
    yield run
    yield from (run / name for name in RUN_FILES)


class InferenceSession:
    """A trained model on a device, and images for it. Use it as a context manager.

    Args:
        run, which, backbone, head, image_size: see `open_model`; a person has typed them.
        options: of the parts `data` and `probe`.
        precision, device, cache, bad_images: the flags.
        tta: test-time augmentation, see `passes_of`.
        batch_size: images at once; by default as many as in the run's validation.

    Attributes:
        tta, passes: test-time augmentation, as text and as passes.
        temperature: what logits are divided by; 1 until somebody sets it.
    """

    def __init__(
        self,
        run: str,
        which: Literal["last", "best"],
        backbone: str | None,
        head: str | None,
        image_size: int | None,
        options: dict[str, dict[str, str]],
        *,
        precision: Literal["auto", "bf16", "fp32"],
        device: str,
        cache: Path | None,
        bad_images: Literal["stop", "skip"],
        tta: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        from ssl_seg.engine.tta import passes_of

        self.tta, self.passes = tta, passes_of(tta)
        self.batch_size, self.temperature = batch_size, 1.0
        self.options, self._cache, self.bad_images = options, cache, bad_images
        self.run, self.which, self._image_size = run, which, image_size
        self._parts = {
            part: TypedName(name) for part, name in (("backbone", backbone), ("head", head)) if name
        }
        self._precision, self._device_name = precision, device
        self.progress = ProgressDisplay()
        self._done = 0

    def __enter__(self) -> Self:
        from ssl_seg.engine.device import Device
        from ssl_seg.plugins import load_plugins
        from ssl_seg.workflows.trained_model import open_model

        self.progress.__enter__()
        try:
            self.plugins = load_plugins()
            self.device = Device(self._precision, name=self._device_name)
            self.progress.quiet = not self.device.is_main
            choice: dict[str, Any] = {"which": self.which, "image_size": self._image_size, **self._parts}
            self.loaded = open_model(self.run, self.plugins, self.progress.print_line, **choice)
            if self._precision == "auto" and self.loaded.precision == "fp32":
                self.device.precision = "fp32"  # as the run was measured
            self.device.prepare(self.loaded.model or self.loaded.backbone)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.__exit__()

    def require_head(self) -> None:
        """See that the model predicts classes.

        Raises:
            WeightsError: it is a backbone alone.
        """
        if self.loaded.model is None:
            raise WeightsError(
                f"{self.run} has no classifier or segmentation head",
                next=f"ssl-seg classify TRAIN --init {self.run}",
            )

    def dataset(self, data_spec: str | Sequence[str], *, split: str = "val", **needs: Any) -> "Dataset":
        """The images that `data_spec`, which a person has typed, names; `needs`: see `open_dataset`.

        Several words are names of image files, or patterns.
        """
        from ssl_seg.data.given_files import named_files
        from ssl_seg.workflows.data import open_dataset, open_files

        options, shared = self.options.get("data", {}), self.loaded.pixels
        names = None if isinstance(data_spec, str) else named_files(data_spec)
        if names is not None:
            return self._checked(open_files(names, {**shared, **options}), names[0])
        (data_spec,) = [data_spec] if isinstance(data_spec, str) else data_spec
        common: dict[str, Any] = {"split": split, "options": options, "shared": shared}
        dataset = open_dataset(self.plugins.registry, TypedName(data_spec), **common, **needs)
        return self._checked(dataset, data_spec)

    def _checked(self, dataset: "Dataset", name: str) -> "Dataset":
        """The dataset, whose images have as many channels as the network takes."""
        from ssl_seg.data.canvases import channels_of
        from ssl_seg.workflows.pixels import check_channels

        check_channels(channels_of(dataset), self.loaded.backbone, f"the images of {name}")
        return dataset

    def inputs(self, *datasets: "Dataset") -> Iterator[Path]:
        """The files that nothing may be written over: those of the data sets, and the run's own."""
        yield from run_files(find_run(self.run))
        for dataset in datasets:
            yield from files_of(dataset)

    def open(
        self, data_spec: str, *, labelled: bool = False, split: str = "val"
    ) -> tuple["Dataset", "ImageCache"]:
        """The images that `data_spec` names, decoded."""
        dataset = self.dataset(data_spec, split=split, labelled=labelled)
        return dataset, self.image_cache(dataset)

    def image_cache(self, dataset: "Dataset") -> "ImageCache":
        """The images of a data set, decoded."""
        from ssl_seg.workflows.data import open_images

        common: dict[str, Any] = {"cache": self._cache, "bad_images": self.bad_images}
        return open_images(dataset, self.loaded.canvas, self.progress, **common)

    def features(self, images: "ImageCache") -> "Tensor":
        """(N, C) pooled features."""
        from ssl_seg.engine.inference import extract_features

        loaded = self.loaded
        features, _ = extract_features(
            loaded.backbone, images, self.device, size=loaded.image_size, **loaded.normalization
        )
        return features

    def logits(self, images: "ImageCache") -> "Tensor":
        """(N, classes) logits of a model with a head."""
        import torch

        from ssl_seg.engine.inference import EVAL_BATCH_SIZE, run_inference

        inputs: dict[str, Any] = {"size": self.loaded.image_size, **self.loaded.normalization}
        inputs["batch_size"] = self.batch_size or EVAL_BATCH_SIZE
        parts, done = [], 0
        for logits, _ in run_inference(self.averaged(), images, self.device, **inputs):
            parts.append(logits.float())
            self.progress.predicting(done := done + len(logits), len(images))
        return torch.cat(parts)

    def averaged(self) -> "Averaged":
        """The model over the passes of `tta`, at the temperature."""
        from ssl_seg.engine.tta import Averaged

        assert self.loaded.model is not None
        return Averaged(self.loaded.model, self.passes, self.temperature)

    @property
    def num_predicted(self) -> int:
        """How many classes the model can predict: all but the excluded ones."""
        assert self.loaded.model is not None
        return len(self.loaded.metadata["classes"]) - len(self.loaded.model.excluded)

    def restart(self) -> None:
        """Count the images that are done from the start."""
        self._done = 0

    def advance(self, count: int) -> None:
        """One more of `count` images is done."""
        self._done += 1
        self.progress.predicting(self._done, count)
