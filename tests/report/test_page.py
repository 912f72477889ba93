"""The page against the files it was made from, read anew."""

import base64
import json
import re
import shutil
import statistics
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from ssl_seg.reporting.build import build
from ssl_seg.reporting.page import in_script, page
from ssl_seg.results.tables import Table


@pytest.fixture(scope="module")
def text(study):
    return page(build([study], "The title"))


@pytest.fixture(scope="module")
def read(reader, text):
    return reader.Reader(text)


def runs_of(study):
    """Stage -> seed -> folder."""
    stages = json.loads((study / "study.json").read_text())["stages"]
    return {
        name: {int(seed): study / folder for seed, folder in about["runs"].items()}
        for name, about in stages.items()
    }


def lines_of(folder):
    return [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]


def pixels_of(file):
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def table_of(read, head):
    found = [table for table in read.tables if table and table[0][: len(head)] == head]
    assert found, f"no table with {head}"
    return found


def test_every_number_is_that_of_the_file_it_names(read, study):
    assert len(read.numbers) > 60
    kinds = set()
    for value, shown, source in read.numbers:
        if found := re.fullmatch(r"(\S+)/scores\.jsonl, epoch (\d+): (\w+)( \(maximum\))?", source):
            lines = lines_of(study / found[1])
            (line,) = [line for line in lines if line["epoch"] == int(found[2])]
            expected = line[found[3]]
            assert not found[4] or expected == max(each[found[3]] for each in lines)
            kinds.add(found[3])
        elif found := re.fullmatch(r"last\.(.+) in result\.json of (.+)", source):
            values = []
            for part in found[2].split("; "):
                stage, seed, said = re.fullmatch(r"(.+), seed (\d+): ([\d.]+)", part).groups()
                last = json.loads((runs_of(study)[stage][int(seed)] / "result.json").read_text())["last"]
                values.append(last[found[1]])
                assert said == f"{values[-1]:.4f}"
            assert len(values) == 2
            expected = statistics.fmean(values)
            assert shown == f"{expected:.2f} ± {statistics.stdev(values):.2f}"
            kinds.add(found[1].split("/")[0])
        elif found := re.fullmatch(r"(\S+)/result\.json: last\.(support/.+)", source):
            expected = json.loads((study / found[1] / "result.json").read_text())["last"][found[2]]
            assert shown.replace(",", "") == str(round(expected))
            kinds.add("support")
        elif found := re.fullmatch(r"(\S+)/result\.json: calibration\.(\w+)", source):
            expected = json.loads((study / found[1] / "result.json").read_text())["calibration"][found[2]]
            kinds.add(found[2])
        else:
            expected = value
            kinds.add(source.rsplit("/", 1)[1])
        assert value == pytest.approx(expected, rel=1e-12), source
        if ":" not in shown and "±" not in shown and "," not in shown:
            assert float(shown) == pytest.approx(value, abs=0.5 * 10 ** -len(shown.partition(".")[2]) + 1e-9)
    wanted = {
        "val_top1",
        "val_miou",
        "loss",
        "seconds",
        "images_per_second",
        "top1",
        "iou",
        "miou",
        "support",
        "ece_scaled",
        "temperature",
    }
    assert wanted | {"tsne.json", "sam.json"} <= kinds


def test_the_scores_of_a_table_are_those_of_the_runs(read, study):
    runs = runs_of(study)
    settings, masks = table_of(read, ["stage", "last epoch", "best epoch", "seeds"])
    for table, key in ((settings, "val_top1"), (masks, "val_miou")):
        for label, last, best, seeds, interval, images, published in table[1:]:
            stage = next(name for name in runs if label.startswith(name))
            lines = [lines_of(folder) for folder in runs[stage].values()]
            ends, highs = [each[-1][key] for each in lines], [max(x[key] for x in each) for each in lines]
            assert last == f"{statistics.fmean(ends):.2f} ± {statistics.stdev(ends):.2f}"
            assert best == f"{statistics.fmean(highs):.2f} ± {statistics.stdev(highs):.2f}"
            assert seeds == "2"
            if key == "val_top1":
                assert images == "20"
                correct = round(statistics.fmean(ends) * 40)
                low, high = stats.binomtest(correct, 40).proportion_ci(method="wilson")
                shown = [float(word) for word in interval.split(" to ")]
                assert shown[0] < low < high < shown[1], "half as many images leave a wider interval"
            assert published == {"A plain": "0.461", "M plain": "0.655"}.get(stage, "n/a")


def test_the_table_is_that_of_the_study(read, study, tmp_path):
    """Cell by cell what `ssl-seg study` writes beside the runs, in full precision in the CSV."""
    from ssl_seg.results.runs import read_row
    from ssl_seg.study.config import StageConfig

    runs = runs_of(study)
    rows = [
        read_row(StageConfig(n, n, "classify", [0, 1], {}), runs[n], "val_top1")
        for n in ("A plain", "C plain")
    ]
    Table(rows, "val_top1").write(tmp_path)
    wanted = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()[1:]]
    shown = table_of(read, ["stage", "last epoch", "best epoch", "seeds"])[0]
    for line, cells in zip(wanted, shown[1:], strict=True):
        assert cells[1] == f"{float(line[3]):.2f} ± {float(line[4]):.2f}"
        assert cells[4] == f"{float(line[8]):.2f} to {float(line[9]):.2f}"
    pairs = [line.split(",") for line in (tmp_path / "table-pairs.csv").read_text().splitlines()[1:]]
    pair = table_of(read, ["pair", "difference", "p (Holm)"])[0][1]
    assert pair[1] == f"{float(pairs[0][1]):+.2f} ± {float(pairs[0][2]):.2f}"
    assert pair[2] == f"{float(pairs[0][3]):.4f}"
    assert pair[3] == ("yes" if float(pairs[0][3]) < 0.05 else "no")


