import numpy as np
import pytest
import torch
from PIL import Image

from ranksearch.contracts.errors import DatasetError
from ranksearch.documents import load_data, pack_image_folder


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    for label, name in enumerate(["ant", "bee"]):
        (root / name).mkdir(parents=True)
        for index in range(3):
            pixels = np.full((8, 8, 3), 50 * label + 10 * index, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def test_labels_follow_the_sorted_folders(folder, tmp_path):
    data = load_data(pack_image_folder(folder, tmp_path / "d", size=8))
    values = data.raw()[:, 0, 0, 0].tolist()
    assert data.labels.tolist() == [int(value >= 50) for value in values]
    assert sorted(values) == [0, 10, 20, 50, 60, 70]
    assert data.class_names == ("ant", "bee")


def test_the_order_depends_on_the_seed_alone(folder, tmp_path):
    one, two, other = (
        load_data(pack_image_folder(folder, tmp_path / name, size=8, seed=seed)).raw()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_limit_takes_so_many(folder, tmp_path):
    assert len(load_data(pack_image_folder(folder, tmp_path / "d", size=8, limit=2))) == 2


def test_images_are_cut_around_their_middle(folder, tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 200
    for file in folder.rglob("*.png"):
        Image.fromarray(pixels).save(file)
    data = load_data(pack_image_folder(folder, tmp_path / "d", size=4))
    assert bool((data.raw() == 200).all())


def test_a_shorter_side_is_scaled_before_cutting(folder, tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[2:6, 2:6] = 200
    for file in folder.rglob("*.png"):
        Image.fromarray(pixels).save(file)
    data = load_data(pack_image_folder(folder, tmp_path / "d", size=(2, 4), resize_shorter=8))
    assert data.image_shape == (3, 2, 4)
    assert bool((data.raw() == 200).all())


def test_grey_and_transparent_images_become_rgb(folder, tmp_path):
    Image.new("L", (8, 8), 7).save(folder / "ant" / "0.png")
    Image.new("RGBA", (8, 8), (7, 7, 7, 0)).save(folder / "ant" / "1.png")
    assert load_data(pack_image_folder(folder, tmp_path / "d", size=8)).image_shape == (3, 8, 8)


def test_a_folder_without_classes_has_no_labels(folder, tmp_path):
    assert load_data(pack_image_folder(folder / "ant", tmp_path / "d", size=8)).labels is None


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_broken_image_is_named(folder, tmp_path, content):
    (folder / "bee" / "broken.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"broken\.png") as caught:
        pack_image_folder(folder, tmp_path / "d", size=8)
    assert caught.value.code == "dataset_source_unreadable"
    assert not (tmp_path / "d").exists()


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError) as caught:
        pack_image_folder(tmp_path / "images", tmp_path / "d", size=8)
    assert caught.value.code == "dataset_empty"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError) as caught:
        pack_image_folder(tmp_path / "gone", tmp_path / "d", size=8)
    assert caught.value.code == "dataset_source_unreadable"
