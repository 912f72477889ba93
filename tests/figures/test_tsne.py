"""Maps of features, and the numbers under them, against plain loops."""

import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

from ssl_seg.errors import DataError, ResourceError, UsageError
from ssl_seg.figures import tsne, tsne_picture
from ssl_seg.figures.palette import MARKERS, PALETTE
from ssl_seg.figures.style import figure, figure_style, printable_label, series_style
from ssl_seg.figures.tsne import (
    TSNEMap,
    chance_purity,
    class_purities,
    compute_tsne_maps,
    evenly_spaced,
    purity,
    silhouette,
    usable_perplexity,
)
from ssl_seg.figures.tsne_picture import color_groups, draw_maps


def clusters(count=60, classes=3, apart=1.0, seed=0, dimensions=16):
    random = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    centres = np.random.default_rng(99).normal(size=(classes, dimensions))
    features = random.normal(size=(count, dimensions)) + apart * centres[targets]
    return features.astype(np.float32), targets


def slow_purity(xy, targets, k):
    shares = []
    for row in range(len(xy)):
        others = sorted((j for j in range(len(xy)) if j != row), key=lambda j: np.hypot(*(xy[row] - xy[j])))
        near = others[:k]
        shares.append(sum(targets[j] == targets[row] for j in near) / len(near))
    return sum(shares) / len(shares)


def slow_silhouette(xy, targets):
    values = []
    for row in range(len(xy)):
        mean = {}
        for each in set(targets.tolist()):
            rows = [j for j in range(len(xy)) if targets[j] == each and j != row]
            mean[each] = np.mean([np.hypot(*(xy[row] - xy[j])) for j in rows]) if rows else None
        own = mean.pop(int(targets[row]))
        other = min(mean.values())
        values.append(0.0 if own is None else (other - own) / max(own, other))
    return float(np.mean(values))


@pytest.mark.parametrize("k", [1, 10, 29, 500])
def test_purity_is_the_share_of_neighbours_of_the_same_class(k):
    random = np.random.default_rng(k)
    xy, targets = random.normal(size=(30, 2)), random.integers(0, 4, 30)
    assert purity(xy, targets, k) == pytest.approx(slow_purity(xy, targets, k), abs=1e-12)


def test_an_image_is_not_its_own_neighbour_even_where_points_are_equal():
    xy = np.zeros((6, 2))
    assert purity(xy, np.arange(6), 3) == 0
    assert purity(np.repeat([[0.0, 0], [9, 9]], 4, axis=0), np.repeat([0, 1], 4), 3) == 1


def test_silhouette_is_that_of_its_definition():
    random = np.random.default_rng(5)
    xy, targets = random.normal(size=(25, 2)), random.integers(0, 3, 25)
    targets[7] = 3  # alone in its class: counts as 0
    assert silhouette(xy, targets) == pytest.approx(slow_silhouette(xy, targets), abs=1e-9)


def test_one_class_or_only_single_images_have_no_silhouette():
    xy = np.random.default_rng(0).normal(size=(6, 2))
    assert silhouette(xy, np.zeros(6, int)) is None
    assert silhouette(xy, np.arange(6)) is None


def test_chance_is_the_share_of_equal_pairs():
    targets = np.array([0, 0, 0, 1, 1, 2])
    pairs = [targets[i] == targets[j] for i in range(6) for j in range(6) if i != j]
    assert chance_purity(targets) == pytest.approx(np.mean(pairs))
    random = np.random.default_rng(0)
    assert purity(random.normal(size=(4000, 2)), np.arange(4000) % 5) == pytest.approx(0.2, abs=0.01)


def test_the_same_features_give_the_same_bits_whatever_threads_there_are():
    features, targets = clusters()
    given = {1: features, 9: features + clusters(seed=1)[0]}
    once = compute_tsne_maps(given, targets, perplexity=10)
    with threadpool_limits(2):
        again = compute_tsne_maps(given, targets, perplexity=10)
    for one, two in zip(once, again, strict=True):
        assert one.xy.tobytes() == two.xy.tobytes()
        assert (one.epoch, one.purity, one.silhouette) == (two.epoch, two.purity, two.silhouette)
    assert (once[0].xy == once[0].xy.round(4)).all()
    other = compute_tsne_maps({1: features}, targets, perplexity=10, seed=1)[0]
    assert other.xy.tobytes() != once[0].xy.tobytes()


