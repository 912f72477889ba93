"""Labels, masks and features of images, in files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import UsageError
from ssl_seg.utils.outputs import refuse_taken

if TYPE_CHECKING:
    from ssl_seg.base import Dataset
    from ssl_seg.workflows.inference import InferenceSession


def predict_labels(session: "InferenceSession", data_spec: str, out: Path, overwrite: bool) -> int:
    """Write the label of every image; returns how many."""
    from ssl_seg.workflows.validator import write_csv

    check_out(out, ".csv")
    refuse_taken([out], session.inputs(dataset := session.dataset(data_spec)), overwrite=overwrite)
    images = session.image_cache(dataset)
    predictions = session.logits(images).argmax(dim=1).tolist()
    classes = session.loaded.metadata["classes"]
    ids = ids_of(dataset)
    rows = [
        [ids[index] if ids else str(index), dataset.samples[index][0], classes[prediction]]
        for index, prediction in zip(images.sample_indices.tolist(), predictions, strict=True)
    ]
    write_csv(out, ["id", "filename", "label"], rows)
    return len(rows)


def check_out(out: Path, ending: str) -> None:
    if out.suffix.lower() != ending:
        raise UsageError(f"--out {out} must end in {ending}")
    if not out.parent.is_dir():
        raise UsageError(f"no such folder: {out.parent}", next=f"mkdir -p {out.parent}")


def ids_of(dataset: "Dataset") -> list[str]:
    """The id of each image, if they were named in a CSV file with the column `id`; its number where that is empty."""
    from ssl_seg.data.tables import read_table

    path = getattr(dataset, "path", None)
    if path is None:
        return []
    return [row.get("id") or str(number) for number, (_, row) in enumerate(read_table(Path(path)))]


def save_npz(path: Path, **arrays: Any) -> None:
    import numpy as np

    from ssl_seg.utils.files import atomic_file

    with atomic_file(path) as file:
        np.savez_compressed(file, **arrays)
