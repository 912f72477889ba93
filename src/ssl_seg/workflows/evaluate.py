"""Measuring a model or a backbone on images with labels or masks."""

from typing import TYPE_CHECKING, Any

from ssl_seg.errors import DataError, counted

if TYPE_CHECKING:
    from torch import Tensor

    from ssl_seg.workflows.inference import Reading
    from ssl_seg.workflows.mask_prediction import Tiling


PROBES = ("knn", "logistic")


_HELD = 0.2  # of the bank, on which the logistic regression chooses its strength


def measure(
    named: tuple[Any, ...],
    how: dict[str, Any],
    data: str,
    tiling: "Tiling",
    bank: tuple[str | None, bool],
    chosen: tuple[str, ...],
) -> dict[str, Any]:
    """What a run or a backbone achieves."""
    from ssl_seg.workflows.inference import Reading
    from ssl_seg.workflows.mask_prediction import measure_model

    with Reading(*named, **how) as reading:
        if reading.trained.model is None or chosen or bank[0]:
            return _probe(reading, data, *bank, chosen or PROBES)
        if reading.trained.about["task"] == "segment":
            return measure_model(reading, data, tiling)
        return _classify(reading, data)


def _classify(reading: "Reading", data: str) -> dict[str, Any]:
    """What the run's own classifier achieves."""
    from ssl_seg.data.label_alignment import align

    dataset, store = reading.open(data, labelled=True)
    align(store, dataset, reading.trained.about["classes"], data)
    how = {**reading.trained.about.get("metric_options", {}), **reading.options.get("metric", {})}
    metric = reading.plugins.registry.build("metrics", "accuracy", store.classes, options=how)
    logits = reading.logits(store)
    metric.update(logits, store.targets.to(logits.device))
    return {"images": len(store), **metric.compute()}


def _probe(
    reading: "Reading", data: str, bank: str | None, allowed: bool, probes: tuple[str, ...]
) -> dict[str, Any]:
    """What simple classifiers achieve on the backbone's features."""
    from ssl_seg.data.label_alignment import align
    from ssl_seg.data.label_checks import check_labels
    from ssl_seg.workflows.knn_probe import holdout_split
    from ssl_seg.workflows.overlap import refuse_overlap, tell_twins

    dataset, store = reading.open(data, labelled=True)
    others, known = reading.open(bank, labelled=True, split="train") if bank else (dataset, store)
    check_labels(known, others, bank or data)
    if bank:
        align(store, dataset, known.classes, data)
        said = f"images of {data} are also in {bank}"
        refuse_overlap((others, known), (dataset, store), allowed=allowed, said=said)
    classes: list[str] = known.classes
    features = reading.features(store)
    targets = store.targets.to(features.device)
    if bank:
        learn = reading.features(known), known.targets.to(features.device)
        ask = features, targets
    else:
        held = holdout_split(store.targets)
        tell_twins(store, held)
        held = held.to(features.device)
        learn, ask = (features[~held], targets[~held]), (features[held], targets[held])
    if not len(learn[1]):
        raise DataError(
            f"no class of {data} has two images: the probes have nothing to learn from", next="--train DATA"
        )
    numbers: dict[str, Any] = {"learnt from": len(learn[1]), "images": len(ask[1])}
    if "knn" in probes:
        numbers["knn"] = _knn(reading, classes, learn, ask)
    if "logistic" in probes:
        numbers |= _logistic(len(classes), learn, ask)
    return numbers


def _knn(
    reading: "Reading", classes: list[str], learn: tuple["Tensor", "Tensor"], ask: tuple["Tensor", "Tensor"]
) -> float:
    metric = reading.plugins.registry.build("metrics", "knn", classes, options=reading.options.get("probe"))
    metric.fill(*learn)
    metric.update(*ask)
    accuracy: float = metric.compute()["knn"]
    return accuracy


def _logistic(
    classes: int, learn: tuple["Tensor", "Tensor"], ask: tuple["Tensor", "Tensor"]
) -> dict[str, Any]:
    from ssl_seg.engine.linear_probe import linear_probe
    from ssl_seg.workflows.knn_probe import holdout_split

    held = holdout_split(learn[1].cpu(), _HELD).to(learn[1].device)
    if held.all():
        raise DataError(
            f"{counted(len(held), 'image')}, one of each class, are too few for the logistic regression",
            next="--probe knn",
        )
    logits, strength = linear_probe(*learn, ask[0], classes, held)
    right = (logits.argmax(dim=1) == ask[1]).double().mean().item()
    return {"logistic": right, "logistic strength": strength}