def test_maps_are_made_in_one_thread(monkeypatch):
    threads = []

    def embed(values, start, **options):
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return start

    monkeypatch.setattr(tsne, "_embed", embed)
    with threadpool_limits(2):
        compute_tsne_maps({1: clusters()[0]}, clusters()[1], perplexity=10)
    assert set(threads) == {1}


def test_the_numbers_are_those_of_the_positions_that_are_kept():
    features, targets = clusters(apart=0.5)
    for each in compute_tsne_maps({1: features, 2: clusters(apart=3)[0]}, targets, perplexity=15, k=7):
        assert each.purity == pytest.approx(slow_purity(each.xy, targets, 7), abs=1e-12)
        assert each.silhouette == pytest.approx(slow_silhouette(each.xy, targets), abs=1e-9)


def test_features_that_tell_classes_apart_give_a_map_that_does():
    features, targets = clusters(apart=6)
    found = compute_tsne_maps({1: features}, targets, perplexity=10)[0]
    assert found.purity == 1 and found.silhouette > 0.7


def likeness(one, two):
    """Correlation of the positions of the same images, axis by axis."""
    return min(np.corrcoef(one.xy[:, axis], two.xy[:, axis])[0, 1] for axis in (0, 1))


def test_the_second_map_is_laid_out_like_the_first():
    features, targets = clusters(count=90, classes=6, apart=2)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0]
    later = ((features + clusters(count=90, apart=0, seed=4)[0] * 0.3) @ turn).astype(np.float32)
    first, second = compute_tsne_maps({1: features, 2: later}, targets, perplexity=10)
    alone = compute_tsne_maps({2: later}, targets, perplexity=10)[0]
    assert likeness(first, second) > 0.8
    assert likeness(first, second) > likeness(first, alone) + 0.1


def test_a_map_is_turned_without_changing_a_distance():
    random = np.random.default_rng(0)
    onto = random.normal(size=(20, 2))
    angle = 2.0
    mirror = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    assert tsne._align(3 * onto @ mirror + 7, onto) == pytest.approx(3 * (onto - onto.mean(axis=0)))
    xy = random.normal(size=(20, 2))
    turned = tsne._align(xy, onto)
    assert np.linalg.norm(turned - turned[4], axis=1) == pytest.approx(np.linalg.norm(xy - xy[4], axis=1))


def test_progress_counts_maps():
    features, targets = clusters(count=20)
    told = []
    compute_tsne_maps(
        {1: features, 2: -features}, targets, perplexity=3, on_progress=lambda *now: told.append(now)
    )
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize(
    "features",
    [
        np.ones((8, 4), np.float32),
        np.arange(8, dtype=np.float32)[:, None],
        np.repeat(np.arange(4, dtype=np.float32), 2)[:, None] * np.ones((1, 3), np.float32),
        np.random.default_rng(0).normal(size=(8, 300)).astype(np.float32) * 1e20,
    ],
    ids=["all equal", "one feature", "in pairs", "huge"],
)
def test_odd_features_are_mapped(features):
    targets = np.arange(8) % 2
    found = compute_tsne_maps({1: features, 2: features * 2}, targets, perplexity=usable_perplexity(8))
    for each in found:
        assert np.isfinite(each.xy).all() and 0 <= each.purity <= 1


def test_more_than_fifty_features_are_reduced():
    features = np.random.default_rng(0).normal(size=(80, 90)).astype(np.float32)
    reduced = tsne._reduce_dimensions(features, 0)
    centred = (features - features.mean(axis=0)).astype(np.float64)
    singular = np.linalg.svd(centred / np.abs(centred).max(), compute_uv=False)[:50]
    assert reduced.shape == (80, 50)
    assert np.linalg.norm(reduced, axis=0) == pytest.approx(singular, rel=1e-3)


