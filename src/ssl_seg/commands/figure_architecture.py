"""`ssl-seg figure architecture`: what networks are made of, drawn from the networks themselves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_seg.commands import defaults, flags
from ssl_seg.commands.console import Console, echo
from ssl_seg.commands.reading import run_files
from ssl_seg.errors import SslSegError, UsageError, WeightsError
from ssl_seg.utils import limits
from ssl_seg.utils.code_names import TypedName, names_code, same_code
from ssl_seg.utils.entry_points import brief
from ssl_seg.utils.foreign import fenced

if TYPE_CHECKING:
    from ssl_seg.base import Backbone, Model
    from ssl_seg.figures.architecture.network import Network
    from ssl_seg.registry import Registry

_SIZE = 512  # what the papers of segmentation use
_OWN = (".png", ".svg", ".json")


def architecture(
    networks: Annotated[
        list[str],
        typer.Argument(metavar="RUN|BACKBONE+HEAD...", help="Runs, or names as resnet50+deeplabv3."),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=limits.SIDE,
            help="Side of the image, in pixels.",
            show_default="that of the runs, or 512",
        ),
    ] = None,
    classes: Annotated[
        int, typer.Option(min=1, max=limits.COUNT, help="Classes of heads that are named.")
    ] = 7,
    backbone: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="A run's backbone from a file; may be repeated."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:NAME", help="A run's head from a file; may be repeated."),
    ] = None,
    option: flags.Option = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="STEM",
            help="Without an ending.",
            show_default="RUN/figures/architecture, or architecture here",
        ),
    ] = None,
) -> None:
    """Draw networks stage by stage on one scale: sizes, channels, dilation, parameters, MACs.

    Writes STEM.png, STEM.svg, and STEM.json with the numbers.
    """
    from ssl_seg.figures.architecture.draw import draw_architecture
    from ssl_seg.plugins import load_plugins
    from ssl_seg.utils.files import replace_text
    from ssl_seg.utils.outputs import refuse_inputs

    registry, options = load_plugins().registry, defaults.read_options(option or [])
    trusted = [TypedName(name) for name in [*(backbone or ()), *(head or ())]]
    opened = [_open(TypedName(n), registry, options, classes, trusted) for n in dict.fromkeys(networks)]
    size = image_size or max((at for *_, at in opened if at), default=_SIZE)
    described = [_describe(model, size, title) for title, model, _ in opened]
    only = Path(networks[0]).expanduser()
    stem = out or (only / "figures" if len(networks) == 1 and only.is_dir() else Path()) / "architecture"
    stem = stem.with_suffix("") if stem.suffix in _OWN else stem
    number_file = stem.with_name(f"{stem.name}.json")
    refuse_inputs([number_file], (file for name in networks for file in run_files(Path(name).expanduser())))
    paths = draw_architecture(stem, described)
    numbers = {"image_size": size, "networks": [network.numbers() for network in described]}
    paths.append(number_file)
    replace_text(number_file, json.dumps(numbers, indent=1) + "\n")
    _tell(described, paths)


def _tell(networks: list["Network"], paths: list[Path]) -> None:
    from ssl_seg.figures.architecture.network import brief as short

    for network in networks:
        echo(
            f"{network.title}: {short(network.parameters, 4)} parameters, {short(network.macs, 4)}MACs "
            f"for an image of {network.size[0]} x {network.size[1]}"
        )
    echo(*paths)


def _open(
    named: TypedName,
    registry: "Registry",
    options: dict[str, dict[str, str]],
    classes: int,
    trusted: Sequence[TypedName],
) -> tuple[str, "Model | Backbone", int | None]:
    """A network without its weights: what it is called, the modules, the image size of a run."""
    path = Path(named).expanduser()
    if path.exists() and not names_code(named):
        return _of_run(path, registry, classes, trusted)
    backbone, _, head = map(TypedName, named.partition("+"))
    if not head and "/" in named and not names_code(named):
        raise UsageError(f"no run {named!r}", next="RUN, or BACKBONE+HEAD as resnet50+deeplabv3")
    return _title(backbone, head), _build(registry, backbone, head, options, classes), None


def _title(backbone: str, head: str) -> str:
    return " + ".join(defaults.short(name) if names_code(name) else name for name in (backbone, head) if name)


def _of_run(
    path: Path, registry: "Registry", classes: int, trusted: Sequence[TypedName]
) -> tuple[str, "Model | Backbone", int | None]:
    """From the header of its model; without one from that of its backbone, or from its settings.

    Args:
        trusted: stand in for code that it names.
    """
    from ssl_seg.utils.toml import read_toml
    from ssl_seg.weights.backbone_file import read_about
    from ssl_seg.weights.load import chosen, new_model
    from ssl_seg.weights.model_file import read_model_about

    def typed(name: object) -> TypedName | None:
        return next((each for each in trusted if names_code(name) and same_code(name, each)), None)

    file = path / "model.safetensors" if path.is_dir() else path
    about: Mapping[str, Any]
    if file.name in ("model.safetensors", "best.safetensors") and file.exists():
        about = read_model_about(file)
        parts = {part: typed(about[part]) for part in ("backbone", "head")}
        model = new_model(about, registry, file, **parts)
        return _title(about["backbone"], about["head"]), model, about["image_size"]
    if (path / "run.toml").exists():
        given = read_toml(path / "run.toml")
        backbone, head = str(given.get("backbone", "")), str(given.get("head", ""))
        backbone = chosen("backbones", backbone, typed(backbone), path / "run.toml")
        head = chosen("heads", head, typed(head), path / "run.toml")
        built = _build(registry, backbone, head, given.get("o", {}), classes)
        return _title(backbone, head), built, given.get("image_size")
    about = read_about(path)
    if "backbone" not in about:
        raise WeightsError("the file does not say what network it is of", where=str(path))
    own = {"backbone": about.get("options", {})}
    backbone = chosen("backbones", about["backbone"], typed(about["backbone"]), path)
    return _title(backbone, ""), _build(registry, backbone, "", own, classes), about.get("image_size")


def _build(
    registry: "Registry", backbone: str, head: str, options: Mapping[str, Mapping[str, str]], classes: int
) -> "Model | Backbone":
    """As `ssl-seg segment` builds it: a head that wants an output stride gets it where that is possible."""
    from ssl_seg.base import Model
    from ssl_seg.commands.strides import suited

    own = {part: dict(values) for part, values in options.items()}

    def build() -> "Backbone":
        made: Backbone = registry.build("backbones", backbone, options=own.get("backbone"))
        return made

    if not head:
        return build()
    registry.factory("backbones", backbone)  # a wrong name is told before anything about strides
    factory = registry.factory("heads", head)
    body = suited(factory, own, build, lambda why: Console().say(f"{backbone} {why}"))
    shape = body.channels, body.strides, classes
    return Model(body, registry.build("heads", head, *shape, options=own.get("head")))


def _describe(model: "Model | Backbone", size: int, title: str) -> "Network":
    from ssl_seg.figures.architecture.describe import describe

    try:
        with fenced():
            return describe(model, (size, size), title)
    except SslSegError:
        raise
    except Exception as error:  # of layers that a small image does not fill
        what = f"{title} does not run on an image of {size} x {size}: {brief(error)}"
        raise UsageError(what, next="another --image-size") from error
