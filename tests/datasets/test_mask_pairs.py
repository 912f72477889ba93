"""Images with masks: layouts, palettes, sizes, and everything that can be wrong with a mask."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ssl_seg.data.image_cache import open_image_cache
from ssl_seg.data.mask_files import MaskReader, downsample_mask
from ssl_seg.data.palette_text import read_palette
from ssl_seg.data.palettes import BUILT_IN_PALETTES, voc_colormap
from ssl_seg.datasets.mask_pairs import mask_pairs
from ssl_seg.errors import DataError, UsageError
from ssl_seg.testing import check_dataset
from ssl_seg.utils.options import check_options

DEEPGLOBE = BUILT_IN_PALETTES["deepglobe"]
KEYS = ["0013", "0062", "0104", "0200"]
SHAPE = (24, 30)


def classes_of(key, count=7, shape=SHAPE):
    """A mask in coarse cells that holds every class."""
    random = np.random.default_rng(int(key))
    coarse = random.permutation(np.arange(shape[0] // 6 * (shape[1] // 6)) % count)
    return coarse.reshape(shape[0] // 6, -1).repeat(6, 0).repeat(6, 1).astype(np.uint8)


def photo(path, shape=SHAPE, **how):
    random = np.random.default_rng(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path, **how)


def draw(path, classes, palette=DEEPGLOBE):
    """A mask in RGB colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(palette.array[classes]).save(path)


@pytest.fixture
def folder(tmp_path):
    """The layout of the course: `0013_sat.jpg` and `0013_mask.png`."""
    root = tmp_path / "data" / "train"
    for key in KEYS:
        photo(root / f"{key}_sat.jpg")
        draw(root / f"{key}_mask.png", classes_of(key))
    return root


@pytest.fixture
def indexed(tmp_path):
    """Two folders: images, and masks of indices."""
    root = tmp_path / "data"
    for key in KEYS:
        photo(root / "images" / f"{key}.jpg")
        path = root / "masks" / f"{key}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(classes_of(key)).save(path)
    return root


def two(root, split="", **options):
    return mask_pairs(str(root), split, images="images", masks="masks", **options)


# --- layouts --------------------------------------------------------------------------------------


def test_the_layout_of_the_course(folder):
    dataset = mask_pairs(str(folder), "")
    check_dataset(dataset)
    assert dataset.masks and list(dataset.samples) == [(f"{key}_sat.jpg", -1) for key in KEYS]
    assert list(dataset.mask_files.samples) == [(f"{key}_mask.png", -1) for key in KEYS]
    names = ["urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown"]
    assert dataset.classes == names and dataset.exclude == ["unknown"]
    assert dataset.palette[4].tolist() == [0, 0, 255] and dataset.palette.dtype == np.uint8
    assert dataset.palette_source == dataset.palette_text == "deepglobe"
    expected = "the palette deepglobe, detected by 7 of its 7 colors on 100.0 % of the pixels of 4 masks"
    assert dataset.how == expected
    for index, key in enumerate(KEYS):
        mask = dataset.mask(index, 64)
        assert mask.dtype == np.uint8 and np.array_equal(mask, classes_of(key))


def test_a_split_is_a_folder_below(folder):
    assert mask_pairs(str(folder.parent), "train").root == folder
    assert mask_pairs(str(folder), "train").root == folder


def test_two_folders(indexed):
    dataset = two(indexed, palette="deepglobe")
    check_dataset(dataset)
    assert list(dataset.samples) == [(f"{key}.jpg", -1) for key in KEYS]
    assert np.array_equal(dataset.mask(1, 64), classes_of(KEYS[1]))


def test_two_folders_with_splits_subfolders_and_suffixes(tmp_path):
    for city in ("aachen", "ulm"):
        photo(tmp_path / "left" / "val" / city / "0013_img8.png")
        draw(tmp_path / "fine" / "val" / city / "0013_ids.png", classes_of("13"))
        draw(tmp_path / "fine" / "val" / city / "0013_color.png", classes_of("62"))
    options = {"images": "left", "masks": "fine", "image_suffix": "_img8", "mask_suffix": "_ids"}
    dataset = mask_pairs(str(tmp_path), "val", **options)
    assert [name for name, _ in dataset.samples] == ["aachen/0013_img8.png", "ulm/0013_img8.png"]
    assert np.array_equal(dataset.mask(1, 64), classes_of("13"))


