"""A finished run, opened again: what `evaluate`, `predict` and `embed` begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssl_seg.errors import WeightsError

if TYPE_CHECKING:
    from ssl_seg.base import Backbone, Model
    from ssl_seg.plugins import Plugins
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg.utils.progress import Console


@dataclass(frozen=True)
class Trained:
    """A model, or a backbone without a head, with all its weights.

    Attributes:
        backbone: on the CPU.
        model: None when there is no head.
        about: what the file says: `classes`, `task`, ...
        size: of an image in pixels.
        how: `mean` and `std` of the normalisation.
        canvas: to what images are reduced before anything else, as in the run.
        precision: of the run, if it is known.
        range: the values of more than 8 bits that were black and white in training, if stated.
    """

    backbone: "Backbone"
    model: "Model | None"
    about: dict[str, Any]
    size: int
    how: dict[str, Any]
    canvas: int
    precision: str | None = None
    range: list[float] | None = None

    @property
    def pixels(self) -> dict[str, str]:
        """Options of datasets with which images are read as they were in training."""
        return {"range": ",".join(map(str, self.range))} if self.range else {}


def open_trained(
    run: str,
    plugins: "Plugins",
    console: "Console",
    *,
    which: Literal["last", "best"] = "last",
    backbone: "TypedName | None" = None,
    head: "TypedName | None" = None,
    image_size: int | None = None,
) -> Trained:
    """Read the model of a run; of a run or file without a head, the backbone.

    Args:
        run: a run's folder, a model file, or weights of a backbone.
        which: the last epoch's model or the best one's.
        backbone, image_size: for weight files that do not say what they are.
        backbone, head: `file.py:Name`, for a run with such code.

    Raises:
        WeightsError: nothing there, it does not fit, or it asks for code that is not named here.
    """
    from ssl_seg.weights.load import is_backbone

    path = Path(run).expanduser()
    name = {"last": "model.safetensors", "best": "best.safetensors"}[which]
    file = path / name if path.is_dir() else path
    if file.name in ("model.safetensors", "best.safetensors") and file.exists() and not is_backbone(file):
        return _model(file, plugins, backbone, head)
    if which == "best":
        raise WeightsError(f"{run} has no best epoch", next="--which last")
    if (path / "run.toml").exists() and not (path / "backbone.safetensors").exists():
        raise WeightsError(f"{run} is not finished", next=f"ssl-seg train --resume --out {run}")
    return _backbone(path, plugins, console, backbone, image_size)


def _model(file: Path, plugins: "Plugins", backbone: "TypedName | None", head: "TypedName | None") -> Trained:
    from ssl_seg.data.canvases import WHOLE
    from ssl_seg.weights.load import new_model
    from ssl_seg.weights.model_file import load_model, read_model_about

    about = read_model_about(file)
    model = new_model(about, plugins.registry, file, backbone=backbone, head=head)
    load_model(file, model)
    how = {"mean": tuple(about["mean"]), "std": tuple(about["std"])}
    canvas = WHOLE if about["task"] == "segment" else 2 * about["image_size"]  # of version 0.1.0
    known = about.get("canvas", canvas), about.get("precision"), about.get("range")
    return Trained(model.backbone, model, about, about["image_size"], how, *known)


def _backbone(
    path: Path, plugins: "Plugins", console: "Console", name: "TypedName | None", image_size: int | None
) -> Trained:
    from ssl_seg.workflows.init_weights import resolve_init_weights

    init = resolve_init_weights(str(path), backbone=name, options={}, image_size=image_size, any_size=True)
    backbone = plugins.registry.build("backbones", init.backbone, options=init.options)
    init.load(backbone, console.say)
    known = init.canvas or 2 * init.image_size, init.precision, init.range
    return Trained(backbone, None, {}, init.image_size, init.normalization, *known)
