"""How masks are written: found out where they bear it out, refused with a histogram and the answer where not."""

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.mask_coding import detect_encoding
from ssl_seg.data.palette_text import read_palette
from ssl_seg.data.palettes import BUILT_IN_PALETTES
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError

DEEPGLOBE = BUILT_IN_PALETTES["deepglobe"].array


def cells(seed, classes, shape=(24, 30)):
    """Classes in cells of 6 x 6 pixels; all of them occur."""
    rows, columns = shape[0] // 6, shape[1] // 6
    coarse = np.random.default_rng(seed).permutation(np.arange(rows * columns) % classes)
    return coarse.reshape(rows, columns).repeat(6, 0).repeat(6, 1).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """`write([image, ...])` saves masks and returns their paths; arrays become images."""

    def go(images, ending="png", **how):
        paths = []
        for index, image in enumerate(images):
            paths.append(tmp_path / f"{index:03d}_mask.{ending}")
            picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
            picture.save(paths[-1], **how)
        return paths

    return go


def painted(indices, colours):
    image = Image.fromarray(indices).convert("P")
    image.putpalette([part for colour in colours for part in colour])
    return image


def rgba(rgb, alpha=255):
    return np.dstack([rgb, np.full(rgb.shape[:2], alpha, dtype=np.uint8)])


# --- two values are two classes, in any encoding --------------------------------------------------

TWO = {
    "0 and 1": lambda c: c,
    "0 and 255": lambda c: c * 255,
    "0 and 200": lambda c: c * 200,
    "1 bit": lambda c: c.astype(bool),
    "16 bits": lambda c: c.astype(np.uint16) * 65_535,
    "32 bits": lambda c: c.astype(np.int32) * 255,
    "floats": lambda c: c.astype(np.float32),
    "RGB, black and white": lambda c: np.repeat(c[..., None] * 255, 3, 2),
    "RGB, ones": lambda c: np.repeat(c[..., None], 3, 2),
    "RGBA, opaque": lambda c: rgba(np.repeat(c[..., None] * 255, 3, 2)),
    "RGB, black and red": lambda c: c[..., None] * np.array([255, 0, 0], dtype=np.uint8),
    "RGB, black and the blue of deepglobe": lambda c: c[..., None] * np.array([0, 0, 255], dtype=np.uint8),
    "palette": lambda c: painted(c, [(0, 0, 0), (128, 0, 0)]),
    "palette, white": lambda c: painted(c * 255, [(index, index, index) for index in range(256)]),
}


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("palette", [None, "binary"])
def test_two_values_are_background_and_object(write, name, palette):
    truth = [cells(seed, 2) for seed in range(4)]
    ending = "tif" if name in ("floats", "32 bits", "1 bit") else "png"
    paths = write([TWO[name](classes) for classes in truth], ending)
    reader, how = detect_encoding(paths, read_palette(palette) if palette else None)
    assert reader.palette.names == ("background", "object") and reader.palette.exclude == ()
    assert how.startswith("two ") and "is background" in how and "is object" in how
    assert all(np.array_equal(reader.read(path), mask) for path, mask in zip(paths, truth, strict=True))


def test_the_second_value_may_be_rare(write):
    """The 16 masks that are looked at first have one colour; so has the one that decides, nearly."""
    images = [np.zeros((24, 30, 3), dtype=np.uint8) for _ in range(40)]
    images[7][2:4, 2:4] = 255
    reader, _ = detect_encoding(write(images), None)
    assert reader.palette.names == ("background", "object")
    images[7][2:4, 2:4] = 250, 10, 10
    reader, how = detect_encoding(write(images), None)
    assert reader.palette.colours[1] == (250, 10, 10) and "two colors" in how


@pytest.mark.parametrize("value", [0, 1, 255])
def test_masks_of_one_value_are_read_as_what_they_are_known_to_be(write, value):
    paths = write([np.full((8, 8), value, dtype=np.uint8)])
    reader, _ = detect_encoding(paths, read_palette("binary"))
    assert (reader.read(paths[0]) == min(value, 1)).all()
    with pytest.raises(DataError, match="fewer than two classes"):
        detect_encoding(paths, None)


def test_grey_levels_can_be_cut_into_two(write):
    soft = [
        Image.fromarray(cells(seed, 2) * 255).resize((61, 47), Image.Resampling.BICUBIC) for seed in range(4)
    ]
    paths = write(soft)
    with pytest.raises(DataError, match="are not class indices") as error:
        detect_encoding(paths, None)
    assert (
        "0: " in error.value.where
        and "255: " in error.value.where
        and "values in 4 masks" in error.value.where
    )
    assert "-o data.palette=binary -o data.colours=bits" in error.value.next
    with pytest.raises(DataError, match="binary masks must contain 0 and one other value"):
        detect_encoding(paths, read_palette("binary"))
    reader, _ = detect_encoding(paths, read_palette("binary"), bits=True)
    for path, image in zip(paths, soft, strict=True):
        assert np.array_equal(reader.read(path), np.asarray(image) >= 128)


