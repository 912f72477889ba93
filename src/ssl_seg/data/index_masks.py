"""What the numbers in masks of one channel mean, if they mean anything."""

from collections.abc import Sequence
from pathlib import Path

from ssl_seg.base import IGNORE_INDEX
from ssl_seg.data.mask_census import Census, percent
from ssl_seg.data.mask_files import MaskReader
from ssl_seg.data.palettes import BINARY, Colour, Palette, unnamed_palette
from ssl_seg.errors import DataError

VOID_SHARE = 0.25  # of all pixels: more of 255 is no border between things
_MANY = 128  # indices; more are grey levels, until somebody says that they are classes
_EITHER = ((0,), (1, IGNORE_INDEX))  # where no pixel says which of the two an object has


def from_values(
    paths: Sequence[Path], found: Census, colours: Sequence[Colour], void: Sequence[int]
) -> tuple[MaskReader, str]:
    """How masks of indices are read whose palette nobody has given.

    Two values, one of them 0, are two classes. Otherwise 0, 1, ... are classes and 255 is none, if most of
    the indices up to the highest occur.

    Args:
        paths: of the masks.
        found: their values.
        colours: of a palette PNG.
        void: values that are no class.

    Raises:
        DataError: the values say something else.
    """
    values = sorted(found.pixels.keys() - set(void))
    if len(values) < 2:
        raise _one_value(paths, found)
    if len(values) == 2 and values[0] == 0:
        return two_values(found, void)
    indices = [value for value in values if 0 <= value < IGNORE_INDEX]
    if len(indices) < 2 or values[0] < 0 or values[-1] > IGNORE_INDEX or 2 * len(indices) <= indices[-1] + 1:
        raise _no_indices(found, indices, "are not class indices: most from 0 to the maximum never occur")
    if len(indices) > _MANY:
        raise _no_indices(found, indices, f"may be gray levels: {len(indices)} values up to {indices[-1]}")
    share = found.share(IGNORE_INDEX) if IGNORE_INDEX in values else 0.0
    if share > VOID_SHARE:
        raise covers(share, found.histogram(), indices[-1] + 1)
    palette = unnamed_palette(indices[-1] + 1, "the number of classes in the masks", colours)
    description = f"class indices 0 to {indices[-1]}, as found in the masks"
    return MaskReader(
        palette, "indices"
    ), f"{description}; 255 is ignored ({percent(share)} of the pixels)" if share else description


def two_values(found: Census, void: Sequence[int] = ()) -> tuple[MaskReader, str]:
    """Two classes: background is 0, object is the one other value; 1 or 255 if there is none.

    Raises:
        DataError: there are more values.
    """
    others = sorted(found.pixels.keys() - {0, *void})
    if len(others) > 1 or (others and not 0 < others[0] < 1 << 16):
        raise DataError(
            "binary masks must contain 0 and one other value only",
            where=found.histogram(),
            next="-o data.palette=N, the number of classes; or -o data.colours=bits  # threshold at 128",
        )
    values = ((0,), (others[0],)) if others else _EITHER
    shown = others[0] if others else "1 or 255"
    return MaskReader(BINARY, "indices", values=values), f"two values: 0 is background, {shown} is object"


def check_ids(palette: Palette, found: Census) -> None:
    """See that masks hold the ids of a palette, and not already the indices of its classes.

    Raises:
        DataError: all values are indices of classes, and as ids most pixels would be no class.
    """
    ids = {value for values in palette.values for value in values}
    plain = {*range(len(palette.names)), IGNORE_INDEX}
    if found.pixels.keys() <= plain and sum(map(found.share, ids)) < 1 - VOID_SHARE:
        answer = "cityscapes_train" if palette.source == "cityscapes" else str(len(palette.names))
        raise DataError(
            f"the masks seem to hold class indices, 0 to {len(palette.names) - 1}, and not the ids of {palette.source}",
            where=found.histogram(),
            next=f"-o data.palette={answer}",
        )


def check_class_indices(classes: int, found: Census) -> None:
    """See that predicted masks hold indices of classes where the true ones hold other ids.

    Raises:
        DataError: they hold others.
    """
    if beyond := sorted(found.pixels.keys() - {*range(classes), IGNORE_INDEX}):
        raise DataError(
            f"the predicted masks hold {beyond[0]}: not one of the class indices 0 to {classes - 1}",
            where=found.histogram(),
            next="write class indices or the colors of the palette, as ssl-seg predict does",
        )


def covers(share: float, where: str, classes: int) -> DataError:
    """255 covers more than borders, and nobody has said that it is no class."""
    return DataError(
        f"255 covers {percent(share)} of the masks: is it the ignore value or a class?",
        where=where,
        next=f"-o data.palette={classes} -o data.ignore={IGNORE_INDEX}  # ignore value; or -o data.palette=FILE.json",
    )


def _one_value(paths: Sequence[Path], found: Census) -> DataError:
    return DataError(
        "the masks contain fewer than two classes",
        where=f"{paths[0].parent}: {found.histogram()}",
        next="-o data.palette=N, the number of classes, or =binary, or =FILE.json",
    )


def _no_indices(found: Census, indices: Sequence[int], what: str) -> DataError:
    run = next((position for position, value in enumerate(indices) if position != value), len(indices))
    options, meaning = "-o data.palette=N", "the number of classes"
    if 2 <= run <= _MANY:
        options = f"-o data.palette={run} -o data.stray=ignore"
        meaning = f"0 to {run - 1} are classes, the rest is ignored"
    elif found.pixels.keys() <= set(range(256)):
        options = "-o data.palette=binary -o data.colours=bits"
        meaning = "two classes: threshold at 128"
    answer = f"{options}  # {meaning}; or -o data.palette=N or =FILE.json"
    return DataError(f"the values of the masks {what}", where=found.histogram(), next=answer)