def test_images_are_all_that_is_no_mask_without_a_suffix(tmp_path):
    photo(tmp_path / "13.jpg")
    draw(tmp_path / "13_m.png", classes_of("13"))
    dataset = mask_pairs(str(tmp_path), "", image_suffix="", mask_suffix="_m")
    assert list(dataset.samples) == [("13.jpg", -1)]
    with pytest.raises(UsageError, match="require mask_suffix"):
        mask_pairs(str(tmp_path), "", image_suffix="", mask_suffix="")


def test_options_are_checked(folder):
    with pytest.raises(UsageError, match="must be given together"):
        mask_pairs(str(folder), "", images="x")
    with pytest.raises(UsageError, match="stray"):
        check_options(mask_pairs, "dataset mask_pairs", {"stray": "skip"})
    assert check_options(mask_pairs, "", {"palette": "7"}) == {"palette": "7"}


# --- the same pixels as the image -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(25, 31), (97, 61), (131, 97), (301, 201), (67, 641)])
@pytest.mark.parametrize("canvas", [64, 33])
@pytest.mark.parametrize("end", ["jpg", "png"])
def test_a_mask_is_reduced_as_its_image_is(tmp_path, shape, canvas, end):
    photo(tmp_path / f"1_sat.{end}", shape)
    whole = np.random.default_rng(0).integers(0, 7, shape, dtype=np.uint8)
    draw(tmp_path / "1_mask.png", whole)
    dataset = mask_pairs(str(tmp_path), "")
    image, size = dataset.image(0, canvas)
    assert size == shape
    for mask in (dataset.mask(0, canvas), mask_pairs(str(tmp_path), "").mask(0, canvas)):
        assert mask.shape == image.shape[:2] and max(mask.shape) <= canvas
        nearest = Image.fromarray(whole).resize(mask.shape[::-1], Image.Resampling.NEAREST)
        assert np.array_equal(mask, np.asarray(nearest))


def test_the_class_of_a_cell_is_that_at_its_centre():
    mask = np.arange(12, dtype=np.uint8)[None]
    assert downsample_mask(mask, 1, 4).tolist() == [[1, 4, 7, 10]]
    assert downsample_mask(mask, 1, 12) is mask


def test_a_turned_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "1_sat.jpg", (30, 24), exif=exif)
    draw(tmp_path / "1_mask.png", classes_of("13"))
    dataset = mask_pairs(str(tmp_path), "")
    assert dataset.image(0, 64)[1] == SHAPE and np.array_equal(dataset.mask(0, 64), classes_of("13"))


def test_in_a_store(folder, tmp_path):
    image_cache = open_image_cache(mask_pairs(str(folder), ""), 32, tmp_path / "cache")
    for row, key in enumerate(KEYS):
        assert np.array_equal(image_cache.masks[row, :24, :30].numpy(), classes_of(key))
        assert (image_cache.masks[row, 24:] == 255).all()


def test_identity_changes_with_the_mask_and_how_it_is_read(folder):
    def identities(**options):
        return [mask_pairs(str(folder), "", **options).identity(index) for index in range(4)]

    first = identities()
    assert identities() == first
    for other in ({"stray": "ignore"}, {"stray": "unknown"}, {"colours": "bits"}):
        assert not set(identities(**other)) & set(first)
    os.utime(folder / "0062_mask.png", ns=(1, 1))
    assert identities() == first
    draw(folder / "0104_mask.png", classes_of("62"))
    assert [one == two for one, two in zip(identities(), first, strict=True)] == [True, True, False, True]
    Image.new("RGB", (30, 24), "red").save(folder / "0200_sat.jpg")
    assert [one == two for one, two in zip(identities(), first, strict=True)] == [True, True, False, False]


# --- palettes -------------------------------------------------------------------------------------

SIMPLE = {"soil": [10, 20, 30], "sea": [0, 0, 250]}
LONG = {
    "classes": [{"id": 1, "name": "sea", "rgb": [0, 0, 250]}, {"id": 0, "name": "soil", "rgb": [10, 20, 30]}],
    "ignore": "sea",
}


