import ast
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import ssl_seg
from ssl_seg.datasets.csv_labels import csv_labels
from ssl_seg.errors import DataError
from ssl_seg.testing import check_dataset

SOURCE = Path(ssl_seg.__file__).parent
WITH_ADVICE = [
    *(
        SOURCE / "data" / f"{name}.py"
        for name in ("files", "first_look", "label_alignment", "splits", "tables")
    ),
    *(SOURCE / "datasets" / f"{name}.py" for name in ("csv_labels", "flat_folder", "image_folder")),
    SOURCE / "workflows" / "data.py",
]
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
        ("a.png,x\nb.png,y\n\na.png,x\n", r"a.png \(first in line 2\)", 5),
        ("a.png,x\nb.png,\n", "empty label", 3),
        ("a.png,x\nb.png\n", "empty label", 3),
        ("a.png,x\nb.png,  \n", "empty label", 3),
        (",x\n", "empty filename", 2),
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
    with pytest.raises(DataError, match=r"no train\.csv or val\.csv") as error:
        csv_labels(str(folder), "val")
    assert error.value.next.endswith("/x.csv")


def test_where_a_sample_is_named(folder):
    text = 'id,filename,label\n1,a.png,"two\nlines"\n2,b.png,dog\n'
    path = write(folder / "x.csv", text)
    assert csv_labels(path, "").origin(1) == f"{path}, line 4: b.png"


def test_an_id_twice_is_refused_and_ids_may_be_left_out(folder):
    with pytest.raises(DataError, match=r"duplicate id '7' \(first in line 2\)") as error:
        csv_labels(write(folder / "x.csv", "id,filename,label\n7,a.png,a\n7,b.png,b\n"), "")
    assert error.value.where.endswith("x.csv, line 3")
    assert len(csv_labels(write(folder / "x.csv", "id,filename,label\n,a.png,a\n,b.png,b\n"), "")) == 2


# ------------------------------------------------------------------------------- what others write, and mean


@pytest.mark.parametrize("separator", [";", "\t"])
def test_semicolons_and_tabs(folder, separator):
    text = f'filename{separator}label\na.png{separator}"cat{separator}2"\n"c, d.png"{separator}1,5\n'
    dataset = csv_labels(write(folder / "x.csv", text, "utf-8-sig"), "")
    assert list(dataset.samples) == [("a.png", 1), ("c, d.png", 0)]
    assert dataset.classes == ["1,5", f"cat{separator}2"]


def test_names_of_columns_in_any_case_with_space_around_them(folder):
    dataset = csv_labels(write(folder / "x.csv", ' FileName , "Label"\na.png, cat\n'), "")
    assert list(dataset.samples) == [("a.png", 0)] and dataset.classes == ["cat"]


def refused(path, what):
    with pytest.raises(DataError) as error:
        csv_labels(path, "")
    assert what in error.value.what and error.value.next, error.value.what
    return error.value


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("image_id,label", "image_id"),
        ("id,image,label", "image"),
        ("path,class", "path"),
        ("label;file", "file"),
        ("Img Path,label", "img path"),
    ],
)
def test_a_column_of_another_name_is_renamed_by_the_command_that_is_said(folder, header, found):
    row = {"id": "7", "label": "cat", "class": "cat"}
    separator = ";" if ";" in header else ","
    values = [row.get(name, "a.png") for name in header.split(separator)]
    path = write(folder / "x.csv", f"{header}\n{separator.join(values)}\n")
    error = refused(path, f"no column 'filename'; did you mean {found!r}?")
    subprocess.run(error.next, shell=True, check=True)
    assert next(iter(csv_labels(path, "").samples))[0] == "a.png"


def test_a_file_without_names_of_columns_gets_them_by_the_command_that_is_said(folder):
    path = write(folder / "x.csv", "a.png,cat\nb.png,dog\n")
    error = refused(path, "the first line has no column names")
    subprocess.run(error.next, shell=True, check=True)
    assert csv_labels(path, "").classes == ["cat", "dog"]


