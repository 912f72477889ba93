"""What holds for every part of a run, for `run.toml`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_seg.augment.recipes import View


class Resolved(dict[str, Any]):
    """Every option of every part, default or not, and the recipe of every view."""

    def add(self, part: str, values: Mapping[str, Any]) -> None:
        """Note the options of a part; what is known of it stays."""
        self[part] = {**self.get(part, {}), **values}

    def add_views(self, views: Sequence["View"]) -> None:
        """Note how views are made, as `views.1`, `views.2`, ..."""
        self.add("views", {str(number): asdict(view) for number, view in enumerate(views, start=1)})