def test_the_rows_are_compared_with_the_baseline_of_the_study(study, tmp_path):
    from ssl_seg.reporting.collect import collect

    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    path = copy / "study.json"
    content = json.loads(path.read_text())
    name = next(name for name, table in content["tables"].items() if "A plain" in table["rows"])
    content["tables"][name]["baseline"] = "A plain"
    path.write_text(json.dumps(content))
    table = dict(collect([copy]).tables)[name]
    assert [pair.names for pair in table.pairs] == [
        (row.name, "A plain") for row in table.rows if row.name != "A plain"
    ]


def test_a_class_that_is_nowhere_has_no_number(read):
    (table,) = table_of(read, ["class", "pixels"])
    names = [line[0] for line in table]
    assert names[1:5] == ["cat plain", "dog plain", "eel plain", "none plain"]
    assert table[names.index("none plain")][1:] == ["n/a", "n/a", "n/a"], "it is left out"
    assert table[names.index("eel plain")][1:] == ["0", "n/a", "n/a"]


def test_nothing_is_loaded_from_elsewhere(text, read):
    for tag, attributes in read.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"<{tag} {name}={value[:60]!r}>"
        assert tag not in ("iframe", "object", "embed", "base", "form", "audio", "video")
        assert not any(name.startswith("on") for name in attributes), f"{tag} has a handler"
        assert "http" not in attributes.get("style", "")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"@import|url\(|http", style)
    policy = next(a["content"] for t, a in read.elements if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_every_link_and_label_leads_somewhere(read):
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a["href"][1:] for t, a in read.elements if t == "a"]
    assert len(targets) >= 9
    assert set(targets) <= set(ids)
    assert all("alt" in attributes for tag, attributes in read.elements if tag == "img")


def test_the_map_is_that_of_the_file(read, study):
    wanted = json.loads((study / "classify-20" / "figures" / "tsne.json").read_text())
    found, _, sheets = [json.loads(body) for kind, body in read.scripts if kind == "application/json"]
    assert found["classes"] == wanted["classes"]
    assert found["targets"] == wanted["targets"]
    assert found["filenames"] == wanted["filenames"]
    for shown, known in zip(found["maps"], wanted["maps"], strict=True):
        assert shown["epoch"] == known["epoch"]
        one, two = np.array(shown["xy"]), np.array(known["xy"])
        assert one.min() >= 0
        assert one.max() <= 1
        one, two = one - one.mean(axis=0), two - two.mean(axis=0)
        scale = (one * two).sum() / (two * two).sum()
        assert scale > 0
        assert one == pytest.approx(scale * two, abs=1e-4), "stretched unevenly, turned, or mixed up"
    sheet = pixels_of(BytesIO(base64.b64decode(sheets[found["sheet"]].partition(",")[2])))
    assert sheet.shape == pixels_of(study / "classify-20" / "features" / "thumbnails.jpg").shape


def test_a_mask_keeps_its_colours_and_is_there_once(text, read, study):
    tiles = [
        (a, re.match(r"(target|epoch (\d), IoU 0\.\d\d) of (M|N|0013)", a["alt"]))
        for t, a in read.elements
        if t == "img"
    ]
    tiles = [(a, found) for a, found in tiles if found]
    assert len(tiles) == 1 + 2 * 3, "the true mask once, three epochs of two stages"
    for tile, found in tiles:
        shown = pixels_of(BytesIO(base64.b64decode(tile["src"].partition(",")[2])))
        stage = "segment-40" if found[3] == "N" else "segment-30"
        kind = f"epoch-{int(found[2]):04d}" if found[2] else "labels"
        assert np.array_equal(shown, pixels_of(study / stage / "masks" / kind / "0013_mask.png"))
        assert text.count(tile["src"]) == 1


def test_json_in_a_script_ends_nothing():
    value = {"</script><b>": "<!-- & \u2028 \u2029 '\" \\ \ud800"}
    text = in_script(json.dumps(value, ensure_ascii=False))
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


def test_calibration_is_that_of_the_runs(read, study):
    ((head, *rows),) = table_of(read, ["run", "calibration error"])
    assert head == ["run", "calibration error", "with temperature", "temperature", "images or pixels"]
    expected = {}
    for stage, seeds in runs_of(study).items():
        for seed, folder in seeds.items():
            if (folder / "result.json").exists() and "finished" in (folder / "status.json").read_text():
                found = json.loads((folder / "result.json").read_text()).get("calibration")
                if found:
                    numbers = [f"{found[key]:.2f}" for key in ("ece", "ece_scaled", "temperature")]
                    expected[f"{stage}, seed {seed}"] = [*numbers, "10"]
    assert expected and {row[0]: row[1:] for row in rows} == expected
