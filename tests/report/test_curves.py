"""Curves: one chart for each quantity, a mean and a band for several seeds."""

import re

from ssl_seg.reporting.build import build


def test_training_and_validation_share_a_chart_and_seeds_a_band(make, tmp_path):
    stages = {}
    for name, values in {"A": [0.2, 0.6], "B": [0.5]}.items():
        runs = {}
        for seed, value in enumerate(values):
            lines = [
                {
                    "epoch": epoch,
                    "step": epoch,
                    "seconds": 1.0,
                    "loss": 1.0,
                    "accuracy": 0.9,
                    "val_top1": value,
                }
                for epoch in (1, 2)
            ]
            make.write_run(tmp_path / f"{name}{seed}", "classify", seed, lines)
            runs[str(seed)] = f"{name}{seed}"
        stages[name] = {"title": name, "command": "classify", "published": None, "runs": runs}
    make.write_json(tmp_path / "study.json", {"format": 1, "stages": stages})
    (found,) = build([tmp_path]).curves
    charts = dict(found.charts)
    assert list(charts) == ["loss", "top-1 accuracy"]
    assert (found.bands, found.training) == (True, True)
    told = re.findall(r"<title>([^<]*)</title>", charts["top-1 accuracy"])
    assert "A\nepoch 1: top-1 accuracy 0.4000" in told, "the mean of both seeds"
    assert "B, seed 0\nepoch 2: top-1 accuracy 0.5000" in told
    assert charts["top-1 accuracy"].count("fill-opacity") == 1, "one stage has a band"
    assert charts["top-1 accuracy"].count("stroke-dasharray") == 2, "both have a line of training"
    heights = re.search(
        r'fill-opacity="[.\d]+" d="M[\d.]+ ([\d.]+)L[\d.]+ [\d.]+L[\d.]+ ([\d.]+)', charts["top-1 accuracy"]
    )
    mean = float(re.search(r'cy="([\d.]+)" r="3"><title>A\n', charts["top-1 accuracy"])[1])
    assert abs((float(heights[1]) + float(heights[2])) / 2 - mean) < 0.2, "the band is around its line"
