"""What may have been meant, where images and masks do not pair: the options that would pair the most."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import permutations, product
from pathlib import PurePath

from ssl_seg.data.pair_names import Affixes
from ssl_seg.data.pair_patterns import Patterns

_MOST = 1000  # names of a folder that are looked at
_TRIED = 4  # affixes of each kind, and folders
_SEPARATED = r"[_\-. ]"
_WORD = r"masks?|labels?|gt|seg"
_MASKS = re.compile(rf"{_WORD}|annot|truth|target", re.IGNORECASE)
_IMAGES = re.compile(r"im(a?g|age)|photo|sat|rgb|left|picture", re.IGNORECASE)
_JPEG = (".jpg", ".jpeg")

Affix = tuple[str, str]


@dataclass(frozen=True)
class _Guess:
    """Affixes, and what they pair.

    Attributes:
        affixes: of the names.
        names, others: of images and masks, or of all files and None.
        folders: of images and of masks, below the one that was given.
    """

    affixes: Affixes
    names: Sequence[str]
    others: Sequence[str] | None
    folders: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of one image and one mask, where no other has the same key."""
        images, masks = self.affixes.split(
            list(self.names), None if self.others is None else list(self.others)
        )
        of_images, of_masks = Counter(images.values()), Counter(masks.values())
        alone = {key: name for name, key in masks.items() if of_masks[key] == of_images[key] == 1}
        return [(name, alone[key]) for name, key in images.items() if key in alone]

    @property
    def rank(self) -> tuple[int, ...]:
        """The more pairs the better; of as many, the one whose names speak for it, and the shortest."""
        pairs, affixes = self.pairs, self.affixes
        image, mask = pairs[0] if pairs else ("", "")
        image_folder, mask_folder = self.folders or ("", "")
        return (
            len(pairs),
            -(affixes.case == "ignore"),
            -(PurePath(mask).suffix.lower() in _JPEG),
            bool(_MASKS.search("".join((*affixes.mask, mask_folder))))
            + bool(_IMAGES.search("".join((*affixes.image, image_folder)))),
            PurePath(image).suffix.lower() in _JPEG,
            -sum(map(len, (*affixes.image, *affixes.mask))),
        )

    def text(self, now: Affixes) -> str:
        """What to type instead of `now`, with the first pair."""
        best, pairs = self.affixes, self.pairs
        for field in fields(Affixes):  # what changes nothing need not be typed
            tried = replace(best, **{field.name: getattr(now, field.name)})
            best = tried if len(replace(self, affixes=tried).pairs) == len(pairs) else best
        names = [(f.name, getattr(best, f.name)) for f in fields(Affixes)]
        wanted = [(name, value) for name, value in names if value != getattr(now, name)]
        options = [*zip(("images", "masks"), self.folders, strict=False), *wanted]
        texts = [f"-o {shlex.quote(f'data.{name}={value}')}" for name, value in options]
        return f"{' '.join(texts)}  # {len(pairs)} pairs, as {' with '.join(pairs[0])}"


def guess(names: Sequence[str], others: Sequence[str] | None, now: Affixes | Patterns) -> str:
    """The options that pair the most, if they pair more than `now` does; otherwise nothing.

    Args:
        names: of images; of all files if there is one folder.
        others: of masks, or None.
    """
    some, other = _first(names), None if others is None else _first(others)
    cut = f", looking at {len(some):,} names" if len(some) < len(names) else ""
    own = now.split(list(some), None if other is None else list(other))
    paired = len(set(own[0].values()) & set(own[1].values()))
    best = max(_guesses(some, other), key=lambda guess: guess.rank, default=None)
    count = len(best.pairs) if best else 0
    patterns = [] if other is not None else [*_patterns(some)]
    pattern = max(patterns, key=lambda each: each[0], default=(0, ""))
    if pattern[0] > paired and (pattern[0] > count or (best and best.folders and pattern[0] == count)):
        return f"{pattern[1]}{cut}"
    plain = now if isinstance(now, Affixes) else Affixes(image_suffix="_sat", mask_suffix="_mask")
    return f"{best.text(plain)}{cut}" if best and count > paired else ""