# --- indices --------------------------------------------------------------------------------------


def with_void(seed, classes, share):
    mask = cells(seed, classes)
    mask[: round(24 * share)] = 255
    return mask


def test_255_beside_indices_is_no_class_and_that_is_said(write):
    reader, how = detect_encoding(write([with_void(seed, 4, 0.125) for seed in range(4)]), None)
    assert reader.palette.names == ("0", "1", "2", "3") and reader.guesses_void
    assert how == "class indices 0 to 3, as found in the masks; 255 is ignored (12.5 % of the pixels)"


def test_255_that_covers_regions_is_asked_for(write):
    masks = [with_void(seed, 4, 0.5) for seed in range(4)]
    paths = write(masks)
    with pytest.raises(DataError, match="255 covers 50.0 % of the masks") as error:
        detect_encoding(paths, None)
    assert "255: 50.0 %" in error.value.where and "-o data.palette=4 -o data.ignore=255" in error.value.next
    reader, _ = detect_encoding(paths, None, void=[255])
    assert len(reader.palette.names) == 4 and not reader.guesses_void
    assert np.array_equal(reader.read(paths[0]), masks[0])


def test_a_value_that_is_to_be_ignored(write):
    mask = cells(0, 4)
    paths = write([mask])
    reader, _ = detect_encoding(paths, None, void=[0])
    assert reader.palette.names == ("0", "1", "2", "3") and reader.palette.exclude == ("0",)
    assert np.array_equal(reader.read(paths[0]), np.where(mask == 0, 255, mask))
    wide = write([np.where(mask == 3, 65_535, mask.astype(np.uint16)).astype(np.uint16)])
    reader, _ = detect_encoding(wide, None, void=[65_535])
    assert np.array_equal(reader.read(wide[0]), np.where(mask == 3, 255, mask))
    with pytest.raises(DataError, match="ignore= lists values of index masks"):
        detect_encoding(write([DEEPGLOBE[cells(0, 7)]]), None, void=[255])


@pytest.mark.parametrize(
    ("values", "histogram", "answer"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 200], "200: ", "-o data.palette=7 -o data.stray=ignore"),
        ([0, 64, 128, 191, 255], "5 values", "-o data.palette=binary -o data.colours=bits"),
        ([1, 255], "2 values", "-o data.palette=N"),
        ([0, 5], None, None),
        ([0, 1, 2, 1000], "1000: ", "-o data.palette=3 -o data.stray=ignore"),
        ([11, 12, 13, 14, 15, 16, 17, 18, 19, 20], "10 values", "palette"),
        (list(range(192)), "192 values", "-o data.palette=binary -o data.colours=bits"),
    ],
)
def test_values_with_gaps_are_shown_and_asked_for(write, values, histogram, answer):
    mask = np.array(values)[np.arange(24 * 30).reshape(24, 30) % len(values)]
    paths = write([mask.astype(np.uint16 if max(values) > 255 else np.uint8)])
    if histogram is None:
        assert detect_encoding(paths, None)[0].palette.names == ("background", "object")
        return
    with pytest.raises(DataError) as error:
        detect_encoding(paths, None)
    assert histogram in error.value.where and "1 mask" in error.value.where and answer in error.value.next
    assert error.value.code == 3


def test_the_rare_value_is_shown_with_a_mask_that_holds_it(write):
    masks = [cells(seed, 7) for seed in range(20)]
    masks[13][0, :3] = 200
    with pytest.raises(DataError) as error:
        detect_encoding(write(masks), None)
    assert (
        "200: < 0.1 %" in error.value.where
        and "the rarest: 200, 3 times, as in 013_mask.png" in error.value.where
    )


def test_a_number_of_classes_is_a_number_of_indices_whatever_a_palette_png_shows(write):
    """A background of 99 % that shows a colour of the numbers' palette does not make colours of the rest."""
    mask = np.zeros((60, 60), dtype=np.uint8)
    mask[:3, :3] = 1
    paths = write([painted(mask, [(0, 0, 0), (200, 100, 50)])])
    reader, _ = detect_encoding(paths, read_palette("2"))
    assert reader.encoding == "indices" and np.array_equal(reader.read(paths[0]), mask)


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BUILT_IN_PALETTES))
def test_a_palette_is_recognised_by_several_of_its_own_colours(write, name):
    palette = BUILT_IN_PALETTES[name]
    picked = [c for c, colour in enumerate(palette.colours) if colour not in ((0, 0, 0), (255, 255, 255))][:4]
    masks = [np.array(picked)[cells(seed, len(picked))] for seed in range(4)]
    reader, how = detect_encoding(write([palette.array[mask] for mask in masks]), None)
    assert reader.palette == palette
    assert how.startswith(f"the palette {name}, detected by 4 of its {len(palette.names)} colors on 100.0 %")


