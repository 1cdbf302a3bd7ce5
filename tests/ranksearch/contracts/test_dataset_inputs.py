import json

import pytest
import torch
from safetensors.torch import save_file

from ranksearch.contracts.dataset_inputs import InputSummary, matched_inputs
from ranksearch.contracts.dataset_summaries import DatasetSummary, check_dataset_values, summarise_dataset
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.model_summaries import TensorSpec

RGB = {"name": "rgb", "layout": "NHWC", "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}
MANY = [{"name": f"i{at}"} for at in range(65)]
TENSORS = {"input.rgb": torch.zeros(6, 4, 5, 3, dtype=torch.uint8), "input.speed": torch.rand(6, 2)}


@pytest.fixture
def data(tmp_path):
    def written(inputs=(RGB, {"name": "speed"}), **tensors):
        metadata = {
            "format": "ranksearch.dataset/1",
            "inputs": inputs if isinstance(inputs, str) else json.dumps(inputs),
        }
        held = {name: tensor for name, tensor in {**TENSORS, **tensors}.items() if tensor is not None}
        save_file(held, tmp_path / "d.safetensors", metadata)
        return tmp_path / "d.safetensors"

    return written


def code_of(call, *args):
    with pytest.raises(DatasetError) as caught:
        call(*args)
    return caught.value.code


def test_inputs_are_summarised_in_order(data):
    summary = summarise_dataset(data(labels=torch.arange(6)))
    assert [(one.name, one.shape, one.dtype, one.layout) for one in summary.inputs] == [
        ("rgb", (3, 4, 5), "uint8", "NHWC"),
        ("speed", (2,), "float32", None),
    ]
    assert (summary.count, summary.num_classes) == (6, 6)


def test_the_first_input_stands_where_there_was_one(data):
    summary = summarise_dataset(data())
    assert (summary.image_shape, summary.dtype, summary.layout, summary.mean) == (
        (3, 4, 5),
        "uint8",
        "NHWC",
        (0.5,) * 3,
    )


def test_a_summary_of_images_alone_that_was_stored_before_is_read(data):
    told = summarise_dataset(data([{**RGB, "name": "images"}], images=TENSORS["input.rgb"], **dict.fromkeys(TENSORS)))
    stored = told.model_dump(mode="json")
    del stored["inputs"]
    assert DatasetSummary.model_validate(stored) == told


@pytest.mark.parametrize(
    ("inputs", "tensors", "code"),
    [
        ([], {}, "dataset_header_invalid"),
        ("{}", {}, "dataset_header_invalid"),
        ("[" * 100_000, {}, "dataset_header_invalid"),
        ([RGB], {}, "dataset_header_invalid"),
        ([RGB, {"name": "speed"}, {"name": "more"}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "speed"}, {"name": "speed"}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "../speed"}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "s" * 201}], {"input." + "s" * 201: torch.zeros(6)}, "dataset_header_invalid"),
        ([RGB, {"name": 5}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "speed", "path": "/"}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "speed", "mean": [0], "std": [1]}], {}, "dataset_header_invalid"),
        ([{**RGB, "mean": [0]}, {"name": "speed"}], {}, "dataset_header_invalid"),
        ([{**RGB, "std": [1, 1, 0]}, {"name": "speed"}], {}, "dataset_header_invalid"),
        ([{**RGB, "layout": "CHWN"}, {"name": "speed"}], {}, "dataset_header_invalid"),
        ([RGB, {"name": "images"}], {"images": torch.zeros(6), "input.speed": None}, "dataset_header_invalid"),
        (MANY, {f"input.{one['name']}": torch.zeros(1) for one in MANY}, "dataset_header_invalid"),
        ([RGB, {"name": "speed"}], {"input.speed": torch.rand(5, 2)}, "dataset_shape_mismatch"),
        ([RGB, {"name": "speed"}], {"input.speed": torch.tensor(1.0)}, "dataset_shape_mismatch"),
        ([RGB, {"name": "speed"}], {"input.rgb": torch.zeros(6, 4, 5)}, "dataset_shape_mismatch"),
        ([RGB, {"name": "speed"}], {"input.speed": torch.rand(6, 0)}, "dataset_empty"),
        ([RGB, {"name": "speed"}], {"input.speed": torch.rand(6, 2).double()}, "dataset_wrong_dtype"),
        ([RGB, {"name": "speed"}], {"input.rgb": torch.zeros(6, 4, 5, 3, dtype=torch.int64)}, "dataset_wrong_dtype"),
        ([RGB, {"name": "speed"}], {"labels": torch.zeros(5, dtype=torch.int64)}, "dataset_labels_mismatch"),
    ],
)  # fmt: skip
def test_inputs_that_contradict_themselves_are_refused(data, inputs, tensors, code):
    assert code_of(summarise_dataset, data(inputs, **tensors)) == code


def test_every_input_is_looked_through_for_what_is_not_finite(data):
    speed = torch.rand(6, 2)
    speed[4, 1] = float("inf")
    path = data(**{"input.speed": speed})
    summarise_dataset(path)
    with pytest.raises(DatasetError, match=r"image 4, in its speed,") as caught:
        check_dataset_values(path)
    assert (caught.value.code, caught.value.extra["image"]) == ("dataset_not_finite", 4)


def inputs(*told):
    return [
        InputSummary(name=name, shape=shape, dtype=dtype, layout=None, mean=(), std=()) for name, shape, dtype in told
    ]


def specs(*told):
    return [TensorSpec(name=name, shape=shape, dtype=dtype) for name, shape, dtype in told]


LEFT, RIGHT = ("left", (3, 4), "float32"), ("right", (3, 4), "float32")


def test_inputs_are_matched_by_name_where_all_names_are_the_same():
    assert matched_inputs(inputs(RIGHT, LEFT), specs(LEFT, RIGHT)) == [1, 0]


def test_inputs_are_matched_in_order_where_names_differ():
    assert matched_inputs(inputs(RIGHT, LEFT), specs(("a", *LEFT[1:]), ("b", *RIGHT[1:]))) == [0, 1]
    assert matched_inputs(inputs(RIGHT), [TensorSpec(shape=(3, 4), dtype="float16")]) == [0]


@pytest.mark.parametrize("given", [[LEFT], [LEFT, RIGHT, RIGHT], [LEFT, ("right", (4, 3), "float32")]])
def test_inputs_of_another_number_or_shape_are_refused(given):
    assert code_of(matched_inputs, inputs(*given), specs(LEFT, RIGHT)) == "dataset_shape_mismatch"


def test_the_refusal_names_all_inputs():
    with pytest.raises(DatasetError) as caught:
        matched_inputs(inputs(LEFT), specs(LEFT, RIGHT))
    assert (caught.value.got, caught.value.expected) == ("[3, 4]", "left [3, 4], right [3, 4]")


def test_whole_numbers_may_be_taken_for_floats_and_not_the_reverse():
    words = ("words", (7,), "int64")
    assert matched_inputs(inputs(words), specs(("words", (7,), "float32"))) == [0]
    assert code_of(matched_inputs, inputs(("words", (7,), "float32")), specs(words)) == "dataset_wrong_dtype"
