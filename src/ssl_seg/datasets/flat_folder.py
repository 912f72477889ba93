"""Images without labels in a folder of any nesting."""

from pathlib import Path

from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.hooks import hookimpl


def flat_folder(root: str, split: str, *, range: tuple[float, float] | None = None) -> FileDataset:
    """Every image below `root`, unlabelled.

    Args:
        root: the folder.
        split: a subfolder, if there is one.
        range: the values that become black and white in images of more than 8 bits.
    """
    folder = Path(root)
    if split and (folder / split).is_dir():
        folder = folder / split
    return FileDataset(folder, ((name, -1) for name in find_images(folder)), range=range)


@hookimpl
def datasets() -> dict[str, object]:
    return {"flat_folder": flat_folder}
