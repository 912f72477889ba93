"""Whether objects that were made in Python go together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError, UsageError
from ssl_seg.workflows.object_names import dataset_name

if TYPE_CHECKING:
    from ssl_seg.base import Dataset, Model
    from ssl_seg.engine.device import Device
    from ssl_seg.workflows.task import FinetuneData


def check_labels_of(dataset: "Dataset", needs: Mapping[str, Any]) -> None:
    """See that a dataset has what is needed of it.

    Raises:
        DataError: it has no labels, or no masks.
    """
    for need, there, what in (
        ("labelled", bool(dataset.classes), "labels"),
        ("masks", dataset.masks, "masks"),
    ):
        if needs.get(need) and not there:
            raise DataError(f"{dataset_name(dataset)} has no {what}", next="Arrays(images, labels)")
    if needs.get("labelled") and dataset.masks:
        raise DataError(f"{dataset_name(dataset)} has masks, and no label for each image")


def check_classes_of(model: "Model", device: "Device", size: int, data: "FinetuneData") -> None:
    """See that the model predicts the classes of the data, now and not in the first step.

    Raises:
        UsageError: it does not, or excludes others than the data.
    """
    import torch

    from ssl_seg.engine.inference import eval_mode
    from ssl_seg.nn.layers import in_chans_of

    device.to_device(model)
    with torch.no_grad(), eval_mode(model):
        outputs = model(torch.zeros(1, in_chans_of(model), size, size, device=device.device)).shape[1]
    if outputs != len(data.classes):
        raise UsageError(
            f"the model predicts {outputs} classes, and the data have {len(data.classes)}",
            next="Arrays(images, labels, classes=[...])  # where the labels do not show all of them",
        )
    if sorted(model.excluded.tolist()) != sorted(data.excluded):
        raise UsageError(
            f"the model excludes the classes {model.excluded.tolist()}, and the run {data.excluded}",
            next=f"Model(backbone, head, excluded={data.excluded})",
        )
