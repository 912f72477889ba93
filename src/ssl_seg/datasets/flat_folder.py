"""Images without labels in a folder of any nesting."""

from ssl_seg.data.files import FileDataset, find_images, subfolders
from ssl_seg.data.levels import Range
from ssl_seg.data.masks_among import masks_among
from ssl_seg.data.splits import kind_of, split_folder
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.log import log


def flat_folder(
    root: str,
    split: str,
    *,
    splits: bool = True,
    masks: bool = False,
    range: Range = None,
    bands: str | None = None,
) -> FileDataset:
    """All images under `root`, without labels.

    Args:
        root: the folder.
        split: `val` finds `root/valid` and the like, if nothing else holds images; empty takes them all, with
            a warning if some are those to be measured on. Another name is that of a subfolder.
        splits: false: ignore folders named after splits and use all images.
        masks: also use files that are masks by their names, such as `1_mask.png` next to `1_sat.jpg`.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: there are splits and none fits, or no image.
    """
    whole = expanded(root)
    folder = split_folder(whole, split, mixed="whole") if splits else whole
    names = list(find_images(folder))
    if not masks and (left_out := masks_among(names)):
        log.warning(
            "%d of %d images in %s are masks of others by their names (%s) and left out; -o data.masks=true takes them",
            len(left_out),
            len(names),
            folder,
            left_out[0],
        )
        masked = set(left_out)
        names = [name for name in names if name not in masked]
    dataset = FileDataset(folder, ((name, -1) for name in names), range=range, bands=bands)
    if splits and folder == whole:
        _warn_of_splits(dataset)
    return dataset


def _warn_of_splits(dataset: FileDataset) -> None:
    """Say it where images of validation or test are among those of training."""
    kinds = {name: kind_of(name) for name in subfolders(dataset.root)}
    held = {f"{name}/": 0 for name, kind in kinds.items() if kind in ("val", "test")}
    train = [name for name, kind in kinds.items() if kind == "train"]
    if not held or not train:
        return
    for path, _ in dataset.samples:
        start = path[: path.find("/") + 1]
        if start in held:
            held[start] += 1
    log.warning(
        "%d of %d images are in %s; all are used. %s excludes them",
        sum(held.values()),
        len(dataset),
        " and ".join(held),
        dataset.root / train[0],
    )


@hookimpl
def datasets() -> dict[str, object]:
    return {"flat_folder": flat_folder}