@pytest.mark.parametrize("colours", [[5, 6], [0, 5], [0, 1], [0]])
def test_few_colours_or_black_and_white_tell_nothing(write, colours):
    """Black, white, and up to two colours of deepglobe: recognised as that in 0.1.0."""
    paths = write([DEEPGLOBE[np.array(colours)[cells(seed, len(colours))]] for seed in range(4)])
    if colours == [5, 6]:
        assert detect_encoding(paths, None)[0].palette.names == ("background", "object")
        return
    with pytest.raises(DataError, match="too few colors to identify .* deepglobe") as error:
        detect_encoding(paths, None)
    assert "-o data.palette=deepglobe" in error.value.next and "(0, 255, 255): " in error.value.where
    assert detect_encoding(paths, read_palette("deepglobe"))[0].palette == BUILT_IN_PALETTES["deepglobe"]


def test_unknown_colours_are_shown_with_a_file_to_write(write):
    colours = np.array([(1, 2, 3), (4, 5, 6), (70, 80, 90)], dtype=np.uint8)
    with pytest.raises(DataError, match="no built-in palette") as error:
        detect_encoding(write([colours[cells(0, 3)]]), None)
    assert "(70, 80, 90)" in error.value.where and '"NAME1": [' in error.value.next


def test_masks_that_are_all_black_and_white_where_one_looks(write):
    """Tiles of nothing but unknown and barren, and one of seven colours among them."""
    images = [DEEPGLOBE[np.array([5, 6])[cells(seed, 2)]] for seed in range(40)]
    images[7] = DEEPGLOBE[cells(1, 7)]
    reader, _ = detect_encoding(write(images), None)
    assert reader.palette == BUILT_IN_PALETTES["deepglobe"]


def test_a_palette_png_that_shows_a_known_palette_in_another_order(write):
    order = [3, 1, 0, 2, 6, 5, 4]
    masks = [cells(seed, 7) for seed in range(4)]
    images = [painted(np.argsort(order).astype(np.uint8)[mask], DEEPGLOBE[order].tolist()) for mask in masks]
    paths = write(images)
    reader, how = detect_encoding(paths, None)
    assert "the palette deepglobe, detected" in how
    assert all(np.array_equal(reader.read(path), mask) for path, mask in zip(paths, masks, strict=True))


def test_palette_pngs_that_number_their_colours_differently(write):
    colours = [(10, 20, 30), (200, 10, 10), (10, 200, 10), (5, 5, 200)]
    masks, images = [cells(seed, 4) for seed in range(4)], []
    for seed, mask in enumerate(masks):
        order = np.random.default_rng(seed).permutation(4)
        images.append(painted(np.argsort(order).astype(np.uint8)[mask], [colours[index] for index in order]))
    paths = write(images)
    with pytest.raises(
        DataError, match="the palettes of the masks differ .index . is .* in another"
    ) as error:
        detect_encoding(paths, None)
    assert "[10, 20, 30]" in error.value.next
    names = ", ".join(f'"c{index}": {list(colour)}' for index, colour in enumerate(colours))
    reader, _ = detect_encoding(paths, read_palette(f"{{{names}}}"))
    assert all(np.array_equal(reader.read(path), mask) for path, mask in zip(paths, masks, strict=True))


def test_voc_colours_that_a_labelling_tool_gave_to_indices(write):
    paths = write([painted(cells(0, 5), BUILT_IN_PALETTES["voc"].colours)])
    reader, _ = detect_encoding(paths, None)
    assert reader.palette.names == ("0", "1", "2", "3", "4")
    assert reader.palette.colours == BUILT_IN_PALETTES["voc"].colours[:5]


def test_transparency_of_a_palette_png_hides_no_class(write):
    """Tools make the background of what they show transparent."""
    mask = cells(0, 3)
    paths = write([painted(mask, [(0, 0, 0), (200, 0, 0), (0, 200, 0)])], transparency=0)
    with Image.open(paths[0]) as image:
        assert "transparency" in image.info
    for palette in (None, '{"a": [0, 0, 0], "b": [200, 0, 0], "c": [0, 200, 0]}'):
        reader, _ = detect_encoding(paths, read_palette(palette) if palette else None)
        assert np.array_equal(reader.read(paths[0]), mask)
    hidden = write([rgba(DEEPGLOBE[cells(0, 7)], 0)])
    with pytest.raises(DataError, match="no built-in palette|all masks are unreadable") as error:
        detect_encoding(hidden, None)
    assert "transparent pixels" in str(error.value.where)