@pytest.mark.parametrize(
    ("content", "exclude"),
    [(SIMPLE, []), (LONG, ["sea"]), ({**LONG, "ignore": 0}, ["soil"]), ({**LONG, "ignore": 255}, [])],
)
@pytest.mark.parametrize("place", ["data/palette.json", "data/train/palette.json", "else.json"])
def test_a_palette_in_a_file(folder, tmp_path, content, exclude, place):
    (tmp_path / place).write_text(json.dumps(content))
    wanted = {"palette": str(tmp_path / place)} if place == "else.json" else {}
    palette = read_palette(str(tmp_path / place))
    for key in KEYS:
        draw(folder / f"{key}_mask.png", classes_of(key, 2), palette)
    dataset = mask_pairs(str(folder), "", **wanted)
    assert dataset.classes == ["soil", "sea"] and dataset.exclude == exclude
    assert dataset.palette.tolist() == [[10, 20, 30], [0, 0, 250]]
    assert dataset.palette_source == str(tmp_path / place)
    assert np.array_equal(dataset.mask(0, 64), classes_of(KEYS[0], 2))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "Expecting"),
        ("[]", "defines no classes"),
        ("{}", "defines no classes"),
        ('{"a": [1, 2]}', r"\[1, 2\] is not a color"),
        ('{"a": [1, 2, 256]}', "is not a color"),
        ('{"a": [1, 2, 0.5]}', "is not a color"),
        ('{"a": [1, 2, 3], "b": [1, 2, 3]}', r"\(1, 2, 3\) is duplicated"),
        (
            '{"classes": [{"name": "a", "rgb": [1, 2, 3]}, {"name": "a", "rgb": [1, 2, 4]}]}',
            "a is duplicated",
        ),
        ('{"classes": [{"name": "a"}]}', "no 'rgb'"),
        ('{"classes": [{"id": 1, "name": "a", "rgb": [1, 2, 3]}]}', r"the ids are \[1\], not 0 to 0"),
        ('{"classes": [{"name": "a", "rgb": [1, 2, 3]}], "ignore": "b"}', "no class 'b' to ignore"),
    ],
)
def test_a_file_that_is_no_palette(tmp_path, text, what):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match=f"p.json is not a palette: .*{what}"):
        read_palette(str(tmp_path / "p.json"))


def test_a_palette_that_is_not_there():
    with pytest.raises(UsageError, match="no palette 'deepglob'; did you mean 'deepglobe'"):
        read_palette("deepglob")
    with pytest.raises(UsageError, match="1 to 254 classes, not 300"):
        read_palette("300")


@pytest.mark.parametrize("name", list(BUILT_IN_PALETTES))
def test_built_in_palettes_are_recognised(folder, name):
    palette = BUILT_IN_PALETTES[name]
    truth = {key: classes_of(key, min(20, len(palette.names))) for key in KEYS}
    for key, classes in truth.items():
        draw(folder / f"{key}_mask.png", classes, palette)
    dataset = mask_pairs(str(folder), "")
    assert dataset.classes == list(palette.names) and len(set(palette.colours)) == len(palette.names)
    assert all(np.array_equal(dataset.mask(row, 64), truth[key]) for row, key in enumerate(KEYS))


def test_colours_of_no_known_palette(folder):
    for key in KEYS:
        draw(folder / f"{key}_mask.png", classes_of(key), read_palette("7"))
    Image.new("RGB", SHAPE[::-1], (1, 2, 3)).save(folder / "0013_mask.png")
    with pytest.raises(DataError, match="no built-in palette") as error:
        mask_pairs(str(folder), "")
    assert "(1, 2, 3)" in error.value.where and "palette=FILE.json" in error.value.next