def test_few_features_are_only_turned():
    features, _ = clusters(dimensions=5)
    reduced = tsne._reduce_dimensions(features, 0) * np.abs(features - features.mean(axis=0)).max()
    for row in (3, 17):
        distances = np.linalg.norm(features - features[row], axis=1)
        assert np.linalg.norm(reduced - reduced[row], axis=1) == pytest.approx(distances, rel=1e-5)
    assert (np.diff(reduced.std(axis=0)) <= 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named(value):
    features, targets = clusters(count=12)
    broken = features.copy()
    broken[[2, 5], 1] = value
    with pytest.raises(DataError, match="features of 2 of 12 images are not finite") as caught:
        compute_tsne_maps({1: features, 7: broken}, targets, perplexity=3)
    assert caught.value.where == "epoch 7"


def test_perplexity_fits_the_number_of_images():
    assert usable_perplexity(2000) == 30
    assert usable_perplexity(31) == 10
    assert usable_perplexity(2000, 5) == 5
    with pytest.raises(UsageError, match="at least 5 images, got 4"):
        usable_perplexity(4)
    for requested in (0, -1, 11, float("nan")):
        with pytest.raises(UsageError, match=r"perplexity in \(0, 10\] for 31 images"):
            usable_perplexity(31, requested)


def test_rows_are_evenly_spaced():
    assert evenly_spaced(5, 9).tolist() == evenly_spaced(5, None).tolist() == [0, 1, 2, 3, 4]
    rows = evenly_spaced(25_001, 10_000)
    assert len(set(rows.tolist())) == 10_000 and rows[0] == 0 and rows[-1] == 25_000
    assert set(np.diff(rows)) == {2, 3}


def test_many_points_go_through_opentsne(monkeypatch):
    requested = {}

    class Fast:
        def __init__(self, **options):
            requested.update(options)

        def fit(self, values):
            return values[:, :2] * 3

    monkeypatch.setattr(tsne, "MANY", 50)
    assert tsne.max_points() in (None, 50)
    monkeypatch.setattr(tsne, "find_spec", lambda name: name == "openTSNE" or None)
    assert tsne.max_points() is None
    monkeypatch.setitem(sys.modules, "openTSNE", SimpleNamespace(TSNE=Fast))
    features, targets = clusters(count=60)
    found = compute_tsne_maps({1: features}, targets, perplexity=7, seed=3)[0]
    assert found.xy == pytest.approx(tsne._reduce_dimensions(features, 0)[:, :2] * 3, abs=1e-4)
    assert (requested["perplexity"], requested["random_state"], requested["n_jobs"]) == (7, 3, 1)
    assert requested["initialization"].std(axis=0)[0] == pytest.approx(1e-4, rel=0.01)


# the picture


def scattered(classes, count=120, epochs=(1, 9)):
    random = np.random.default_rng(1)
    targets = np.arange(count) % classes
    maps = [TSNEMap(epoch, random.normal(scale=20, size=(count, 2)), 0.5, None) for epoch in epochs]
    return maps, targets


def colours(path):
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    return {"#" + bytes(pixel).hex() for pixel in np.unique(pixels, axis=0)}


HOSTILE = [
    "_hidden",
    "$a_b^{$",
    "<b>&amp;--><script>",
    "x\ny\x00\ud800",
    "漢字 🦆",
    "",
    "n" * 300,
    "\\frac{",
    "a",
]


@pytest.mark.parametrize("classes", [1, 9, 20, 30, 40, 120])
def test_any_number_of_classes_is_drawn(tmp_path, classes):
    maps, targets = scattered(classes)
    names = (HOSTILE + [f"class {index}" for index in range(classes)])[:classes]
    paths = draw_maps(tmp_path / "new" / "map", maps, targets, names, note="of 120 images")
    assert [path.name for path in paths] == ["map.png", "map.svg"]
    with Image.open(paths[0]) as image:
        assert image.width > 2 * 600 and image.info["dpi"][0] == pytest.approx(200, abs=1)
    if classes <= 20:
        assert set(PALETTE[:classes]) <= colours(paths[0])  # the legend is opaque
    root = ElementTree.parse(paths[1]).getroot()
    assert not [each for each in root.iter() if each.tag.endswith("}text") or each.tag.endswith("script")]


def test_of_many_classes_the_extremes_are_coloured():
    targets = np.repeat(np.arange(30), 10)
    random = np.random.default_rng(0)
    xy = random.normal(size=(300, 2)) + 40 * np.stack([targets % 6, targets // 6], axis=1)
    mixed = np.isin(targets, [3, 8, 20])
    xy[mixed] = random.normal(size=(30, 2)) + 500
    purities = class_purities(xy, targets, 9)
    assert {index for index, purity in purities.items() if purity < 0.9} == {3, 8, 20}
    best, worst = color_groups(xy, targets, 9).values()
    assert len(best) == len(worst) == 6 and not set(best) & set(worst)
    assert {3, 8, 20} <= set(worst)
    assert color_groups(xy, targets % 20, 9) == {"": list(range(20))}


def test_class_purities_average_to_the_whole():
    random = np.random.default_rng(1)
    xy, targets = random.normal(size=(200, 2)), random.integers(0, 4, size=200)
    found = class_purities(xy, targets, 7)
    counts = np.bincount(targets)
    assert sum(found[i] * counts[i] for i in range(4)) / 200 == pytest.approx(purity(xy, targets, 7))
    assert class_purities(xy[:3], np.array([0, 0, 1]), 2).keys() == {0}


def test_the_picture_is_the_same_bytes_again(tmp_path):
    maps, targets = scattered(4)
    once = [path.read_bytes() for path in draw_maps(tmp_path / "a", maps, targets, list("abcd"))]
    again = [path.read_bytes() for path in draw_maps(tmp_path / "b", maps, targets, list("abcd"))]
    assert once == again
    assert b"dc:date" not in once[1]


@pytest.mark.parametrize("epochs", [(3,), (1, 2, 3, 4)])
def test_one_map_or_several(tmp_path, epochs):
    maps, targets = scattered(3, epochs=epochs)
    with Image.open(draw_maps(tmp_path / "map", maps, targets, list("abc"))[0]) as image:
        wanted = {1: (980, 820), 4: (2340, 1600)}[len(epochs)]
        assert image.size == pytest.approx(wanted, abs=1)  # matplotlib rounds in more than one way


def test_points_at_one_place_are_drawn(tmp_path):
    maps = [TSNEMap(1, np.zeros((6, 2)), 0.2, None)]
    assert draw_maps(tmp_path / "map", maps, np.arange(6) % 2, ["a", "b"])[0].exists()


def test_names_on_the_map_do_not_overlap_and_lie_within():
    maps, targets = scattered(30, count=300)
    places = np.random.default_rng(2).uniform(-60, 60, size=(30, 2))
    places[:10] /= 20  # these crowd
    xy = maps[0].xy / 10 + places[targets]
    with figure_style():
        fig = figure(4, 4)
        axes = fig.subplots()
        axes.scatter(*xy.T)
        fig.draw_without_rendering()
        names = [f"a class {index}" for index in range(30)]
        tsne_picture._name_on_map(axes, xy, targets, names, range(30))
        fig.set_dpi(200)  # as a file has it
        FigureCanvasAgg(fig).draw()  # texts are measured at that resolution from here on
        boxes = [text.get_window_extent() for text in axes.texts]
        frame = axes.get_window_extent()
        medians = axes.transData.transform([np.median(xy[targets == i], axis=0) for i in range(30)])
        texts = {names.index(text.get_text()): text.get_window_extent() for text in axes.texts}
    assert len(boxes) > 15
    for index, box in texts.items():
        assert abs((box.y0 + box.y1) / 2 - medians[index][1]) < 5 * box.height
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    maps, targets = scattered(2)
    with pytest.raises(ResourceError, match="cannot write"):
        draw_maps(tmp_path / "file" / "map", maps, targets, ["a", "b"])


def test_eighty_classes_have_marks_of_their_own():
    assert len({series_style(index) for index in range(100)}) == len(PALETTE) * len(MARKERS) == 80


def test_a_label_is_one_short_line():
    assert printable_label("sea\n\t lake\x00") == "sea lake"
    assert printable_label("x" * 50, 10) == "xxxxxxxxx…"
    assert printable_label("_x").strip() == "_x" and not printable_label("_x").startswith("_")
