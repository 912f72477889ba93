"""Which images of a folder are masks of others: nobody wants to pre-train on them unasked."""

import re
from collections.abc import Iterable
from pathlib import PurePath

_WORDS = r"masks?|labels?|gts?|seg|annotations?|segmentations?|groundtruth"
_IDS = r"gt(?:fine|coarse)_(?:labelids|labeltrainids|instanceids|color)"
_AFFIX = re.compile(rf"(?:(?:{_WORDS})[_-])?(.+?)(?:[_-](?:{_WORDS}|{_IDS}))?", re.IGNORECASE)
_IMAGE = re.compile(r"(.+?)(?:[_-](?:sat|images?|img|rgb|leftImg8bit))?", re.IGNORECASE)
_TREE = re.compile(r"segmentation(?:class|object)(?:aug)?|gtfine|gtcoarse", re.IGNORECASE)
_FOLDER = re.compile(rf"{_WORDS}|{_TREE.pattern}", re.IGNORECASE)


def masks_among(names: Iterable[str]) -> list[str]:
    """Names of masks whose image is there too: `1_mask.png` beside `1_sat.jpg` or `1.jpg`, `masks/1.png` beside `images/1.jpg`.

    Args:
        names: of files, relative to their common folder.
    """
    paths = [PurePath(name) for name in names]
    known: dict[tuple[str, str], set[str]] = {}
    for path in paths:
        if _mask_folder(path) is None:
            key = _core(_IMAGE, path.stem)
            known.setdefault((str(path.parent), key), set()).add(path.name)
            for above in path.parents:
                known.setdefault((f"{above}/*", key), set()).add(path.name)
    return [str(path) for path in paths if _has_image(path, known)]


def _has_image(path: PurePath, known: dict[tuple[str, str], set[str]]) -> bool:
    core = _core(_AFFIX, path.stem)
    if (above := _mask_folder(path)) is not None:
        return bool(known.get((f"{above}/*", core)))
    return core != path.stem and bool(known.get((str(path.parent), core), set()) - {path.name})


def _mask_folder(path: PurePath) -> PurePath | None:
    """The folder above the one whose name says that it holds masks; None if there is none."""
    if _FOLDER.fullmatch(path.parent.name):
        return path.parent.parent
    return next((above.parent for above in path.parents if _TREE.fullmatch(above.name)), None)


def _core(pattern: re.Pattern[str], stem: str) -> str:
    found = pattern.fullmatch(stem)
    return found[1] if found else stem
