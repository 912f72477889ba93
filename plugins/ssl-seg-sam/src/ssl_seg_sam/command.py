"""`ssl-seg sam`: what Segment Anything sees in images, drawn and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.utils.progress import echo

if TYPE_CHECKING:
    from ssl_seg_sam.album import Album
    from ssl_seg_sam.runs import SegmentRun

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command("sam")
def sam(
    target: Annotated[
        str, typer.Argument(metavar="RUN|FOLDER", help="A run of `ssl-seg segment`, or images.")
    ],
    images: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Which, with commas between: 0013,0062.",
            show_default="those the run watched; all of a folder",
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="FOLDER|NAME", help="SAM or SAM 2: a folder, or a name on the hub.")
    ] = "facebook/sam-vit-base",
    prompt: Annotated[
        Literal["grid", "points", "boxes"],
        typer.Option(help="grid: everything; points, boxes: of the regions that the run predicted."),
    ] = "grid",
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="The object at this pixel; may be repeated.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="L,T,R,B", help="The object in this box of pixels; may be repeated."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, max=256, help="Of the grid, per side.")] = 32,
    quality: Annotated[float, typer.Option(help="Least IoU that SAM expects of a mask of the grid.")] = 0.88,
    stability: Annotated[
        float, typer.Option(help="Least IoU of such a mask with itself at another threshold.")
    ] = 0.95,
    tile: flags.Tile = 1024,
    batch: Annotated[int, typer.Option(min=1, max=65_536, help="Prompts answered at a time.")] = 32,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="Runs whose mean IoU stands beside; may be repeated."),
    ] = None,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what comes of it.", show_default="RUN/sam, or sam")
    ] = None,
) -> None:
    """Masks of Segment Anything over images, and how well they agree with the label maps.

    Writes NAME.png and NAME_masks.npz for every image, and sam.json with the numbers.
    """
    from ssl_seg_sam.numbers import Numbers
    from ssl_seg_sam.session import Session, Wish

    places = tuple(point or ()), tuple(box or ())
    wish = Wish(model, prompt, *places, points, quality, stability, tile, batch)
    run, album, note = _open(target, option or [], prompt)
    rows = _rows(run, album, images, target)
    folder = out or (run.folder / "sam" if run else Path("sam"))
    numbers = Numbers(album, run.folder if run else None, compare or [])
    numbers.notes += [note] if note else []
    echo(*Session(album, run, wish, numbers, folder).go(rows, precision, cpu=cpu))


def _open(target: str, option: list[str], prompt: str) -> "tuple[SegmentRun | None, Album, str]":
    """The run, if it is one, its images or those of the folder, and what is to be said of them."""
    from ssl_seg.commands.config import read_options
    from ssl_seg.errors import UsageError
    from ssl_seg.utils.code_names import TypedName
    from ssl_seg_sam.album import folder_album
    from ssl_seg_sam.runs import SegmentRun

    options = read_options(option)
    if others := sorted(set(options) - {"data"}):
        raise UsageError(f"-o {others[0]}.: only the data have options here", next="-o data.KEY=VALUE")
    path = Path(target).expanduser()
    if not (path / "run.toml").is_file():
        if prompt != "grid":
            raise UsageError(
                f"--prompt {prompt} takes what a run predicted, and {target} is no run",
                next="--box LEFT,TOP,RIGHT,BOTTOM, or --point X,Y",
            )
        return None, folder_album(TypedName(target), options.get("data", {})), ""
    run = SegmentRun.open(path)
    return run, *run.album(options.get("data", {}))


def _rows(run: "SegmentRun | None", album: "Album", images: str, target: str) -> list[int]:
    """Those that are named; else those that the run watched; else all."""
    from ssl_seg_sam.runs import KeptAlbum

    names = [name for word in images.split(",") if (name := word.strip())]
    if not names and run and not isinstance(album, KeptAlbum):
        names = run.watched
    return album.find(names, target) if names else list(range(len(album.files)))
