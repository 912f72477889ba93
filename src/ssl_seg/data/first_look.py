"""A look at a few images of a dataset before all of them are read: what would be refused, or doubtful."""

from ssl_seg.data.files import FileDataset
from ssl_seg.data.levels import PixelError
from ssl_seg.errors import DataError

_NUM_INSPECTED = 16
_SMALL = 32  # canvas on which they are read


def look_at(dataset: FileDataset) -> str | None:
    """Read at most 16 images, evenly spaced.

    Returns:
        What their values say against the way they are scaled to 8 bits; None where nothing does.

    Raises:
        DataError: none of them can be used as it is, for bands or values of a kind that is not read.
    """
    step = max(1, len(dataset) // _NUM_INSPECTED)
    rows = range(0, len(dataset), step)[:_NUM_INSPECTED]
    refused: list[tuple[int, PixelError]] = []
    for row in rows:
        try:
            dataset.image(row, _SMALL)
        except PixelError as error:
            refused.append((row, error))
        except ValueError:  # a damaged file; it is named when all are read
            pass
    if refused and len(refused) == len(rows):
        row, first = refused[0]
        raise DataError(
            f"{dataset.samples[row][0]}: {first.what}",
            where=f"{dataset.root}; all {len(rows)} inspected images fail likewise",
            next=first.next,
        )
    return dataset.levels.doubt(len(rows))
