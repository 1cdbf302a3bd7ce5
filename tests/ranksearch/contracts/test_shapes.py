import pytest

from ranksearch.contracts.dataset_summaries import DatasetSummary
from ranksearch.contracts.shapes import sample_shapes, sizes


def summary(*inputs):
    told = [
        {"name": name, "shape": shape, "dtype": "uint8", "layout": layout, "mean": [], "std": []}
        for name, shape, layout in inputs
    ]
    nothing = dict.fromkeys(("label_min", "label_max", "class_names"))
    first = {"image_shape": inputs[0][1], "dtype": "uint8", "layout": inputs[0][2], "mean": [], "std": []}
    return DatasetSummary.model_validate(
        {"count": 1, "bytes": 1, "has_labels": False, **nothing, **first, "inputs": told}
    )


@pytest.mark.parametrize(("shape", "words"), [((3, 8, 12), "3×8×12"), ((5,), "5"), ((), "1")])
def test_a_shape(shape, words):
    assert sizes(shape) == words


def test_plain_images_need_no_name():
    assert sample_shapes(summary(("images", (3, 8, 8), "NHWC"))) == "3×8×8"


def test_inputs_are_named():
    assert sample_shapes(summary(("rgb", (3, 8, 8), "NHWC"), ("speed", (2,), None))) == "rgb 3×8×8, speed 2"
    assert sample_shapes(summary(("signal", (4, 64), None))) == "signal 4×64"
