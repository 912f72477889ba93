"""From what a person writes for DATA to an image cache."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ssl_seg.base import Dataset
from ssl_seg.data.bands import parse_bands
from ssl_seg.data.cache_builder import faults_of
from ssl_seg.data.files import FileDataset, Share, subfolders
from ssl_seg.data.first_look import look_at
from ssl_seg.data.given_files import given_files
from ssl_seg.data.image_cache import ImageCache, open_image_cache
from ssl_seg.data.shards.dataset import ShardDataset
from ssl_seg.data.splits import has_classes, label_against_folder, split_tables, tables
from ssl_seg.errors import DataError, UsageError
from ssl_seg.registry import Registry
from ssl_seg.utils.code_names import folded, names_code
from ssl_seg.utils.files import similar_name
from ssl_seg.utils.home import default_cache_dir, expanded
from ssl_seg.utils.log import log
from ssl_seg.utils.options import check_options, factory_options
from ssl_seg.utils.progress import ProgressDisplay
from ssl_seg.utils.toml import parse_json
from ssl_seg.workflows.bad_files import BadFiles

_SHOWN = 3
_WITH_PATH = {"coco_masks", "csv_labels", "flat_folder", "hf", "image_folder", "labelme_masks", "mask_pairs"}
_OF_RUN = ("range", "bands", "splits")


def open_dataset(
    registry: Registry,
    spec: str,
    *,
    split: str = "",
    labelled: bool = False,
    masks: bool = False,
    palette: str = "",
    options: Mapping[str, str],
    shared: Mapping[str, str] | None = None,
    note: Callable[[dict[str, Any]], None] = lambda resolved: None,
) -> Dataset:
    """`folder`, `file.csv`, `demo`, or `format:path`, where a format may be cut short (`csv:`).

    A `TypedName` may also be `file.py:Name=path`.

    Where masks are needed, `demo` is `demo_masks`, and so it is with any format that has such a twin.
    A few images of a folder or CSV file are read at once, and what is doubtful about them is warned of.

    Args:
        palette: of masks whose palette neither an option nor a file says, if the format asks for one.
        options: of the format.
        shared: further ones, which the format need not have: `options_of_run`.
        note: is given the format and every option of it, for `run.toml`.

    Raises:
        UsageError: no such format, or an option it does not have.
        DataError: nothing there, or no labels or masks where they are needed.
    """
    format_, root = _detect_format(registry, spec, labelled, masks)
    if masks and f"{format_}_masks" in registry.names("datasets"):
        format_ = f"{format_}_masks"
    accepted = factory_options(registry.factory("datasets", format_))
    inherited = {**(shared or {}), **({"default_palette": palette} if palette else {})}
    options = {key: value for key, value in inherited.items() if key in accepted} | dict(options)
    dataset: Dataset = registry.build("datasets", format_, root, split, options=options)
    note({"format": format_, **registry.resolved("datasets", format_, options)})
    if labelled and not dataset.classes:
        advice = getattr(dataset, "advice", "") or "image_folder:FOLDER or csv:FILE.csv"
        raise DataError(f"{spec} has no labels", next=advice)
    if masks and not dataset.masks:
        raise DataError(f"{spec} has no masks", next="mask_pairs:FOLDER  # NAME_sat.jpg with NAME_mask.png")
    files = getattr(dataset, "image_files", dataset)
    if isinstance(files, FileDataset) and (doubt := look_at(files)):
        log.warning("%s: %s", spec, doubt)
    return dataset


def require_path(registry: Registry, spec: str) -> None:
    """Raise what `open_dataset` would of a path that is not there; nothing is read.

    Looked for are paths without a format and those of formats that always have one: others take a number, a pattern
    or an address.

    Raises:
        UsageError: no such format. DataError: nothing there.
    """
    format_, root = _detect_format(registry, spec, False, masks=True)
    if format_ in _WITH_PATH and not (path := expanded(root)).exists():
        raise _nothing_at(path)


def open_files(names: Sequence[str], options: Mapping[str, str]) -> FileDataset:
    """Image files that are named one by one, with the options of `data` that hold for them.

    Raises:
        UsageError: another option than `range` and `bands`. DataError: a file is not there, or none is named.
    """
    dataset = given_files(names, **check_options(given_files, "image files", options))
    if doubt := look_at(dataset):
        log.warning("%s: %s", names[0], doubt)
    return dataset


def options_of_run(options: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Those of `data` that hold for all images of a run, whatever they are for."""
    return {key: value for key, value in options.get("data", {}).items() if key in _OF_RUN}