def test_the_colours_of_pascal_voc():
    colours = voc_colormap(256)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 5: (128, 0, 128), 8: (64, 0, 0)}
    known |= {15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    assert {index: colours[index] for index in known} == known and len(set(colours)) == 256
    border = MaskReader(BUILT_IN_PALETTES["voc"]).palette.table
    assert border[(224 << 16) + (224 << 8) + 192] == 255


# --- indices --------------------------------------------------------------------------------------


def test_indices_are_counted_without_a_palette(indexed):
    dataset = two(indexed)
    assert dataset.classes == [str(index) for index in range(7)]
    assert dataset.palette.tolist() == [list(colour) for colour in voc_colormap(7)]
    assert dataset.palette_source == "the number of classes in the masks"


@pytest.mark.parametrize("mode", ["L", "I;16", "I", "P", "1"])
def test_indices_in_every_kind_of_grey(indexed, mode):
    for key in KEYS:
        classes = classes_of(key, 2)
        if mode != "1":
            classes[0, :5] = 255
        kinds = {"I;16": np.uint16, "I": np.int32, "1": bool}
        image = Image.fromarray(classes.astype(kinds.get(mode, np.uint8)))
        if mode == "P":
            image.putpalette([5, 6, 7, 200, 100, 50] + 762 * [0])
        assert image.mode == mode
        (indexed / "masks" / f"{key}.png").unlink()
        image.save(indexed / "masks" / f"{key}.{'tif' if mode == 'I' else 'png'}")
    for options in ({}, {"palette": "2"}):
        dataset = two(indexed, **options)
        assert dataset.classes == (["background", "object"] if mode == "1" and not options else ["0", "1"])
        found, expected = dataset.mask(0, 64), classes_of(KEYS[0], 2)
        if mode != "1":
            expected[0, :5] = 255
        assert np.array_equal(found, expected)
    if mode == "P":
        assert two(indexed).palette.tolist() == [[5, 6, 7], [200, 100, 50]]


@pytest.mark.parametrize("shown", [True, False])
def test_a_palette_png_holds_colours_if_the_palette_has_them(indexed, shown):
    """An image tool numbers colours as it likes; a labelling tool numbers classes and colours them as it likes."""
    order = [3, 1, 0, 2, 6, 5, 4]
    for key in KEYS:
        image = Image.fromarray(
            np.argsort(order).astype(np.uint8)[classes_of(key)] if shown else classes_of(key)
        )
        colours = DEEPGLOBE.array[order] if shown else DEEPGLOBE.array // 2 + 1
        image.putpalette(colours.flatten().tolist())
        image.save(indexed / "masks" / f"{key}.png")
    dataset = two(indexed, palette="deepglobe")
    assert all(np.array_equal(dataset.mask(row, 64), classes_of(key)) for row, key in enumerate(KEYS))


def test_grey_colours_of_a_grey_palette(indexed):
    (indexed / "palette.json").write_text('{"background": [0, 0, 0], "road": [255, 255, 255]}')
    for key in KEYS:
        Image.fromarray(classes_of(key, 2) * 255).save(indexed / "masks" / f"{key}.png")
    assert np.array_equal(two(indexed).mask(2, 64), classes_of(KEYS[2], 2))


# --- bits -----------------------------------------------------------------------------------------


def script(colours):
    """How the course's grader reads a mask."""
    bits = (colours >= 128).astype(int)
    code = 4 * bits[..., 0] + 2 * bits[..., 1] + bits[..., 2]
    classes = np.full(code.shape, 255)
    for class_, value in enumerate([3, 6, 5, 2, 1, 7, 0]):
        classes[code == value] = class_
    return classes


def test_colours_as_bits_are_what_the_course_reads(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "m.png")
    reader = MaskReader(DEEPGLOBE, threshold_channels=True, unknown_class=255)
    assert np.array_equal(reader.read(tmp_path / "m.png"), script(colours))
    assert (script(colours) == 255).any()  # pure red


def test_bits_are_an_option_and_not_the_default(folder):
    for key in KEYS:
        colours = DEEPGLOBE.array[classes_of(key)]
        Image.fromarray(np.where(colours == 255, 200, 90).astype(np.uint8)).save(folder / f"{key}_mask.png")
    dataset = mask_pairs(str(folder), "", palette="deepglobe", colours="bits")
    assert np.array_equal(dataset.mask(0, 64), classes_of(KEYS[0]))
    with pytest.raises(ValueError, match="which is not in the palette"):
        mask_pairs(str(folder), "", palette="deepglobe").mask(0, 64)


# --- trouble between files ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [
        (lambda f: (f / "0062_mask.png").unlink(), "an image has no mask: 1 in all", "0062_sat.jpg"),
        (lambda f: (f / "0062_sat.jpg").unlink(), "a mask has no image: 1 in all", "0062_mask.png"),
        (
            lambda f: photo(f / "0062_sat.png"),
            "two images share one mask: 1 in all",
            "0062_sat.jpg and 0062_sat.png",
        ),
        (
            lambda f: draw(f / "0062_mask.tif", classes_of("62")),
            "two masks share one image: 1 in all",
            "0062_mask.png and 0062_mask.tif",
        ),
        (
            lambda f: (f / "0062_mask.png").rename(f / "0062_mask.jpg"),
            "a mask is a JPEG, whose colors are inexact",
            "0062_mask.jpg",
        ),
    ],
)
def test_files_that_are_no_pairs_are_named(folder, change, what, where):
    change(folder)
    with pytest.raises(DataError, match=what) as error:
        mask_pairs(str(folder), "")
    assert error.value.where == f"{folder}: {where}"


def test_a_folder_of_other_names(folder):
    with pytest.raises(DataError, match=r"no image-mask pairs matching \*_img and \*_mask") as error:
        mask_pairs(str(folder), "", image_suffix="_img")
    assert "8 files such as 0013_mask.png, 0013_sat.jpg" in error.value.where
    assert "image_suffix" in error.value.next
    with pytest.raises(DataError, match="folder not found"):
        mask_pairs(str(folder / "gone"), "")


