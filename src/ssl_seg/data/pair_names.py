"""The common part of an image's and its mask's name."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Affixes:
    """What images' and masks' names have beside their common part, without the ending of the file.

    Attributes:
        image_prefix, image_suffix, mask_prefix, mask_suffix: what stands before and after it.
        case: `ignore` takes `A` and `a` for the same.
    """

    image_prefix: str = ""
    image_suffix: str = ""
    mask_prefix: str = ""
    mask_suffix: str = ""
    case: Literal["exact", "ignore"] = "exact"

    @property
    def shown(self) -> tuple[str, str]:
        """What images and masks are called, for people."""
        return "*".join(self.image), "*".join(self.mask)

    @property
    def image(self) -> tuple[str, str]:
        """Before and after, of images."""
        return self.image_prefix, self.image_suffix

    @property
    def mask(self) -> tuple[str, str]:
        """Before and after, of masks."""
        return self.mask_prefix, self.mask_suffix

    def keys(self, names: Iterable[str], affix: tuple[str, str], *, optional: bool) -> dict[str, str]:
        """Names that have the affix, with their folder and common part.

        Args:
            affix: `image` or `mask`.
            optional: a beginning or an ending that no name has is passed over.
        """
        stems = {name: os.path.splitext(name)[0] for name in names}
        if optional:
            affix = (
                affix[0]
                if any(os.path.basename(stem).startswith(affix[0]) for stem in stems.values())
                else "",
                affix[1] if any(stem.endswith(affix[1]) for stem in stems.values()) else "",
            )
        found = {name: core for name, stem in stems.items() if (core := core_of(stem, affix)) is not None}
        return {name: key.lower() for name, key in found.items()} if self.case == "ignore" else found

    def split(self, names: list[str], others: list[str] | None) -> tuple[dict[str, str], dict[str, str]]:
        """Images and masks with their keys: of two folders, or of one if `others` is None."""
        if others is not None:
            images = self.keys(names, self.image, optional=True)
            return images, self.keys(others, self.mask, optional=True)
        masks = self.keys(names, self.mask, optional=False)
        return self.keys((name for name in names if name not in masks), self.image, optional=False), masks


def had(affix: tuple[str, str], name: str) -> tuple[str, str]:
    """The affix without what a file's name has not."""
    stem = os.path.splitext(os.path.basename(name))[0]
    return affix[0] if stem.startswith(affix[0]) else "", affix[1] if stem.endswith(affix[1]) else ""


def core_of(stem: str, affix: tuple[str, str]) -> str | None:
    """`a/img_0013_sat` without `img_` and `_sat` -> `a/0013`; None where it has them not."""
    folder, name = os.path.split(stem)
    before, after = affix
    if not (name.startswith(before) and name.endswith(after) and len(name) >= len(before) + len(after)):
        return None
    return os.path.join(folder, name[len(before) : len(name) - len(after)])
