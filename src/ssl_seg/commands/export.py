"""`ssl-seg export`: weights in the formats of other libraries."""

from pathlib import Path
from typing import Annotated, Literal

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.utils.home import expanded
from ssl_seg.utils.progress import echo, format_file_size
from ssl_seg.workflows.export import subject_of, write_export
from ssl_seg.workflows.run_result import Export


@from_python
def export(
    run: flags.RunOrFile,
    to: Annotated[
        Literal["timm", "torchvision", "onnx", "hub"],
        flags.output_flag(
            help="Target format; hub writes a Hugging Face folder with a model card and uploads nothing."
        ),
    ],
    out: Annotated[
        Path,
        flags.output_flag(
            help="timm, hub: folder; torchvision: .pth or .safetensors file; onnx: .onnx file."
        ),
    ],
    which: flags.Which = "last",
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    license: Annotated[
        str, flags.output_flag(metavar="ID", help="License identifier for the model card, for example mit.")
    ] = "unknown",
    progress: flags.Progress = True,
) -> Export:
    """Export weights to another library's format and verify them.

    The exported model's outputs are compared with the original; nothing is written if they differ. The head
    of a classification or segmentation run is included where the format supports it.
    """
    out = expanded(out)
    source = subject_of(run, which, backbone, head)
    exported = write_export(source, to, out, run, which, license)
    for path in sorted(out.iterdir()) if out.is_dir() else [out]:
        echo(f"{path}  {format_file_size(path)}")
    holds = "backbone and head" if exported.includes_head else "backbone"
    echo(f"{holds}; largest difference of its outputs {exported.max_difference:.1e}")
    for note in exported.notes:
        echo(f"note: {note}")
    echo("", *exported.code.split("\n"))
    return Export(**vars(exported), path=out)
