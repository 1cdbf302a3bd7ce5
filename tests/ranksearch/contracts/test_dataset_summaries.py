import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from ranksearch.contracts.dataset_summaries import check_dataset_values, summarise_dataset
from ranksearch.contracts.errors import DatasetError

DATA = {"format": "ranksearch.dataset/1", "layout": "NCHW", "mean": "[0.5, 0, 0]", "std": "[1, 1, 1]"}


@pytest.fixture
def data(tmp_path):
    def written(images=None, labels=None, extra=None, **changes):
        images = torch.rand(6, 3, 4, 5) if images is None else images
        tensors = {"images": images, **({} if labels is None else {"labels": labels}), **(extra or {})}
        metadata = {name: text for name, text in {**DATA, **changes}.items() if text is not None}
        save_file(tensors, tmp_path / "d.safetensors", metadata)
        return tmp_path / "d.safetensors"

    return written


def dataset_code(path, read=summarise_dataset):
    with pytest.raises(DatasetError) as caught:
        read(path)
    return caught.value.code


def test_a_data_set_is_summarised(data):
    summary = summarise_dataset(data(labels=torch.tensor([0, 4, 1, 2, 1, 0]), class_names='["a","b","c","d","e","f"]'))
    assert (summary.count, summary.image_shape, summary.dtype) == (6, (3, 4, 5), "float32")
    assert (summary.label_min, summary.label_max, summary.num_classes) == (0, 4, 6)
    assert summary.mean == (0.5, 0.0, 0.0)


def test_the_last_size_of_nhwc_images_is_the_channels(data):
    images = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
    assert summarise_dataset(data(images, layout="NHWC")).image_shape == (3, 4, 5)


def test_the_number_of_classes_follows_from_the_labels(data):
    assert summarise_dataset(data(labels=torch.tensor([0, 6, 1, 2, 1, 0]))).num_classes == 7


def test_without_labels_there_are_no_classes(data):
    assert summarise_dataset(data()).num_classes is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": "ranksearch.dataset/2"}, "dataset_header_invalid"),
        ({"layout": "CHWN"}, "dataset_header_invalid"),
        ({"mean": "[0, 0]"}, "dataset_header_invalid"),
        ({"mean": "[0, 0, 1e999]"}, "dataset_header_invalid"),
        ({"std": "[1, 1, 0]"}, "dataset_header_invalid"),
        ({"std": None}, "dataset_header_invalid"),
        ({"images": torch.zeros(0, 3, 4, 4)}, "dataset_empty"),
        ({"images": torch.zeros(3, 4, 4)}, "dataset_shape_mismatch"),
        ({"images": torch.zeros(2, 3, 4, 4, dtype=torch.int64)}, "dataset_wrong_dtype"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "dataset_labels_mismatch"),
        ({"labels": torch.zeros(6)}, "dataset_wrong_dtype"),
        ({"labels": torch.tensor([0, 1, 2, -1, 0, 0])}, "dataset_labels_out_of_range"),
        ({"labels": torch.tensor([0, 1, 2, 1, 0, 0]), "class_names": '["a", "b"]'}, "dataset_labels_out_of_range"),
        ({"extra": {"more": torch.zeros(1)}}, "dataset_header_invalid"),
    ],
)
def test_a_data_set_that_contradicts_itself_is_refused(data, changes, code):
    assert dataset_code(data(**changes)) == code


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_first_image_that_is_not_finite_is_named(data, value, dtype):
    images = torch.rand(6, 3, 4, 5).to(dtype)
    images[4, 2, 3, 4] = value
    images[5] = value
    path = data(images)
    assert dataset_code(path, check_dataset_values) == "dataset_not_finite"
    with pytest.raises(DatasetError) as caught:
        check_dataset_values(path)
    assert caught.value.extra["image"] == 4


def test_finite_images_pass(data):
    assert check_dataset_values(data()).count == 6


def test_values_are_checked_across_chunks(data, monkeypatch):
    monkeypatch.setattr("ranksearch.contracts.dataset_summaries._CHUNK_ELEMENTS", 7)
    images = torch.rand(6, 3, 4, 5)
    images[3, 1, 0, 0] = float("nan")
    with pytest.raises(DatasetError) as caught:
        check_dataset_values(data(images))
    assert caught.value.extra["image"] == 3


def test_needs_neither_torch_nor_numpy():
    program = "import sys, ranksearch.contracts.dataset_summaries; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []
