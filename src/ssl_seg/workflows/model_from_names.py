"""Networks without their weights, from runs or from names of components."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import SslSegError, UsageError, WeightsError
from ssl_seg.study.run_paths import find_run
from ssl_seg.utils.code_names import TypedName, names_code, same_code
from ssl_seg.utils.entry_points import short_error
from ssl_seg.utils.foreign import fenced
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.utils.text import short_name

if TYPE_CHECKING:
    from ssl_seg.base import Backbone, Model
    from ssl_seg.figures.architecture.network import Network
    from ssl_seg.registry import Registry


SIZE = 512  # what the papers of segmentation use


ENDINGS = (".png", ".svg", ".json")


def is_run(named: TypedName) -> bool:
    """Whether the folder of a run is meant, not `BACKBONE+HEAD`."""
    return find_run(named).exists() and not names_code(named)


def from_names(
    named: TypedName, registry: "Registry", options: dict[str, dict[str, str]], classes: int, size: int
) -> tuple[str, "Model | Backbone"]:
    """The title and the modules of `BACKBONE+HEAD` or `BACKBONE`, as trained on images of `size` pixels."""
    backbone, _, head = map(TypedName, named.partition("+"))
    if not head and "/" in named and not names_code(named):
        raise UsageError(f"no run {named!r}", next="RUN, or BACKBONE+HEAD as resnet50+deeplabv3")
    return _title(backbone, head), _build(registry, backbone, head, options, classes, size)


def _title(backbone: str, head: str) -> str:
    return " + ".join(short_name(name) if names_code(name) else name for name in (backbone, head) if name)


def from_run(
    named: TypedName, registry: "Registry", classes: int, trusted: Sequence[TypedName]
) -> tuple[str, "Model | Backbone", int | None]:
    """The title, the modules without their weights, and the image size of a run.

    From the header of its model; without one from that of its backbone, or from its settings.

    Args:
        trusted: stand in for code that it names.
    """
    from ssl_seg.utils.toml import read_toml
    from ssl_seg.weights.backbone_file import read_metadata
    from ssl_seg.weights.load import build_model, chosen
    from ssl_seg.weights.model_file import read_model_metadata

    def typed(name: object) -> TypedName | None:
        return next((each for each in trusted if names_code(name) and same_code(name, each)), None)

    path = find_run(named)
    file = path / "model.safetensors" if path.is_dir() else path
    metadata: Mapping[str, Any]
    if file.name in ("model.safetensors", "best.safetensors") and file.exists():
        metadata = read_model_metadata(file)
        parts = {part: typed(metadata[part]) for part in ("backbone", "head")}
        model = build_model(metadata, registry, file, **parts)
        return _title(metadata["backbone"], metadata["head"]), model, metadata["image_size"]
    if (path / "run.toml").exists():
        config = read_toml(path / "run.toml")
        backbone, head = str(config.get("backbone", "")), str(config.get("head", ""))
        backbone = chosen("backbones", backbone, typed(backbone), path / "run.toml")
        head = chosen("heads", head, typed(head), path / "run.toml")
        size = config.get("image_size")
        built = _build(registry, backbone, head, config.get("o", {}), classes, size or SIZE)
        return _title(backbone, head), built, size
    metadata = read_metadata(path)
    if "backbone" not in metadata:
        raise WeightsError("the file does not say what network it is of", where=str(path))
    own = {"backbone": metadata.get("options", {})}
    backbone = chosen("backbones", metadata["backbone"], typed(metadata["backbone"]), path)
    size = metadata.get("image_size")
    return _title(backbone, ""), _build(registry, backbone, "", own, classes, size or SIZE), size


def _build(
    registry: "Registry",
    backbone: str,
    head: str,
    options: Mapping[str, Mapping[str, str]],
    classes: int,
    size: int,
) -> "Model | Backbone":
    """As `ssl-seg segment` builds it: with the output stride and the options that suit the head and the image size."""
    from ssl_seg.base import Model
    from ssl_seg.workflows.crop_size import options_for_size
    from ssl_seg.workflows.strides import backbone_with_output_stride

    def build(own: Mapping[str, str]) -> "Backbone":
        made: Backbone = registry.build("backbones", backbone, options=own)
        return made

    own = options.get("backbone", {})
    if not head:
        return build(own)
    registry.factory("backbones", backbone)  # a wrong name is told before anything about strides
    factory = registry.factory("heads", head)
    body = backbone_with_output_stride(
        factory, own, build, lambda reason: ProgressDisplay().print_line(f"{backbone} {reason}")
    )
    suited = options_for_size(factory, options.get("head", {}), body.strides, size)
    shape = body.channels, body.strides, classes
    return Model(body, registry.build("heads", head, *shape, options=suited))


def describe_network(model: "Model | Backbone", size: int, title: str) -> "Network":
    from ssl_seg.figures.architecture.describe import describe

    try:
        with fenced():
            return describe(model, (size, size), title)
    except SslSegError:
        raise
    except Exception as error:  # of layers that a small image does not fill
        what = f"{title} does not run on an image of {size} x {size}: {short_error(error)}"
        raise UsageError(what, next="another --image-size") from error