@pytest.mark.parametrize("levels", [(0, 255), (0, 1)])
def test_a_grey_palette_is_meant_by_levels_or_by_indices(write, levels):
    mask = cells(0, 2)
    paths = write([np.array(levels, dtype=np.uint8)[mask]])
    reader, _ = detect_encoding(paths, read_palette('{"background": [0, 0, 0], "road": [255, 255, 255]}'))
    assert reader.palette.names == ("background", "road") and np.array_equal(reader.read(paths[0]), mask)


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "ending", "reason"),
    [
        (np.full((8, 8), 0.5, dtype=np.float32), "tif", "non-integer floating-point values, such as 0.5"),
        (np.full((8, 8), np.nan, dtype=np.float32), "tif", "non-integer floating-point values, such as nan"),
        (np.zeros((8, 8), dtype=np.uint8), "jpg", "it is a JPEG"),
        (Image.new("CMYK", (8, 8)), "tif", "pixel mode CMYK"),
    ],
)
@pytest.mark.parametrize("palette", [None, "7", "binary"])
def test_the_reason_is_quoted(write, image, ending, reason, palette):
    with pytest.raises(DataError) as error:
        paths = write([image, image], ending)
        reader, _ = detect_encoding(paths, read_palette(palette) if palette else None)
        raise DataError("x", where=_reason(reader, paths[0]))
    assert reason in error.value.where


def _reason(reader, path):
    try:
        reader.read(path)
    except ValueError as error:
        return str(error)
    return "it was read"


def test_floats_of_whole_numbers_are_indices(write):
    mask = cells(0, 5)
    paths = write([mask.astype(np.float32)], "tif")
    with Image.open(paths[0]) as image:
        assert image.mode == "F"
    reader, _ = detect_encoding(paths, None)
    assert reader.palette.names == tuple("01234") and np.array_equal(reader.read(paths[0]), mask)
    paths = write([np.full((8, 8), 1e30, dtype=np.float32)], "tif")
    with pytest.raises(ValueError, match="which is not one of 5"):
        reader.read(paths[0])


# --- the data set ---------------------------------------------------------------------------------


def pairs(folder, masks):
    for index, mask in enumerate(masks):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*mask.shape[:2], 3), np.uint8)).save(folder / f"{index}_sat.png")
        Image.fromarray(mask).save(folder / f"{index}_mask.png")


def test_what_was_found_can_be_given(tmp_path):
    """`palette_text` makes the same of the same masks, without looking at all of them."""
    kinds = {
        "two": [cells(0, 2) * 255],
        "indices": [cells(0, 4)],
        "deepglobe": [DEEPGLOBE[cells(0, 7)]],
        "red": [cells(0, 2)[..., None] * np.array([255, 0, 0], dtype=np.uint8)],
    }
    texts = {"two": "binary", "indices": "4", "deepglobe": "deepglobe", "red": "binary"}
    for name, masks in kinds.items():
        pairs(tmp_path / name, masks)
        found = mask_pairs(str(tmp_path / name), "")
        assert found.palette_text == texts[name]
        again = mask_pairs(str(tmp_path / name), "", default_palette=found.palette_text)
        assert again.classes == found.classes and np.array_equal(again.mask(0, 64), found.mask(0, 64))


def test_a_default_gives_way_to_a_file_and_to_an_option(tmp_path):
    pairs(tmp_path, [cells(0, 2)])
    assert mask_pairs(str(tmp_path), "", default_palette="3").classes == ["0", "1", "2"]
    (tmp_path / "palette.json").write_text('{"a": [9, 9, 9], "b": [1, 2, 3]}')
    assert mask_pairs(str(tmp_path), "", default_palette="3").classes == ["a", "b"]
    assert mask_pairs(str(tmp_path), "", palette="4", default_palette="3").classes == ["0", "1", "2", "3"]


def test_a_mask_on_its_side_and_one_of_another_size(tmp_path):
    pairs(tmp_path, [cells(0, 3)])
    for shape, reason in (
        ((30, 24), ": it is rotated by 90 degrees"),
        ((48, 60), ": .* nearest-neighbor"),
        ((7, 9), "$"),
    ):
        Image.fromarray(cells(0, 3, (60, 60))[: shape[0], : shape[1]]).save(tmp_path / "0_mask.png")
        dataset = mask_pairs(str(tmp_path), "", palette="3")
        with pytest.raises(ValueError, match=f"is {shape[0]} x {shape[1]} pixels, the image 24 x 30{reason}"):
            dataset.mask(0, 64)
