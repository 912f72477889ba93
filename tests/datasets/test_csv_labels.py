import pytest
from PIL import Image

from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.errors import DataError
from ssl_seg.testing import check_dataset

NAMES = ["a.png", "b.png", "c, d.png", "sub/e.png", "ü.png"]


@pytest.fixture
def folder(tmp_path):
    """Five images beside where the CSV files go."""
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 5), "red").save(path)
    return tmp_path


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return str(path)


TEXT = """filename,id,label
a.png,1,cat
b.png,2,dog
"c, d.png",3,cat
sub/e.png,4,"big, dog"
ü.png,5,dog
"""


def test_names_and_labels(folder):
    dataset = csv_labels(write(folder / "x.csv", TEXT), "")
    check_dataset(dataset)
    assert dataset.classes == ["big, dog", "cat", "dog"]
    assert list(dataset.samples) == list(zip(NAMES, [1, 2, 1, 0, 2], strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n\n"])
def test_byte_order_mark_line_ends_and_blank_lines(folder, encoding, ending, tail):
    text = (TEXT.rstrip("\n") + tail).replace("\n", ending)
    assert list(csv_labels(write(folder / "x.csv", text, encoding), "").samples) == list(
        csv_labels(write(folder / "y.csv", TEXT), "").samples
    )


def test_columns_in_any_order_and_others_besides(folder):
    dataset = csv_labels(write(folder / "x.csv", "label,size,filename\n cat ,3, a.png \ndog,4,b.png\n"), "")
    assert list(dataset.samples) == [("a.png", 0), ("b.png", 1)] and dataset.classes == ["cat", "dog"]


def test_numbers_are_ordered_as_numbers_before_words(folder):
    rows = zip(NAMES[:2] + NAMES[3:], ["10", "9", "x", "2"], strict=True)
    text = "filename,label\n" + "".join(f"{name},{label}\n" for name, label in rows)
    assert csv_labels(write(folder / "x.csv", text), "").classes == ["2", "9", "10", "x"]


def test_labels_that_read_as_the_same_number_have_one_order(folder):
    """Sets of text are ordered by chance, anew in every process; classes must not be."""
    labels = ["0" * zeros + "1" for zeros in range(12)]
    for label in labels:
        (folder / label).touch()
    text = "filename,label\n" + "".join(f"{label},{label}\n" for label in labels)
    assert csv_labels(write(folder / "x.csv", text), "").classes == sorted(labels)


def test_without_a_label_column(folder):
    dataset = csv_labels(write(folder / "x.csv", "id,filename\n1,a.png\n2,b.png\n"), "")
    check_dataset(dataset)
    assert not dataset.classes and [target for _, target in dataset.samples] == [-1, -1]


def test_the_folder_beside_the_csv_with_its_name(tmp_path):
    for name in ("train/a.png", "val/a.png", "a.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 5)).save(path)
    for name in ("train", "val", "test"):
        write(tmp_path / f"{name}.csv", "filename,label\na.png,x\n")
    assert csv_labels(str(tmp_path / "train.csv"), "").root == tmp_path / "train"
    assert csv_labels(str(tmp_path), "val").root == tmp_path / "val"
    assert csv_labels(str(tmp_path), "").root == tmp_path / "train"
    assert csv_labels(str(tmp_path), "test").root == tmp_path
    assert csv_labels(str(tmp_path), "val", images=str(tmp_path)).root == tmp_path


@pytest.mark.parametrize(
    ("rows", "what", "line"),
    [
        ("a.png,x\ngone.png,x\n", "gone.png", 3),
        ("a.png,x\nb.png,y\n\na.png,x\n", "a.png is also in line 2", 5),
        ("a.png,x\nb.png,\n", "an empty label", 3),
        ("a.png,x\nb.png\n", "an empty label", 3),
        ("a.png,x\nb.png,  \n", "an empty label", 3),
        (",x\n", "an empty file name", 2),
    ],
)
def test_a_wrong_line_is_named(folder, rows, what, line):
    path = write(folder / "x.csv", "filename,label\n" + rows)
    with pytest.raises(DataError, match=what) as error:
        csv_labels(path, "")
    assert error.value.where == f"{path}, line {line}"


def test_a_missing_column_is_named_with_what_was_meant(folder):
    path = write(folder / "x.csv", "id,filenames,label\n1,a.png,x\n")
    with pytest.raises(DataError, match="no column 'filename'; did you mean 'filenames'") as error:
        csv_labels(path, "")
    assert "line 1" in error.value.where and "filenames" in error.value.where


@pytest.mark.parametrize("text", ["", "filename,label\n"])
def test_a_csv_without_images(folder, text):
    with pytest.raises(DataError):
        csv_labels(write(folder / "x.csv", text), "")


def test_what_is_no_csv(folder):
    with pytest.raises(DataError, match=r"cannot read .*gone\.csv"):
        csv_labels(str(folder / "gone.csv"), "")
    with pytest.raises(DataError, match="cannot read"):
        csv_labels(write(folder / "x.csv", "filename,label\nü.png,x\n", "latin-1"), "")
    with pytest.raises(DataError, match="cannot read"):
        csv_labels(str(folder), "val")


def test_where_a_sample_is_named(folder):
    text = 'id,filename,label\n1,a.png,"two\nlines"\n2,b.png,dog\n'
    path = write(folder / "x.csv", text)
    assert csv_labels(path, "").origin(1) == f"{path}, line 4: b.png"


def test_an_id_twice_is_refused_and_ids_may_be_left_out(folder):
    with pytest.raises(DataError, match="id '7' is also in line 2") as error:
        csv_labels(write(folder / "x.csv", "id,filename,label\n7,a.png,a\n7,b.png,b\n"), "")
    assert error.value.where.endswith("x.csv, line 3")
    assert len(csv_labels(write(folder / "x.csv", "id,filename,label\n,a.png,a\n,b.png,b\n"), "")) == 2
