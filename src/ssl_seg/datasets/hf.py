"""Tables of Hugging Face's `datasets`, on this disk: folders of `save_to_disk`, and of Parquet files."""

from pathlib import Path

from ssl_seg.data.arrow_tables import ArrowTable, find_tables
from ssl_seg.data.contained import ContainedDataset
from ssl_seg.data.file_list import FileList
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.text import split_names


class ArrowImages:
    """Images in a column of Arrow or Parquet files, and masks in another, read when they are asked for.

    Args:
        table: the files.
        image, mask: names of the columns.
    """

    def __init__(self, table: ArrowTable, image: str, mask: str) -> None:
        self._table, self._image, self._mask = table, image, mask

    def location(self, index: int) -> tuple[Path, str]:
        path, row = self._table.location(index)
        return path, f"row {row}"

    def encoded(self, index: int) -> bytes:
        return self._table.content(index, self._image)

    def encoded_mask(self, index: int) -> bytes:
        return self._table.content(index, self._mask)


def hf(
    root: str,
    split: str,
    *,
    image: str | None = None,
    label: str | None = None,
    mask: str | None = None,
    classes: str = "",
    range: tuple[float, ...] | None = None,
) -> ContainedDataset:
    """A data set of Hugging Face that `save_to_disk` or `to_parquet` has written.

    Args:
        root: the folder, or a Parquet file. Nothing is downloaded.
        split: `train`, `val` or `test`, which finds subfolders and files of these names in any spelling.
        image: column of the images. Default: the first one of images that is not named after masks.
        label: column of the labels. Default: the first one of class labels, or `label`.
        mask: column of masks of class indices. Default: one of images named `mask`, `label`, `annotation` or the like.
        classes: names of the classes, `sea,land`, in order. Default: as the table has them; of masks they must be given.
        range: values that become black and white in images of more than 8 bits.

    Raises:
        DataError: pyarrow is not installed, no such files or columns, or images that lie elsewhere.
    """
    folder = expanded(root)
    table = ArrowTable(find_tables(folder, split))
    image, mask = table.image_columns(image, mask)
    names, targets = ([], [-1] * len(table)) if mask else table.labels(label)
    own = split_names(classes) or names
    if len(own) < len(names):
        raise DataError(f"{len(own)} names for {len(names)} classes", next="-o data.classes=NAME,NAME,...")
    samples = FileList((f"{index:08d}", target) for index, target in enumerate(targets))
    source = ArrowImages(table, image, mask)
    return ContainedDataset(folder, source, samples, own, masks=bool(mask), range=range)


@hookimpl
def datasets() -> dict[str, object]:
    return {"hf": hf}
