"""`ssl-seg export`: trained weights in the layouts of other libraries."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.utils.progress import echo, size_of
from ssl_seg.workflows.export import subject_of, write_export
from ssl_seg.workflows.run_result import Export


@from_python
def export(
    run: flags.RunOrFile,
    to: Annotated[
        Literal["timm", "torchvision", "onnx", "hub"],
        typer.Option(help="hub: a folder for Hugging Face with a model card; nothing is sent."),
    ],
    out: Annotated[
        Path, typer.Option(help="timm, hub: a folder; torchvision: .pth or .safetensors; onnx: .onnx.")
    ],
    which: flags.Which = "last",
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    license: Annotated[
        str, typer.Option(metavar="ID", help="For the model card, as mit or cc-by-4.0.")
    ] = "unknown",
    progress: flags.Progress = True,
) -> Export:
    """Write the weights of a run so that another library loads them, and compare what it computes.

    A file that computes something else is not written. Of classify and segment the head is included where
    the format can hold it.
    """
    out = out.expanduser()
    subject = subject_of(run, which, backbone, head)
    made = write_export(subject, to, out, run, which, license)
    for path in sorted(out.iterdir()) if out.is_dir() else [out]:
        echo(f"{path}  {size_of(path)}")
    holds = "backbone and head" if made.whole else "backbone"
    echo(f"{holds}; largest difference of its outputs {made.difference:.1e}")
    for note in made.notes:
        echo(f"note: {note}")
    echo("", *made.code.split("\n"))
    return Export(**vars(made), path=out)