def _first(names: Sequence[str]) -> Sequence[str]:
    """The first names of every folder at the top."""
    seen = Counter[str]()
    kept = []
    for name in names:
        folder = name.partition("/")[0] if "/" in name else ""
        seen[folder] += 1
        if seen[folder] <= _MOST:
            kept.append(name)
    return kept


def _patterns(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Pairs that patterns make, and the options: of files that differ in the ending alone, or lie in a folder each."""
    endings = Counter(PurePath(name).suffix for name in names)
    for mask, image in permutations([ending for ending, _ in endings.most_common(_TRIED)], 2):
        if mask.lower() not in _JPEG and image.lower() in _JPEG:
            yield _tried(names, Patterns(f"{{stem}}{mask}", f"{{stem}}{image}"))
    yield from _per_class(names)
    files = Counter(PurePath(name).name for name in names if "/" in name)
    common = [file for file, count in files.most_common(_TRIED) if count > 1]
    for mask, image in permutations(common, 2):
        if _MASKS.search(PurePath(mask).stem) and not _MASKS.search(PurePath(image).stem):
            yield _tried(names, Patterns(f"{{folder}}/{mask}", f"{{folder}}/{image}"))


def _per_class(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """A folder of images beside one of folders that each hold masks of a class."""
    tops = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    for masks, images in permutations(tops, 2):
        parts = {len(PurePath(name).parts) for name in names if name.startswith(f"{masks}/")}
        if _MASKS.search(masks) and parts == {3}:
            yield _tried(names, Patterns(f"{masks}/{{class}}/{{stem}}.*", f"{images}/{{stem}}.*"))


def _tried(names: Sequence[str], patterns: Patterns) -> tuple[int, str]:
    images, masks = patterns.split(list(names), None)
    by_key = {key: name for name, key in masks.items()}
    pairs = [(name, by_key[key]) for name, key in images.items() if key in by_key]
    options = (f"data.image_pattern={patterns.image}", f"data.mask_pattern={patterns.mask}")
    example = f"{len(pairs)} pairs, as {' with '.join(pairs[0])}" if pairs else ""
    return len(pairs), f"{' '.join(f'-o {shlex.quote(option)}' for option in options)}  # {example}"


def _guesses(names: Sequence[str], others: Sequence[str] | None) -> Iterator[_Guess]:
    exact = Affixes()
    yield from _with_affixes(_Guess(exact, names, others))
    yield from _with_affixes(_Guess(replace(exact, case="ignore"), names, others))
    if others is not None:
        return
    folders = Counter(name.partition("/")[0] for name in names if "/" in name)
    for two in permutations([folder for folder, _ in folders.most_common(_TRIED)], 2):
        images, masks = (
            [name.partition("/")[2] for name in names if name.startswith(f"{folder}/")] for folder in two
        )
        yield from _with_affixes(_Guess(exact, images, masks, two))


def _with_affixes(start: _Guess) -> Iterator[_Guess]:
    of_images = list(_affixes(start.names))
    of_masks = of_images if start.others is None else list(_affixes(start.others))
    for image, mask in product(of_images, of_masks):
        if start.others is not None or (mask != image and mask != ("", "")):
            yield replace(start, affixes=Affixes(*image, *mask, case=start.affixes.case))


def _affixes(names: Sequence[str]) -> Iterator[Affix]:
    """None, and the most frequent endings and beginnings: what a separator cuts off, and words for masks."""
    endings, beginnings = Counter[str](), Counter[str]()
    one = rf"{_SEPARATED}[^_\-. ]*"
    for name in names:
        stem = PurePath(name).stem
        endings.update(_found((f"{one}$", f"{one}{one}$", f"({_WORD})$"), stem))
        beginnings.update(_found((rf"^[^_\-. ]*{_SEPARATED}", f"^({_WORD})"), stem))
    least = max(1, len(names) // 10)
    yield "", ""
    yield from (("", ending) for ending, count in endings.most_common(_TRIED) if count >= least)
    yield from ((beginning, "") for beginning, count in beginnings.most_common(_TRIED) if count >= least)


def _found(patterns: Sequence[str], stem: str) -> set[str]:
    matches = (re.search(pattern, stem, re.IGNORECASE) for pattern in patterns)
    return {match[0] for match in matches if match and match[0] != stem}
