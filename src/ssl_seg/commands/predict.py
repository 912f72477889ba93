"""`ssl-seg predict`: predictions of a trained model."""

from pathlib import Path
from typing import Annotated, Any, Literal

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.utils import limits
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.flag_values import OF_IMAGES, device_of, read_options
from ssl_seg.workflows.predict import PredictionFiles, predict_labels
from ssl_seg.workflows.run_result import Predictions


@from_python
def predict(
    run: flags.RunOrFile,
    images: flags.Images,
    out: Annotated[
        Path, flags.output_flag(help="CSV file (classification) or folder of masks (segmentation).")
    ],
    image_folder: flags.ImageFolder = None,
    which: flags.Which = "last",
    tile: flags.Tile = 1024,
    overlap: flags.Overlap = 128,
    tta: flags.Tta = None,
    flips: flags.Flips = False,
    batch_size: flags.InferenceBatchSize = None,
    top: Annotated[
        int,
        flags.output_flag(
            min=1, max=limits.COUNT, help="Classes per image in the CSV file (classification)."
        ),
    ] = 1,
    probabilities: Annotated[
        bool, flags.output_flag("--probabilities", help="Also write all class probabilities (NPZ).")
    ] = False,
    uncertainty: Annotated[
        bool,
        flags.output_flag("--uncertainty", help="Also write the entropy: a CSV column, or a map per image."),
    ] = False,
    overlay: Annotated[
        bool, flags.output_flag("--overlay", help="Also draw each mask over its image (segmentation).")
    ] = False,
    polygons: Annotated[
        Literal["geojson", "coco"] | None,
        flags.output_flag(help="Also write the masks' outlines (segmentation).", show_default=False),
    ] = None,
    indices: Annotated[
        bool, flags.output_flag("--indices", help="Write class indices instead of colors.")
    ] = False,
    overwrite: flags.Overwrite = False,
    backbone: flags.CodeOfBackbone = None,
    head: flags.CodeOfHead = None,
    precision: flags.Precision = "auto",
    device: flags.Device = "auto",
    cpu: flags.Cpu = False,
    option: flags.Option = None,
    bad_images: flags.BadImages = "stop",
    cache: flags.Cache = None,
    progress: flags.Progress = True,
) -> Predictions:
    """Predict labels or masks of images with a trained model.

    Classification writes a CSV file with the columns id, filename, label and confidence, one row per image.
    Segmentation writes one full-size mask per image, NAME_mask.png. Input images are never overwritten.
    """
    from ssl_seg.workflows.inference import InferenceSession
    from ssl_seg.workflows.mask_outputs import predict_masks
    from ssl_seg.workflows.mask_prediction import SlidingWindow
    from ssl_seg.workflows.temperature import use_recorded_temperature

    session_flags: dict[str, Any] = {
        "precision": precision,
        "device": device_of(device, cpu),
        "cache": cache,
        "bad_images": bad_images,
        "tta": flags.joined_tta(tta, flips),
        "batch_size": batch_size,
    }
    window = SlidingWindow(tile, overlap)
    files = PredictionFiles(top, probabilities, uncertainty, overlay, indices, polygons, overwrite)
    options = read_options(option or [], OF_IMAGES, image_folder)
    with InferenceSession(run, which, backbone, head, None, options, **session_flags) as session:
        session.require_head()
        use_recorded_temperature(session)
        is_masks = session.loaded.metadata["task"] == "segment"
        result = (
            predict_masks(session, images, out, window, files)
            if is_masks
            else predict_labels(session, images, out, files)
        )
    milliseconds = f", {1000 * result.seconds / result.count:.1f} ms per image" if result.count else ""
    echo(f"{result.count} {'masks' if is_masks else 'labels'}: {out}{milliseconds}")
    return result
