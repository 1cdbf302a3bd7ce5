import json

import numpy as np
import pytest

from ranksearch.contracts.dataset_summaries import summarise_dataset


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, images=np.zeros((12, 8, 8, 3), np.uint8), labels=np.arange(12) % 3)
    return path


@pytest.fixture
def folder(tmp_path):
    from PIL import Image  # noqa: PLC0415 - one fixture needs it

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (20, 16)).save(tmp_path / "pets" / name / "1.png")
    return tmp_path / "pets"


HALF = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]


def test_an_npz_file(ranksearch, npz, tmp_path):
    done = ranksearch("pack-data", npz, "-o", tmp_path / "out.safetensors", *HALF, "--json")
    assert json.loads(done.stdout)["summary"]["num_classes"] == 3


def test_a_folder_of_images(ranksearch, folder, tmp_path):
    ranksearch("pack-data", folder, "-o", tmp_path / "out", "--size", "8x12")
    summary = summarise_dataset(tmp_path / "out")
    assert (summary.image_shape, summary.class_names) == ((3, 8, 12), ("cat", "dog"))


def test_the_name_comes_from_the_source(ranksearch, npz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ranksearch("pack-data", npz, *HALF)
    assert (tmp_path / "digits.safetensors").is_file()


@pytest.mark.parametrize(
    "options",
    [["--mean", "0.5"], ["--mean", "half", "--std", "1"], ["--size", "8", *HALF], ["--limit", "5", *HALF]],
)
def test_options_that_do_not_fit_an_npz_file_are_wrong_usage(ranksearch, npz, options):
    assert ranksearch("pack-data", npz, *options).exit_code == 2


@pytest.mark.parametrize("options", [[], ["--size", "big"], ["--size", "8", "--layout", "NHWC"]])
def test_options_that_do_not_fit_a_folder_are_wrong_usage(ranksearch, folder, options):
    assert ranksearch("pack-data", folder, *options).exit_code == 2


def test_a_source_that_is_not_there_is_bad_input(ranksearch, tmp_path):
    done = ranksearch("pack-data", tmp_path / "nothing", "--size", "8", "-o", tmp_path / "x")
    assert (done.exit_code, "mend: check the path" in done.stderr) == (5, True)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.npz"
    np.savez(path, rgb=np.zeros((12, 8, 8, 3), np.uint8), speed=np.zeros((12, 2), np.float32))
    return path


def test_the_inputs_of_an_npz_file(ranksearch, pairs, tmp_path):
    options = ["--input", "speed", "--input", "rgb", "--mean", "rgb=0.5,0.5,0.5", "--std", "rgb=0.2,0.2,0.2"]
    done = ranksearch("pack-data", pairs, "-o", tmp_path / "out", *options)
    summary = summarise_dataset(tmp_path / "out")
    assert [(one.name, one.shape, one.mean) for one in summary.inputs] == [
        ("speed", (2,), ()),
        ("rgb", (3, 8, 8), (0.5,) * 3),
    ]
    assert "12 images speed 2, rgb 3×8×8" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--mean", "0.5", "--std", "1"],
        ["--mean", "rgb=0.5"],
        ["--mean", "depth=0.5", "--std", "depth=1"],
        ["--mean", "rgb=0.5", "--mean", "rgb=0.4", "--std", "rgb=1"],
        ["--mean", "=0.5", "--std", "1"],
        ["--images", "rgb"],
        ["--size", "8"],
    ],
)
def test_options_that_do_not_fit_inputs_are_wrong_usage(ranksearch, pairs, options):
    assert ranksearch("pack-data", pairs, "--input", "rgb", "--input", "speed", *options).exit_code == 2


def test_a_folder_has_no_inputs_to_name(ranksearch, folder):
    assert ranksearch("pack-data", folder, "--size", "8", "--input", "rgb").exit_code == 2
