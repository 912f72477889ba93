import pytest
from PIL import Image

from ssl_seg.datasets.flat_folder import flat_folder
from ssl_seg.errors import DataError
from ssl_seg.testing import check_dataset


def test_every_image_without_a_label(photos):
    dataset = flat_folder(str(photos), "")
    check_dataset(dataset)
    assert len(dataset) == 24 and not list(dataset.classes)
    assert {target for _, target in dataset.samples} == {-1}
    assert {path.split("/")[0] for path, _ in dataset.samples} == {"a", "b"}


def test_a_split_is_a_subfolder_if_there_is_one(photos):
    assert [path for path, _ in flat_folder(str(photos), "a").samples] == [
        f"{index:03d}.jpg" for index in range(1, 24, 2)
    ]
    assert len(flat_folder(str(photos), "val")) == 24


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no images found in"):
        flat_folder(str(tmp_path), "")
    with pytest.raises(DataError, match="folder not found"):
        flat_folder(str(tmp_path / "gone"), "")


def test_masks_beside_their_images_are_left_out_and_told(tmp_path, caplog):
    for name in ("1_sat.jpg", "1_mask.png", "2_sat.jpg", "2_mask.png", "3.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    dataset = flat_folder(str(tmp_path), "")
    assert [path.rsplit("/")[-1] for path, _ in dataset.samples] == ["1_sat.jpg", "2_sat.jpg", "3.jpg"]
    assert "2 of 5 images" in caplog.text and "1_mask.png" in caplog.text and "data.masks=true" in caplog.text
    assert len(flat_folder(str(tmp_path), "", masks=True)) == 5
