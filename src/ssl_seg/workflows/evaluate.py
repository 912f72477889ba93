"""Measuring a model or a backbone on images with labels or masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError, UsageError, pluralize

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.workflows.inference import InferenceSession
    from ssl_seg.workflows.mask_prediction import SlidingWindow

    Labelled = tuple[Tensor, Tensor]  # (N, C) features and (N,) targets


PROBES = ("knn", "logistic")


_HOLDOUT_FRACTION = 0.2  # of the training images, on which the logistic regression chooses its strength


def measure(
    named: tuple[Any, ...],
    options: dict[str, Any],
    data_spec: str,
    window: "SlidingWindow",
    train: tuple[str | None, bool],
    probes: Sequence[str],
) -> dict[str, Any]:
    """The scores of a run or a backbone.

    Args:
        named, options: what `InferenceSession` is given.
        data_spec: the images to measure on.
        window: of segmentation models.
        train: other images for the probes to be trained on, and whether they may overlap with these.
        probes: of `PROBES`; none asks for the model's own scores, if it has a head.
    """
    from ssl_seg.workflows.inference import InferenceSession
    from ssl_seg.workflows.mask_evaluation import evaluate_model

    with InferenceSession(*named, **options) as session:
        if session.loaded.model is None or probes or train[0]:
            return _probe(session, data_spec, *train, probes or PROBES)
        if session.loaded.metadata["task"] == "segment":
            return evaluate_model(session, data_spec, window)
        return _classify(session, data_spec)


def refuse_tta(tta: str | None) -> None:
    """Refuse what only a model with a head can do.

    Raises:
        UsageError: test-time augmentation is asked for.
    """
    if tta:
        raise UsageError(
            "--tta and --flips: only for a run with a classifier or segmentation head",
            next="ssl-seg evaluate without them",
        )


def _classify(session: "InferenceSession", data_spec: str) -> dict[str, Any]:
    """The scores of the run's own classifier."""
    from ssl_seg.data.label_alignment import align_labels

    dataset, images = session.open(data_spec, labelled=True)
    metadata = session.loaded.metadata
    align_labels(images, dataset, metadata["classes"], data_spec)
    options = {**metadata.get("metric_options", {}), **session.options.get("metric", {})}
    metric = session.plugins.registry.build("metrics", "accuracy", images.classes, options=options)
    logits = session.logits(images)
    metric.update(logits, images.targets.to(logits.device))
    return {"images": len(images), **metric.compute()}


def _probe(
    session: "InferenceSession",
    data_spec: str,
    train_spec: str | None,
    allow_overlap: bool,
    probes: Sequence[str],
) -> dict[str, Any]:
    """The scores of simple classifiers on the backbone's features."""
    from ssl_seg.data.label_alignment import align_labels
    from ssl_seg.data.label_checks import check_labels
    from ssl_seg.workflows.knn_probe import holdout_split
    from ssl_seg.workflows.overlap import check_overlap, warn_of_copies

    refuse_tta(session.tta)
    dataset, images = session.open(data_spec, labelled=True)
    train_data, train_images = dataset, images
    if train_spec:
        train_data, train_images = session.open(train_spec, labelled=True, split="train")
    check_labels(train_images, train_data, train_spec or data_spec)
    if train_spec:
        align_labels(images, dataset, train_images.classes, data_spec)
        message = f"images of {data_spec} are also in {train_spec}"
        both = (train_data, train_images), (dataset, images)
        check_overlap(*both, allowed=allow_overlap, message=message)
    classes: list[str] = train_images.classes
    features = session.features(images)
    targets = images.targets.to(features.device)
    if train_spec:
        train = session.features(train_images), train_images.targets.to(features.device)
        test = features, targets
    else:
        is_holdout = holdout_split(images.targets)
        warn_of_copies(images, is_holdout)
        is_holdout = is_holdout.to(features.device)
        train, test = (
            (features[~is_holdout], targets[~is_holdout]),
            (features[is_holdout], targets[is_holdout]),
        )
    if not len(train[1]):
        raise DataError(
            f"no class of {data_spec} has two images: the probes have nothing to learn from",
            next="--train DATA",
        )
    scores: dict[str, Any] = {"training images": len(train[1]), "images": len(test[1])}
    if "knn" in probes:
        scores["knn"] = _knn(session, classes, train, test)
    if "logistic" in probes:
        scores |= _logistic(len(classes), train, test)
    return scores


def _knn(session: "InferenceSession", classes: list[str], train: "Labelled", test: "Labelled") -> float:
    metric = session.plugins.registry.build("metrics", "knn", classes, options=session.options.get("probe"))
    metric.fill(*train)
    metric.update(*test)
    accuracy: float = metric.compute()["knn"]
    return accuracy


def _logistic(classes: int, train: "Labelled", test: "Labelled") -> dict[str, Any]:
    from ssl_seg.engine.linear_probe import linear_probe
    from ssl_seg.workflows.knn_probe import holdout_split

    is_holdout = holdout_split(train[1].cpu(), _HOLDOUT_FRACTION).to(train[1].device)
    if is_holdout.all():
        raise DataError(
            f"{pluralize(len(is_holdout), 'image')}, one of each class, are too few for the logistic regression",
            next="--probe knn",
        )
    logits, strength = linear_probe(*train, test[0], classes, is_holdout)
    accuracy = (logits.argmax(dim=1) == test[1]).double().mean().item()
    return {"logistic": accuracy, "regularization C": strength}
