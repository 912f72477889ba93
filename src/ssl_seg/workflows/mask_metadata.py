"""What a segmentation model knows of its data's files: colours, names, classes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError
from ssl_seg.utils.outputs import names_below
from ssl_seg.utils.text import shown

if TYPE_CHECKING:
    from ssl_seg.base import Dataset


_AFFIXES = ("image_prefix", "image_suffix", "mask_prefix", "mask_suffix")
_SHOWN = 24


def metadata_of_masks(dataset: "Dataset") -> dict[str, Any]:
    """`colours` of the classes, those to `exclude`, and what file names of images and masks begin and end with.

    `palette` says how masks are read, as the option of that name. Data sets that say nothing of these get
    the colours of PASCAL VOC and exclude nothing.
    """
    from ssl_seg.data.palettes import voc_colormap

    palette = getattr(dataset, "palette", None)
    colours = voc_colormap(len(dataset.classes)) if palette is None else palette.tolist()
    return {
        "colours": [list(colour) for colour in colours],
        "exclude": list(getattr(dataset, "exclude", [])),
        **{name: getattr(dataset, name, "") for name in _AFFIXES},
        "palette": getattr(dataset, "palette_text", ""),
    }


def palette_of(metadata: Mapping[str, Any]) -> str:
    """How a run's masks were read, as the option `palette`; version 0.1.0 has recorded classes and colours."""
    from ssl_seg.data.palette_text import as_text, names_no_file
    from ssl_seg.data.palettes import Palette

    if names_no_file(text := str(metadata.get("palette", ""))):
        return text
    names = tuple(map(str, metadata["classes"]))
    colours = tuple((red, green, blue) for red, green, blue in metadata["colours"])
    unnamed_palette = names == tuple(map(str, range(len(names))))
    return as_text(
        Palette(
            names, colours, exclude=tuple(metadata["exclude"]), by="indices" if unnamed_palette else "colours"
        )
    )


def print_classes(dataset: "Dataset", spec: str, print_line: Callable[[str], None]) -> None:
    """Say how masks are read, and which classes that makes."""
    if encoding := getattr(dataset, "how", ""):
        classes = [
            f"{name} (excluded)" if name in getattr(dataset, "exclude", ()) else name
            for name in dataset.classes
        ]
        more = [f"{len(classes) - _SHOWN} more"] if len(classes) > _SHOWN else []
        print_line(
            f"masks of {spec}: {encoding}; {len(classes)} classes: {', '.join([*classes[:_SHOWN], *more])}"
        )


def mask_names(dataset: "Dataset", indices: Iterable[int], metadata: Mapping[str, Any]) -> list[str]:
    """How the masks of images are called: `0013_sat.jpg` -> `0013_mask.png`.

    They are relative to a folder for masks, as `names_below` has it for images from anywhere.
    """
    images, root = [dataset.samples[index][0] for index in indices], Path(getattr(dataset, "root", ""))
    names = names_below(images, root, common=getattr(dataset, "is_listed", False))
    return [_mask_name(PurePath(name), metadata) for name in names]


def _mask_name(image: PurePath, metadata: Mapping[str, Any]) -> str:
    stem = image.stem.removeprefix(metadata.get("image_prefix", "")).removesuffix(metadata["image_suffix"])
    return str(image.with_name(f"{metadata.get('mask_prefix', '')}{stem}{metadata['mask_suffix']}.png"))


def check_classes(
    dataset: "Dataset", classes: Sequence[str], train_classes: Sequence[str], spec: str
) -> None:
    """The classes of validation masks must be those of training, in their order; the last may lack.

    Raises:
        DataError: they are not.
    """
    if list(classes) != list(train_classes[: len(classes)]):
        source = getattr(dataset, "palette_source", "")
        raise DataError(
            f"the classes of {spec} are not those of the training masks",
            where=f"{', '.join(classes[:8])} ({source}); in training {', '.join(train_classes[:8])}",
            next="-o data.palette=PALETTE  # for both",
        )


def format_class_table(classes: list[str], numbers: dict[str, float]) -> list[str]:
    """IoU and true pixels of each class; `n/a` for those that are excluded, or neither there nor predicted."""
    names = list(map(shown, classes))
    width = max(map(len, [*names, "class"]))
    lines = [f"{'class':{width}}     IoU      pixels"]
    for key, name in zip(classes, names, strict=True):
        iou, support = numbers.get(f"iou/{key}"), numbers.get(f"support/{key}", 0.0)
        lines.append(f"{name:{width}}" + ("     n/a" if iou is None else f"  {iou:.4f}{support:12,.0f}"))
    return lines
