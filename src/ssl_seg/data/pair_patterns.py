"""Images and masks by patterns of their paths: `{scene}/image.png` and `{scene}/mask.png`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_seg.data.pair_names import Affixes
from ssl_seg.errors import UsageError

_PART = re.compile(r"\{(\w*)\}(/)?|(\*\*/)|(\*)|([^{*]+|[{*])")
_ANY = "{folder}/{stem}.*"
FOLDER = "folder"  # the one placeholder that may hold several folders, or none
CLASS = "class"  # distinguishes the masks of one image


@dataclass(frozen=True)
class Patterns:
    """Paths of images and of their masks, relative to their folders; those that agree in all placeholders pair.

    A placeholder such as `{stem}` is text without `/`, `{folder}` any folders or none; `*` is any text without `/`. A
    pattern without `/` holds in every folder.

    Args:
        mask: of masks.
        image: of images; empty: every image that is no mask, as `{folder}/{stem}.*`.

    Raises:
        UsageError: a placeholder of masks that images do not have, or none.
    """

    mask: str
    image: str = ""

    def __post_init__(self) -> None:
        own, theirs = (_placeholders(text) for text in (self.mask, self.image or _ANY))
        if missing := sorted(own - theirs - {CLASS}):
            raise UsageError(
                f"mask_pattern={self.mask}: images have no {{{missing[0]}}}",
                where=f"image_pattern={self.image or _ANY}",
                next=f"-o 'data.image_pattern=...{{{missing[0]}}}...'",
            )
        if not own - {CLASS}:
            raise UsageError(
                f"mask_pattern={self.mask} has no {{stem}}", next="-o 'data.mask_pattern={stem}_mask.png'"
            )

    @property
    def shown(self) -> tuple[str, str]:
        """What images and masks are called, for people."""
        return self.image or _ANY, self.mask

    @property
    def has_classes(self) -> bool:
        """Whether an image has a mask for each class."""
        return CLASS in _placeholders(self.mask)

    def split(self, names: list[str], others: list[str] | None) -> tuple[dict[str, str], dict[str, str]]:
        """Images and masks with their keys: of two folders, or of one if `others` is None."""
        keys = sorted(_placeholders(self.mask) - {CLASS})
        masks = self._keyed(names if others is None else others, self.mask, keys)
        rest = (name for name in names if others is not None or name not in masks)
        return self._keyed(rest, self.image or _ANY, keys), masks

    def classes(self, masks: Iterable[str]) -> dict[str, str]:
        """The class of each mask."""
        return self._keyed(masks, self.mask, [CLASS])

    @staticmethod
    def _keyed(names: Iterable[str], pattern: str, keys: list[str]) -> dict[str, str]:
        compiled = _compiled(pattern)
        found = ((name, compiled.fullmatch(name)) for name in names)
        return {name: "/".join(match[key] or "" for key in keys) for name, match in found if match}


def patterns_or(affixes: Affixes, image: str, mask: str) -> "Affixes | Patterns":
    """Patterns if there are some, else affixes.

    Raises:
        UsageError: a pattern of images alone, or see `Patterns`.
    """
    if image and not mask:
        raise UsageError("image_pattern needs mask_pattern", next="-o 'data.mask_pattern={stem}_mask.png'")
    return Patterns(mask, image) if mask else affixes


def _placeholders(pattern: str) -> set[str]:
    return set(_compiled(pattern).groupindex)


def _compiled(pattern: str) -> re.Pattern[str]:
    if "/" not in pattern and f"{{{FOLDER}}}" not in pattern:
        pattern = f"{{{FOLDER}}}/{pattern}"
    text, seen = "", set[str]()
    for name, slash, folders, star, plain in (match.groups() for match in _PART.finditer(pattern)):
        if plain:
            text += re.escape(plain)
        elif folders or star:
            text += "(?:.*/)?" if folders else "[^/]*"
        elif not name.isidentifier():
            raise UsageError(f"{pattern!r}: {{{name}}} is no placeholder", next="{stem}")
        else:
            group = f"(?P={name})" if name in seen else f"(?P<{name}>{'.+' if name == FOLDER else '[^/]+'})"
            text += f"(?:{group}/)?" if slash and name == FOLDER else f"{group}{slash or ''}"
            seen.add(name)
    return re.compile(text)