def pixels_in(options: Mapping[str, str]) -> dict[str, list[Any]]:
    """`range=0,4095` and `bands=4,3` as a weight file says them: `{"range": [0, 4095], "bands": [4, 3]}`; what is
    not stated is not in it.
    """
    found = {}
    if (text := options.get("range", "none")).lower() != "none":
        found["range"] = parse_json(text if text.startswith("[") else f"[{text}]")
    if (text := options.get("bands", "none")).lower() != "none":
        found["bands"] = list(parse_bands(text))
    return found


def pixel_options(stated: Mapping[str, Any]) -> dict[str, str]:
    """The options of datasets with which images are read as a weight file says: the other way round."""
    return {key: ",".join(map(str, stated[key])) for key in ("range", "bands") if stated.get(key)}


def _detect_format(registry: Registry, spec: str, labelled: bool, masks: bool) -> tuple[str, str]:
    names = registry.names("datasets")
    if spec in names:
        return spec, ""
    if names_code(spec):
        file, _, root = spec.partition("=")
        return type(spec)(file), root
    head, colon, rest = spec.partition(":")
    path = expanded(spec)
    if (colon or registry.providers("datasets", spec)) and not path.exists():
        fitting = [registry.canonical("datasets", head)] if registry.providers("datasets", head) else []
        fitting = fitting or [name for name in names if name.startswith(folded(head))]
        if len(fitting) > 1:
            raise UsageError(f"format {head!r} could be {' or '.join(fitting)}", where=spec)
        if not fitting:
            registry.factory("datasets", head)  # raises, with what was meant
        return fitting[0], rest
    if not path.exists():
        raise _nothing_at(path)
    if masks:
        return "coco_masks" if path.suffix.lower() == ".json" else "mask_pairs", str(path)
    if path.is_dir():
        return _format_of(path, labelled), str(path)
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{path} is neither a folder nor a CSV file", next="give the folder it lies in")
    return "csv_labels", str(path)


def _nothing_at(path: Path) -> DataError:
    what = f"no such file or folder: {path}{similar_name(path)}"
    return DataError(what, next="ssl-seg list datasets  # all formats")


def _format_of(folder: Path, labelled: bool) -> str:
    if not labelled:
        return "flat_folder"
    beside = folder.parent / f"{folder.name}.csv"  # `train.csv` of `train/`
    labels = [folder / name for name in split_tables(folder)]
    if not labels and not subfolders(folder):
        others = tables(folder)
        path = str(folder / others[0]) if others else "csv:FILE.csv"
        raise DataError(
            f"{folder} has no labels: neither a subfolder per class nor train.csv",
            next=f"{path}  # with the columns filename and label",
        )
    if labels and not has_classes(folder):
        return "csv_labels"
    label_files = labels or ([beside] if beside.is_file() else [])
    if line := next(filter(None, map(label_against_folder, label_files)), None):
        raise DataError(
            f"{folder} has labels in {' and '.join(path.name for path in label_files)}, and others as names of folders",
            where=line,
            next=f"csv:{folder if labels else beside} or image_folder:{folder}",
        )
    return "image_folder"


def open_images(
    dataset: Dataset,
    canvas: int,
    progress: ProgressDisplay,
    *,
    cache: Path | None = None,
    bad_images: Literal["stop", "skip"] = "stop",
    add_bad_files: Callable[[list[tuple[str, str]]], str] | None = None,
    share: Share = lambda make: make(),
) -> ImageCache:
    """The image cache of a dataset, see `open_image_cache`, built with progress.

    Args:
        add_bad_files: to a list, see `BadFiles`; by default of one in the cache folder.
        share: see `open_image_cache`.
    """
    if isinstance(dataset, ShardDataset):
        return _open_shards(dataset, canvas, progress)
    folder = cache or default_cache_dir()
    images = open_image_cache(
        dataset, canvas, folder, bad_images=bad_images, share=share, on_progress=progress.reading
    )
    if images.num_skipped:
        shown = [
            f"{dataset.samples[index][0]} ({reason})"
            for index, reason in list(images.unreadable.items())[:_SHOWN]
        ]
        more = ", ..." if images.num_skipped > _SHOWN else ""
        where = (add_bad_files or BadFiles().add)(faults_of(dataset, images.unreadable))
        progress.print_line(
            f"{images.num_skipped} of {len(dataset)} images cannot be read and are left out: "
            f"{', '.join(shown)}{more}; {where}"
        )
    return images


def _open_shards(dataset: ShardDataset, canvas: int, progress: ProgressDisplay) -> ImageCache:
    """Packed images, which need no cache."""
    if (packed := dataset.index["limit"]) < canvas:
        progress.print_line(
            f"{dataset.folder} has images of at most {packed} px: --canvas {canvas} has no effect"
        )
    return ImageCache(dataset.folder, dataset.files)
