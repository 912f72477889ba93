"""Images without labels in a folder of any nesting."""

from pathlib import Path

from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.hooks import hookimpl


def flat_folder(root: str, split: str) -> FileDataset:
    """Every image below `root`, unlabelled; `split` names a subfolder if there is one."""
    folder = Path(root)
    if split and (folder / split).is_dir():
        folder = folder / split
    return FileDataset(folder, ((name, -1) for name in find_images(folder)))


@hookimpl
def datasets() -> dict[str, object]:
    return {"flat_folder": flat_folder}
