"""`ssl-seg embed`: features of a backbone."""

from pathlib import Path
from typing import Annotated, Any

from ssl_seg.commands import flags
from ssl_seg.commands.from_python import from_python
from ssl_seg.utils.outputs import refuse_taken
from ssl_seg.utils.progress import echo
from ssl_seg.workflows.flag_values import OF_IMAGES, device_of, read_options
from ssl_seg.workflows.predict import check_out, save_npz
from ssl_seg.workflows.run_result import Embeddings


@from_python
def embed(
    run: flags.RunOrFile,
    images: flags.Images,
    out: Annotated[Path, flags.output_flag(help="NPZ file.")],
    image_folder: flags.ImageFolder = None,
    which: flags.Which = "last",
    backbone: flags.FileBackbone = None,
    head: flags.CodeOfHead = None,
    image_size: flags.FileImageSize = None,
    overwrite: flags.Overwrite = False,
    precision: flags.Precision = "auto",
    device: flags.Device = "auto",
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
        "device": device_of(device, cpu),
        "cache": cache,
        "bad_images": bad_images,
    }
    check_out(out, ".npz")
    options = read_options(option or [], OF_IMAGES, image_folder)
    with InferenceSession(run, which, backbone, head, image_size, options, **session_flags) as session:
        refuse_taken([out], session.inputs(dataset := session.dataset(images)), overwrite=overwrite)
        images_cache = session.image_cache(dataset)
        features = session.features(images_cache).cpu().numpy()
    names = [dataset.samples[row][0] for row in images_cache.sample_indices.tolist()]
    embeddings = Embeddings(out, features, names, images_cache.targets.numpy(), list(images_cache.classes))
    save_npz(**vars(embeddings))
    echo(f"{len(names)} x {features.shape[1]} features: {out}")
    return embeddings
