"""What a backbone starts from: a run, a weight file, or nothing; and what that decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import WeightsError
from ssl_seg.utils.code_names import refuse_code, same_code

if TYPE_CHECKING:
    from ssl_seg.base import Backbone
    from ssl_seg.utils.progress import Console


@dataclass(frozen=True)
class Start:
    """Where the weights come from.

    Attributes:
        path: of the weights; None starts from scratch.
        normalisation: `mean` and `std` that the weights were trained with.
        range: the values of more than 8 bits that were black and white then, if stated.
        canvas, precision: of the run that trained them, at the same image size, if stated.
    """

    path: Path | None
    normalisation: dict[str, Any]
    range: list[float] | None = None
    canvas: int | None = None
    precision: str | None = None

    def load(self, backbone: "Backbone", console: "Console", *, resumed: bool = False) -> None:
        """Hand the weights over, all of them or none; a resumed run has its own.

        Raises:
            WeightsError: they do not fit.
        """
        if self.path is None or resumed:
            return
        from ssl_seg.weights.backbone_file import load_backbone

        console.say(f"{self.path}: {load_backbone(self.path, backbone)}")


def start_from(given: dict[str, Any], options: dict[str, dict[str, str]], *, any_size: bool = False) -> Start:
    """Look at `--init`, and let it decide what the user left open: backbone, its options, image size.

    Args:
        given: the flags; `backbone` and `image_size` are filled in.
        options: of the parts; the backbone's are filled in.
        any_size: the weights may have been trained at another image size.

    Raises:
        WeightsError: the weights were trained at another image size than the one asked for, or their file asks
            for code of which nobody has typed the name.
    """
    from ssl_seg.augment.views import IMAGENET_MEAN, IMAGENET_STD
    from ssl_seg.weights.backbone_file import read_about

    path = Path(given["init"]).expanduser() if given["init"] else None
    about: Mapping[str, Any] = read_about(path) if path else {}
    named: str = about.get("backbone", "resnet50")
    if given["backbone"] is None:
        refuse_code(named, "backbones", path)
        given["backbone"] = named
    if "backbone" in about and same_code(given["backbone"], named) and about.get("options"):
        typed = options.get("backbone", {})
        options["backbone"] = {
            key: value for key, value in about["options"].items() if key not in typed
        } | typed
    trained_at = about.get("image_size")
    if given["image_size"] is None:
        given["image_size"] = trained_at or 128
    elif trained_at and given["image_size"] != trained_at and not any_size:
        raise WeightsError(
            f"the weights were trained at {trained_at} px, and --image-size is {given['image_size']}",
            where=str(path),
            next=f"--image-size {trained_at}, or --any-size to use them at another size",
        )
    mean, std = about.get("mean", IMAGENET_MEAN), about.get("std", IMAGENET_STD)
    normalisation = {"mean": tuple(mean), "std": tuple(std)}
    canvas = about.get("canvas") if given["image_size"] == trained_at else None
    return Start(path, normalisation, about.get("range"), canvas, about.get("precision"))
