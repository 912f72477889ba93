"""Several SSL methods on one backbone in one run."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from ssl_seg.base import Backbone, SSLMethod
from ssl_seg.errors import PluginError


class ComposedMethod(SSLMethod):
    """The weighted sum of the losses of several methods, which all get the same views.

    A subclass sets `views` and `recipe`, usually those of its first part.

    Args:
        backbone: trained and kept.
        parts: methods that were made on this backbone, by name. The collapse alarm watches the embedding of the first.
        weights: of their losses; 1 where nothing is given.

    Raises:
        PluginError: a part was made on another backbone.
    """

    def __init__(
        self, backbone: Backbone, parts: Mapping[str, SSLMethod], weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.parts = backbone, nn.ModuleDict(parts)
        self.weights = {name: 1.0 for name in parts} | dict(weights or {})
        for name, part in parts.items():
            if part.backbone is not backbone:
                raise PluginError(f"part {name!r} was made on another backbone")
            del part.backbone  # registered once, by this method: the part keeps a plain reference
            vars(part)["backbone"] = backbone
        self.param_groups = [
            group
            if group.prefix.startswith("backbone.")
            else replace(group, prefix=f"parts.{name}.{group.prefix}")
            for name, part in parts.items()
            for group in part.param_groups
        ]
        per_image = all(part.loss_over == "image" for part in parts.values())
        self.loss_over = "image" if per_image else "batch"
        self.needs_labels = any(part.needs_labels for part in parts.values())

    def training_step(self, views: list[Tensor]) -> dict[str, Tensor]:
        """`loss`, `embedding`, and the scalars of every part under its name: `byol_loss`."""
        scalars: dict[str, Tensor] = {}
        embeddings = []
        for name, part in self._methods():
            out = dict(part.training_step(views))
            embeddings.append(out.pop("embedding", None))
            scalars |= {f"{name}_{key}": value for key, value in out.items()}
        loss = torch.stack([w * scalars[f"{name}_loss"] for name, w in self.weights.items()]).sum()
        embedding = {} if embeddings[0] is None else {"embedding": embeddings[0]}
        return {"loss": loss, **embedding, **scalars}

    def after_step(self, progress: float) -> None:
        for _, part in self._methods():
            part.after_step(progress)

    def _methods(self) -> Iterable[tuple[str, SSLMethod]]:
        return cast("Iterable[tuple[str, SSLMethod]]", self.parts.items())