def test_many_faults_are_cut_short(folder):
    for index in range(1000, 1009):
        photo(folder / f"{index}_sat.jpg")
    with pytest.raises(DataError, match="9 in all") as error:
        mask_pairs(str(folder), "")
    assert error.value.where.count("\n") == 5 and "and 4 more" in error.value.where


# --- trouble in a file ----------------------------------------------------------------------------


def red(folder, pixels=3):
    colours = DEEPGLOBE.array[classes_of("62")]
    colours.reshape(-1, 3)[:pixels] = 255, 0, 0
    colours[5, 5] = 1, 2, 3
    Image.fromarray(colours).save(folder / "0062_mask.png")
    return colours


def rgba(alpha):
    layer = np.full((*SHAPE, 1), alpha, dtype=np.uint8)
    return Image.fromarray(np.concatenate([DEEPGLOBE.array[classes_of("62")], layer], axis=2))


IN_A_FILE = [
    (
        red,
        r"3 pixels of color \(255, 0, 0\), 1 pixel of color \(1, 2, 3\), which is not in the palette",
    ),
    (
        lambda f: draw(f / "0062_mask.png", classes_of("62", shape=(30, 24))),
        "is 30 x 24 pixels, the image 24 x 30",
    ),
    (lambda f: (f / "0062_mask.png").write_bytes(b""), "the file is empty"),
    (
        lambda f: (f / "0062_mask.png").write_bytes((f / "0062_mask.png").read_bytes()[:-60]),
        "the file is truncated",
    ),
    (lambda f: (f / "0062_mask.png").write_bytes((f / "0062_sat.jpg").read_bytes()), "it is a JPEG"),
    (lambda f: rgba(254).save(f / "0062_mask.png"), "it has transparent pixels"),
    (
        lambda f: Image.fromarray(classes_of("62").astype(np.uint16)).save(f / "0062_mask.png"),
        r"pixels of color \(5, 5, 5\), .* which is not in the palette",
    ),
]


@pytest.mark.parametrize(("change", "what"), IN_A_FILE)
def test_a_bad_mask_is_named_before_training(folder, tmp_path, change, what):
    change(folder)
    dataset = mask_pairs(str(folder), "", palette="deepglobe")
    with pytest.raises(ValueError, match=f"^its mask 0062_mask.png.*{what}"):
        dataset.mask(1, 64)
    with pytest.raises(DataError, match="1 of 4 images are unreadable") as error:
        open_image_cache(dataset, 32, tmp_path / "cache")
    assert "0062_sat.jpg: its mask 0062_mask.png" in error.value.where
    assert np.array_equal(dataset.mask(2, 64), classes_of(KEYS[2]))


@pytest.mark.parametrize(
    ("classes", "what"),
    [
        (classes_of("62", 9), "80 pixels|72 pixels of index 8, .* of index 7, which is not one of 7"),
        (classes_of("62").astype(np.uint16) * 256, "of index 1280"),
        (DEEPGLOBE.array[classes_of("62")], "pixel mode RGB; expected class indices"),
    ],
)
def test_bad_indices_are_named(indexed, classes, what):
    dataset = two(indexed, palette="7")
    Image.fromarray(classes).save(indexed / "masks" / "0062.png")
    with pytest.raises(ValueError, match=f"its mask 0062.png: .*({what})"):
        dataset.mask(1, 64)


def test_opaque_pixels_are_colours(folder):
    rgba(255).save(folder / "0062_mask.png")
    assert np.array_equal(mask_pairs(str(folder), "").mask(1, 64), classes_of("62"))


def test_stray_values_can_be_ignored(folder, indexed):
    colours = red(folder, 40)
    dataset = mask_pairs(str(folder), "", palette="deepglobe", stray="ignore")
    expected = np.where(
        (colours == [255, 0, 0]).all(-1) | (colours == [1, 2, 3]).all(-1), 255, classes_of("62")
    )
    assert np.array_equal(dataset.mask(1, 64), expected)
    unknown = mask_pairs(str(folder), "", palette="deepglobe", stray="unknown").mask(1, 64)
    assert np.array_equal(unknown, np.where(expected == 255, 6, expected))
    with pytest.raises(
        UsageError, match=r"the palette \(the number of classes in the masks\) has no void class"
    ):
        two(indexed, stray="unknown")
    Image.fromarray(classes_of("62", 9)).save(indexed / "masks" / "0062.png")
    truth = classes_of("62", 9)
    found = two(indexed, palette="7", stray="ignore").mask(1, 64)
    assert np.array_equal(found, np.where(truth > 6, 255, truth))
