"""A study's folder as its runs leave it, without a network: every number in it is known to the test."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_seg.utils.toml import to_toml

COLOURS = [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 0, 0)]
VERSIONS = {"python": "3.11.7", "ssl_seg": "0.1.0", "torch": "2.15.0"}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_run(folder, command, seed, lines, *, result=None, state="finished", code=0, settings=None, log=""):
    """The files that every run has."""
    folder.mkdir(parents=True)
    data = {name: {"images": 40, "skipped": 0, "fingerprint": f"print-{name}"} for name in ("train", "val")}
    record = {"command": command, "device": "CPU, 1 thread, fp32", "versions": VERSIONS, **data}
    given = {"train": "demo:40", "val": "demo:20", "epochs": 3, "seed": seed, **(settings or {})}
    (folder / "run.toml").write_text(to_toml({**given, "record": record}), encoding="utf-8")
    (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(folder / "status.json", {"state": state, "step": 3, "code": code, "checkpoint": ""})
    (folder / "run.log").write_text(log, encoding="utf-8")
    if result:
        write_json(folder / "result.json", result)


def lines_of(random, *keys, epochs=3):
    return [
        {
            "epoch": epoch,
            "step": epoch,
            "seconds": round(7.25 * epoch, 3),
            "images_per_second": round(random.uniform(9, 99), 2),
            "loss": random.uniform(0.5, 2.5),
        }
        | {key: random.uniform(0.1, 0.9) for key in keys}
        for epoch in range(1, epochs + 1)
    ]


def write_classify(folder, seed, classes, **given):
    random = np.random.default_rng([seed, len(folder.name), *folder.name.encode()])
    lines = lines_of(random, "val_top1", "val_mean_class")
    labels = [classes[i % len(classes)] for i in range(20)]
    right = random.random(20) < 0.6
    lines[-1]["val_top1"] = float(right.mean())
    said = [name if good else f"not {name}" for name, good in zip(labels, right, strict=True)]
    last = {"epoch": 3, "top1": lines[-1]["val_top1"], "top5": 1.0, "mean_class": random.random()}
    last |= {f"top1/{name}": random.random() for name in classes}
    sure = {"epoch": 3, "unit": "images", "temperature": 1 + random.random(), "ece": random.random()}
    sure |= {"ece_scaled": random.random(), "nll": 1.0, "nll_scaled": 0.5, "fitted_on": 10, "measured_on": 10}
    result = {"images": 20, "last": last, "best": {}, "calibration": sure}
    write_run(folder, "classify", seed, lines, result=result, **given)
    write_confusion(folder, classes)
    quoted = ['"{}"'.format(name.replace('"', '""')) for name in labels]
    told = ['"{}"'.format(name.replace('"', '""')) for name in said]
    rows = [f"{i}.jpg,{one},{two},1.0" for i, (one, two) in enumerate(zip(quoted, told, strict=True))]
    (folder / "val_predictions.csv").write_text(
        "\n".join(["filename,label,predicted,confidence", *rows]) + "\n", encoding="utf-8"
    )


def write_confusion(folder, classes):
    names = ['"{}"'.format(name.replace('"', '""')) for name in classes]
    rows = [["true", *names], *([name, *["1"] * len(names)] for name in names)]
    (folder / "confusion.csv").write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
    (folder / "figures").mkdir()
    matrix = f"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><desc>{folder.name}</desc></svg>"
    (folder / "figures" / "confusion.svg").write_text(matrix)


def tile_colour(i):
    """Of a thumbnail that shows nothing else, told apart from those beside it."""
    return 40 * (i % 6), 30 * (i % 8), 255 - 3 * (i % 80)


def write_map(folder, classes, files, *, count=80, method="tsne", colored=None):
    """`tsne.json` as `figure tsne` writes it, and the thumbnails."""
    random = np.random.default_rng(1)
    targets = [i % len(classes) for i in range(count)]
    maps = [
        {
            "epoch": epoch,
            "xy": (random.normal(size=(count, 2)) * (8 * epoch, 5)).tolist(),
            "purity": 0.25 * epoch + 0.0123,
            "silhouette": None if epoch == 1 else -0.0456,
        }
        for epoch in (1, 3)
    ]
    for known in maps:
        known["xy"][-1] = [30.0 * known["epoch"], 0.0]  # away from all others
    names = [files[i % len(files)] for i in range(count)]
    found = {
        "method": method,
        "classes": classes,
        "colored": colored or list(range(len(classes))),
        "targets": targets,
        "filenames": names,
        "k": 10,
        "chance": 0.3333,
        "maps": maps,
    }
    write_json(folder / "figures" / f"{method}.json", found)
    (folder / "features").mkdir(exist_ok=True)
    sheet = np.zeros((32 * -(-count // 64), 32 * min(64, count), 3), dtype=np.uint8)
    for i in range(count):
        y, x = 32 * (i // 64), 32 * (i % 64)
        sheet[y : y + 32, x : x + 32] = tile_colour(i)
    Image.fromarray(sheet).save(folder / "features" / "thumbnails.jpg")


def write_segment(folder, seed, classes, examples, **given):
    """A run on three images; the last class is left out, the one before is neither there nor predicted."""
    random = np.random.default_rng([seed, *folder.name.encode()])
    count = len(classes)
    confusions = np.zeros((3, count, count + 1), np.int64)
    confusions[:, : count - 2, : count - 2] = random.integers(1, 500, (3, count - 2, count - 2))
    total = confusions.sum(axis=0)
    right = np.diagonal(total)
    union = total.sum(axis=1) + total[:, :-1].sum(axis=0) - right
    kept = [i for i in range(count - 1) if union[i]]
    lines = lines_of(random, "val_miou", "val_pixel_accuracy")
    lines[-1]["val_miou"] = float(np.mean([right[i] / union[i] for i in kept])) if kept else 0.0
    last = {"epoch": 3, "miou": lines[-1]["val_miou"], "fw_iou": 0.5, "pixel_accuracy": random.random()}
    last |= {f"iou/{classes[i]}": float(right[i] / union[i]) for i in kept}
    last |= {f"support/{classes[i]}": float(total[i].sum()) for i in range(count - 1)}
    write_run(folder, "segment", seed, lines, result={"images": 3, "last": last, "best": {}}, **given)
    write_confusion(folder, classes)
    names = np.array([f"{i}.jpg" for i in range(3)])
    exclude = np.array([classes[-1]])
    kept_classes = np.array(classes)
    np.savez(
        folder / "val_confusions.npz",
        confusions=confusions,
        filenames=names,
        classes=kept_classes,
        exclude=exclude,
    )
    write_masks(folder, random, classes, examples, epochs=(1, 2, 3))


def write_masks(folder, random, classes, examples, *, epochs):
    """`masks.json` and `masks/`."""
    count = len(classes)
    write_json(
        folder / "masks.json", {"classes": classes, "colours": COLOURS[:count], "exclude": [classes[-1]]}
    )
    true, colours = np.random.default_rng(0), np.array(COLOURS, np.uint8)
    for name in examples:
        for kind, source in (("labels", true), *((f"epoch-{epoch:04d}", random) for epoch in epochs)):
            (folder / "masks" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours[source.integers(0, count, (24, 24))]).save(folder / "masks" / kind / name)
        (folder / "masks" / "images").mkdir(exist_ok=True)
        pixels = true.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "masks" / "images" / name)


def write_sam(folder, name):
    found = {"name": name, "segments": 17, "agreement": 0.6123, "models": {"A": 0.4321, "B": 0.5432}}
    write_json(folder / "sam" / "sam.json", {"model": "sam-vit-base", "images": [found]})
    Image.new("RGB", (24, 24), (10, 200, 30)).save(folder / "sam" / f"{Path(name).stem}.png")


def write_study(out, *, word="plain"):
    """Three kinds of stages, two seeds; `word` is in every name that others give."""
    classes = [f"cat {word}", f"dog {word}", f"eel {word}", f"none {word}"]
    stages = {
        f"ssl {word}": ("train", f"ssl {word}", None),
        f"A {word}": ("classify", f"A {word}: scratch", 0.461),
        f"C {word}": ("classify", f"title {word}", None),
        f"M {word}": ("segment", f"masks {word}", 0.655),
        f"N {word}": ("segment", f"N {word}", None),
    }
    about = {}
    for place, (name, (command, title, published)) in enumerate(stages.items()):
        runs = {}
        for seed in [0] if command == "train" else [0, 1]:
            folder = out / f"{command}-{place}{seed}"
            runs[str(seed)] = folder.name
            if command == "train":
                lines = lines_of(np.random.default_rng(3), "spread", "rank")
                write_run(folder, command, seed, lines, settings={"backbone": f"net {word}"})
            elif command == "classify":
                write_classify(folder, seed, classes[:3], log=f"2026-01-01 00:00:00,000 WARNING odd {word}\n")
            else:
                write_segment(folder, seed, classes, ["0013_mask.png"])
        about[name] = {"title": title, "command": command, "published": published, "runs": runs}
    write_map(out / "classify-20", classes[:3], [f"photo {word}.jpg", "other.jpg"])
    write_sam(out / "segment-30", f"0013 {word}".replace("\0", ""))  # a file has no such name
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>{word.encode().hex()}</text></svg>'
    (out / "segment-30" / "figures" / "architecture.svg").write_text(drawing)
    names = list(stages)
    tables = {
        "settings": {"rows": names[1:3], "score": "val_top1"},
        f"masks {word}": {"rows": names[3:], "score": "val_miou"},
    }
    write_json(out / "study.json", {"format": 1, "tables": tables, "stages": about})
    return out


WIDE = {
    "A": "A · no pre-training, full model",
    "B": "B · with labels, full model",
    "C": "C · without labels, full model",
    "D": "D · with labels, classifier only",
    "E": "E · without labels, classifier only",
}


def write_wide_study(out, *, count=65):
    """Five settings of a classifier, of many classes with long names, and one network on masks of wide images."""
    classes = [f"{'a_long_class_name' if i % 9 == 0 else 'class'} {i}" for i in range(count)]
    about = {}
    for place, (name, title) in enumerate(WIDE.items()):
        resolved = {
            "init": {
                "weights": f"/home/somebody/runs/homework/train-{place}/weights.pt",
                "sha256": f"{place}" * 64,
            },
            "views": {"1": {"ratio": [0.75, 4 / 3], "scale": [0.08, 1.0]}} if place % 2 else {},
        }
        write_classify(out / f"classify-{place}0", 0, classes, settings={"o": resolved, "lr": 0.1 * place})
        runs = {"0": f"classify-{place}0"}
        about[name] = {"title": title, "command": "classify", "published": 0.5, "runs": runs}
    files = ["photo.jpg", f"{'long' * 12}.jpg"]
    for method in ("tsne", "pca"):
        colored = list(range(0, count, 5))[:12]
        write_map(out / "classify-20", classes, files, count=260, method=method, colored=colored)
    write_segment(
        out / "segment-90", 0, ["road", "tree", "sky", "unknown"], ["0013_mask.png", "0062_mask.png"]
    )
    tiles = [f"a_long_name_of_a_scene/{i:04d}_mask.png" for i in range(6)]
    (out / "segment-90" / "extremes").mkdir()
    for tile in tiles:
        for kind in ("labels", "images", "epoch-0003"):
            (out / "segment-90" / "extremes" / "masks" / kind / Path(tile).parent).mkdir(
                parents=True, exist_ok=True
            )
    names = ["road", "tree", "sky", "unknown"]
    write_masks(out / "segment-90" / "extremes", np.random.default_rng(5), names, tiles, epochs=[3])
    about["DeepLabV3"] = {"title": "DeepLabV3-ResNet50", "command": "segment", "runs": {"0": "segment-90"}}
    rows = {"settings": {"rows": list(WIDE), "score": "val_top1"}}
    masks = {"masks": {"rows": ["DeepLabV3"], "score": "val_miou"}}
    write_json(out / "study.json", {"format": 1, "tables": rows | masks, "stages": about})
    return out
