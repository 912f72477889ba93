"""What a segmentation model knows of its data's files: colours, names, classes."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ssl_seg.commands.defaults import names_in
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.outputs import names_below

if TYPE_CHECKING:
    from ssl_seg.base import Dataset


def about_masks(dataset: "Dataset") -> dict[str, Any]:
    """`colours` of the classes, those to `exclude`, and how file names of masks and images end.

    Data sets that say nothing of these get the colours of PASCAL VOC and exclude nothing.
    """
    from ssl_seg.data.palettes import voc_colours

    palette = getattr(dataset, "palette", None)
    colours = voc_colours(len(dataset.classes)) if palette is None else palette.tolist()
    return {
        "colours": [list(colour) for colour in colours],
        "exclude": list(getattr(dataset, "exclude", [])),
        "image_suffix": getattr(dataset, "image_suffix", ""),
        "mask_suffix": getattr(dataset, "mask_suffix", ""),
    }


def epochs_to_watch(text: str, epochs: int) -> set[int]:
    """`1,10,50` as numbers; by default the first, the middle and the last.

    Raises:
        UsageError: no epoch of the run.
    """
    words = names_in(text)
    if not words:
        return {1, (epochs + 1) // 2, epochs}
    for word in words:
        if not word.isdecimal() or not 1 <= int(word) <= epochs:
            raise UsageError(f"--watch-epochs: {word!r} is no epoch from 1 to {epochs}")
    return set(map(int, words))


def mask_names(dataset: "Dataset", rows: Iterable[int], about: dict[str, Any]) -> list[str]:
    """How the masks of images are called: `0013_sat.jpg` -> `0013_mask.png`.

    They are relative to a folder for masks, as `names_below` has it for images from anywhere.
    """
    names = names_below([dataset.samples[row][0] for row in rows], Path(getattr(dataset, "root", "")))
    return [_mask_name(PurePath(name), about) for name in names]


def _mask_name(image: PurePath, about: dict[str, Any]) -> str:
    stem = image.stem.removesuffix(about["image_suffix"])
    return str(image.with_name(f"{stem}{about['mask_suffix']}.png"))


def check_classes(dataset: "Dataset", classes: Sequence[str], known: Sequence[str], spec: str) -> None:
    """The classes of validation masks must be those of training, in their order; the last may lack.

    Raises:
        DataError: they are not.
    """
    if list(classes) != list(known[: len(classes)]):
        source = getattr(dataset, "palette_source", "")
        raise DataError(
            f"the classes of {spec} are not those of the training masks",
            where=f"{', '.join(classes[:8])} ({source}); in training {', '.join(known[:8])}",
            next="-o data.palette=PALETTE  # for both",
        )


def class_table(classes: list[str], numbers: dict[str, float]) -> list[str]:
    """IoU and true pixels of each class; `n/a` for those that are excluded, or neither there nor predicted."""
    width = max(map(len, [*classes, "class"]))
    lines = [f"{'class':{width}}     IoU      pixels"]
    for name in classes:
        iou, support = numbers.get(f"iou/{name}"), numbers.get(f"support/{name}", 0.0)
        lines.append(f"{name:{width}}" + ("     n/a" if iou is None else f"  {iou:.4f}{support:12,.0f}"))
    return lines
