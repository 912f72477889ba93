"""`ssl-seg sam`: masks of Segment Anything, drawn and compared with label maps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.utils.progress import echo

if TYPE_CHECKING:
    from ssl_seg_sam.image_source import ImageSource
    from ssl_seg_sam.runs import SegmentRun

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command("sam")
def sam(
    target: Annotated[
        str, typer.Argument(metavar="RUN|FOLDER", help="Segmentation run, or folder of images.")
    ],
    images: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated images: 0013,0062.",
            show_default="images of --watch; all images of a folder",
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="FOLDER|NAME", help="SAM or SAM 2: a folder or a Hugging Face Hub name.")
    ] = "facebook/sam-vit-base",
    prompt: Annotated[
        Literal["grid", "points", "boxes"],
        typer.Option(
            help="Prompts: grid (segment everything), or points or boxes of the run's predicted regions."
        ),
    ] = "grid",
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="Segment the object at this pixel; repeatable.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="L,T,R,B", help="Segment the object in this box, in pixels; repeatable."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, max=256, help="Grid points per side.")] = 32,
    quality: Annotated[float, typer.Option(help="Predicted-IoU threshold for grid masks.")] = 0.88,
    stability: Annotated[float, typer.Option(help="Stability-score threshold for grid masks.")] = 0.95,
    tile: flags.Tile = 1024,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Prompts per forward pass.")] = 32,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Runs to compare by mean IoU; repeatable."),
    ] = None,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    out: Annotated[Path | None, typer.Option(help="Output folder.", show_default="RUN/sam, or sam")] = None,
) -> None:
    """Segment images with Segment Anything and compare with label maps.

    Writes NAME.png and NAME_masks.npz for every image, and sam.json with the scores.
    """
    from ssl_seg_sam.metrics import AgreementMetrics
    from ssl_seg_sam.session import SamConfig, SamRun

    typed = tuple(point or ()), tuple(box or ())
    config = SamConfig(model, prompt, *typed, points, quality, stability, tile, batch)
    run, image_source, note = _open(target, option or [], prompt)
    rows = _rows(run, image_source, images, target)
    folder = out or (run.folder / "sam" if run else Path("sam"))
    metrics = AgreementMetrics(image_source, run.folder if run else None, compare or [])
    metrics.notes += [note] if note else []
    echo(*SamRun(image_source, run, config, metrics, folder).run(rows, precision, cpu=cpu))


def _open(target: str, option: list[str], prompt: str) -> "tuple[SegmentRun | None, ImageSource, str]":
    """The run, if it is one, its images or those of the folder, and what is to be said of them."""
    from ssl_seg.errors import UsageError
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg.workflows.flag_values import read_options
    from ssl_seg_sam.image_source import folder_source
    from ssl_seg_sam.runs import SegmentRun

    options = read_options(option)
    if others := sorted(set(options) - {"data"}):
        raise UsageError(f"-o {others[0]}.: only only data options are supported", next="-o data.KEY=VALUE")
    path = Path(target).expanduser()
    if not (path / "run.toml").is_file():
        if prompt != "grid":
            raise UsageError(
                f"--prompt {prompt} requires a segmentation run; {target} is not a run folder",
                next="--box LEFT,TOP,RIGHT,BOTTOM, or --point X,Y",
            )
        return None, folder_source(TypedName(target), options.get("data", {})), ""
    run = SegmentRun.open(path)
    return run, *run.image_source(options.get("data", {}))


def _rows(run: "SegmentRun | None", image_source: "ImageSource", images: str, target: str) -> list[int]:
    """Those that are named; else those that the run watched; else all."""
    from ssl_seg_sam.runs import SnapshotImages

    names = [name for word in images.split(",") if (name := word.strip())]
    if not names and run and not isinstance(image_source, SnapshotImages):
        names = run.watched
    return image_source.find(names, target) if names else list(range(len(image_source.files)))
