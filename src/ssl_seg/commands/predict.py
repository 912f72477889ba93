"""`ssl-seg predict`: predictions of a trained model; `ssl-seg embed`: features of its backbone."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.errors import WeightsError
from ssl_seg.utils.outputs import refuse_taken
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.flag_values import read_options
from ssl_seg.workflows.predict import check_out, predict_labels, save_npz
from ssl_seg.workflows.run_result import Embeddings, Predictions

Images = Annotated[str, typer.Argument(metavar="IMAGES", help=flags.DATA_HELP)]


@from_python
def predict(
    run: flags.RunOrFile,
    images: Images,
    out: Annotated[
        Path, flags.output_flag(help="CSV file (classification) or folder of masks (segmentation).")
    ],
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    flips: flags.Flips = False,
    indices: Annotated[
        bool, flags.output_flag("--indices", help="Write class indices instead of colors.")
    ] = False,
    overwrite: flags.Overwrite = False,
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> Predictions:
    """Predict labels or masks of images with a trained model.

    Classification writes a CSV file with the columns id, filename and label, one row per image.
    Segmentation writes one full-size mask per image, NAME_mask.png. Input images are never overwritten.
    """
    from ssl_seg.workflows.inference import InferenceSession
    from ssl_seg.workflows.mask_prediction import SlidingWindow, predict_masks

    session_flags: dict[str, Any] = {
        "precision": precision,
        "cpu": cpu,
        "cache": cache,
        "bad_images": bad_images,
    }
    window = SlidingWindow(tile, overlap, flips)
    options = read_options(option or [])
    with InferenceSession(run, which, backbone, head, None, options, **session_flags) as session:
        if session.loaded.model is None:
            raise WeightsError(
                f"{run} has no classifier or segmentation head", next=f"ssl-seg classify TRAIN --init {run}"
            )
        if session.loaded.metadata["task"] == "segment":
            count = predict_masks(session, images, out, window, as_indices=indices, overwrite=overwrite)
            echo(f"{count} masks: {out}")
        else:
            count = predict_labels(session, images, out, overwrite)
            echo(f"{count} labels: {out}")
    return Predictions(out, count)


@from_python
def embed(
    run: flags.RunOrFile,
    images: Images,
    out: Annotated[Path, flags.output_flag(help="NPZ file.")],
    which: flags.Which = "last",
    backbone: flags.FileBackbone = None,
    head: flags.CodeOfHead = None,
    image_size: flags.FileImageSize = None,
    overwrite: flags.Overwrite = False,
    precision: flags.Precision = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> Embeddings:
    """Write the pooled backbone features of images to an NPZ file.

    Arrays: features (N, C), filenames, and targets and classes of labeled images; one row per image.
    """
    from ssl_seg.workflows.inference import InferenceSession

    session_flags: dict[str, Any] = {
        "precision": precision,
        "cpu": cpu,
        "cache": cache,
        "bad_images": bad_images,
    }
    check_out(out, ".npz")
    options = read_options(option or [])
    with InferenceSession(run, which, backbone, head, image_size, options, **session_flags) as session:
        refuse_taken([out], session.inputs(dataset := session.dataset(images)), overwrite=overwrite)
        images_cache = session.image_cache(dataset)
        features = session.features(images_cache).cpu().numpy()
    names = [dataset.samples[row][0] for row in images_cache.sample_indices.tolist()]
    embeddings = Embeddings(out, features, names, images_cache.targets.numpy(), list(images_cache.classes))
    save_npz(**vars(embeddings))
    echo(f"{len(names)} x {features.shape[1]} features: {out}")
    return embeddings