def test_columns_of_which_none_is_alike(folder):
    error = refused(write(folder / "x.csv", "a,b\n1,2\n"), "no column 'filename'")
    assert "a, b" in error.where


@pytest.mark.parametrize(("encoding", "coding"), [("utf-16", "UTF-16"), ("cp1252", "WINDOWS-1252")])
def test_another_encoding_is_converted_by_the_command_that_is_said(folder, encoding, coding, monkeypatch):
    path = write(folder / "x.csv", "filename,label\nü.png,x\n", encoding)
    error = refused(path, "not UTF-8 text")
    assert coding in error.next
    monkeypatch.chdir(folder)
    subprocess.run(error.next, shell=True, check=True)
    assert [name for name, _ in csv_labels(path, "").samples] == ["ü.png"]


def test_folders_separated_by_backslashes_are_mended_by_the_command_that_is_said(folder):
    path = write(folder / "x.csv", "filename,label\nsub\\e.png,x\na.png,x\n")
    error = refused(path, "image not found")
    command = error.next.partition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    assert [name for name, _ in csv_labels(path, "").samples] == ["sub/e.png", "a.png"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a", "write a.png"),
        ("sub/e", "write sub/e.png"),
        ("'a.png'", "write a.png"),
        ("A.PNG", "write a.png"),
        ("/home/me/data/sub/e.png", "names are relative to FOLDER: write sub/e.png"),
        ("e.png", "-o data.images=FOLDER/sub "),
        ("gone.png", "-o data.images=FOLDER "),
    ],
)
def test_what_may_have_been_meant_by_a_name(folder, name, meant):
    error = refused(
        write(folder / "x.csv", f"filename,label\n{name},x\nb.png,y\nno.png,y\n"), "image not found"
    )
    meant = meant.replace("FOLDER", "FOLDER" if name == "gone.png" else str(folder))
    assert error.next.startswith(meant)
    assert error.where.endswith("line 2, and 1 more")


def test_two_columns_of_one_name(folder):
    error = refused(write(folder / "x.csv", "filename,label,Label\na.png,x,y\n"), "duplicate column 'label'")
    assert error.where.endswith("line 1: filename, label, label")


def test_a_row_of_too_many_values(folder):
    error = refused(
        write(folder / "x.csv", "filename,label\na.png,x\nc, d.png,x\n"), "3 values for 2 columns"
    )
    assert error.where.endswith("line 3") and "double quotes" in error.next
    assert (
        len(csv_labels(write(folder / "y.csv", "filename,label\na.png,x,\n"), "")) == 1
    )  # as Excel writes it


@pytest.mark.parametrize("label", ["1.0", "12.00", "-3.0"])
def test_whole_numbers_with_a_fraction_are_no_labels(folder, label):
    """`1` and `1.0` would be two classes."""
    error = refused(write(folder / "x.csv", f"filename,label\na.png,2\nb.png,{label}\n"), "is not an integer")
    assert error.where.endswith("line 3") and error.next.startswith(f"write {label.partition('.')[0]};")
    assert csv_labels(write(folder / "y.csv", "filename,label\na.png,3.11\n"), "").classes == ["3.11"]


@pytest.mark.parametrize("other", ["./a.png", "sub/../a.png", "sub//../a.png"])
def test_a_file_twice_under_two_names(folder, other):
    error = refused(
        write(folder / "x.csv", f"filename,label\na.png,x\n{other},y\n"), f"{other} (first in line 2"
    )
    assert "as a.png" in error.what and error.where.endswith("line 3")


def test_every_refusal_says_what_to_do():
    """Walks the source: a `DataError` here without `next` leaves a stranger alone."""
    for path in WITH_ADVICE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DataError":
                assert any(word.arg == "next" for word in node.keywords), f"{path}:{node.lineno}"
