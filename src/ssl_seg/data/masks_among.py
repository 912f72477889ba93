"""Which images of a folder are masks of others: nobody wants to pre-train on them unasked."""

import re
from collections.abc import Iterable
from pathlib import PurePath

_WORDS = r"masks?|labels?|gts?|seg|annotations?|segmentations?|groundtruth"
_AFFIX = re.compile(rf"(?:(?:{_WORDS})[_-])?(.+?)(?:[_-](?:{_WORDS}))?", re.IGNORECASE)
_IMAGE = re.compile(r"(.+?)(?:[_-](?:sat|images?|img|rgb))?", re.IGNORECASE)
_FOLDER = re.compile(_WORDS, re.IGNORECASE)


def masks_among(names: Iterable[str]) -> list[str]:
    """Names of masks whose image is there too: `1_mask.png` beside `1_sat.jpg` or `1.jpg`, `masks/1.png` beside `images/1.jpg`.

    Args:
        names: of files, relative to their common folder.
    """
    paths = [PurePath(name) for name in names]
    known: dict[tuple[str, str], set[str]] = {}
    for path in paths:
        if not _is_mask_folder(path):
            key = _core(_IMAGE, path.stem)
            known.setdefault((str(path.parent), key), set()).add(path.name)
            for above in path.parents:
                known.setdefault((f"{above}/*", key), set()).add(path.name)
    return [str(path) for path in paths if _has_image(path, known)]


def _has_image(path: PurePath, known: dict[tuple[str, str], set[str]]) -> bool:
    core = _core(_AFFIX, path.stem)
    if _is_mask_folder(path):
        return bool(known.get((f"{path.parent.parent}/*", core)))
    return core != path.stem and bool(known.get((str(path.parent), core), set()) - {path.name})


def _is_mask_folder(path: PurePath) -> bool:
    return bool(_FOLDER.fullmatch(path.parent.name))


def _core(pattern: re.Pattern[str], stem: str) -> str:
    found = pattern.fullmatch(stem)
    return found[1] if found else stem
