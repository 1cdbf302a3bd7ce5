import hashlib
import pickle
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ranksearch.contracts.errors import DatasetError
from ranksearch.documents import load_data, pack_data, pack_npz

BYTES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "d.safetensors"


def expected(images):
    values = images.astype(np.float64) / 255
    return torch.from_numpy(((values - MEAN) / STD).transpose(0, 3, 1, 2)).float()


def code_of(*args, **options):
    with pytest.raises(DatasetError) as caught:
        pack_data(*args, **{"mean": 0.0, "std": 1.0, **options})
    assert not list(args[2].parent.iterdir())
    return caught.value.code


def test_bytes_are_normalised_to_nchw(path):
    data = load_data(pack_data(BYTES, LABELS, path, mean=MEAN, std=STD))
    assert torch.allclose(data.images(), expected(BYTES), atol=1e-6)


def test_a_slice_is_that_part_of_the_whole(path):
    data = load_data(pack_data(BYTES, LABELS, path, mean=MEAN, std=STD))
    assert torch.equal(data.images(2, 5), data.images()[2:5])


def test_nchw_tensors_are_taken_as_they_are(path):
    images = torch.randn(4, 2, 3, 3)
    data = load_data(pack_data(images, None, path, mean=[1.0, 2.0], std=2.0, layout="NCHW"))
    assert torch.allclose(data.images(), (images - torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)) / 2)


def test_labels_and_classes(path):
    data = load_data(pack_data(BYTES, np.array(LABELS, np.uint8), path, mean=0.0, std=1.0, class_names=list("abcd")))
    assert data.labels.tolist() == LABELS
    assert data.labels.dtype == torch.int64
    assert (len(data), data.image_shape, data.num_classes) == (6, (3, 4, 5), 4)
    assert data.class_names == ("a", "b", "c", "d")


def test_labels_are_optional(path):
    data = load_data(pack_data(BYTES, None, path, mean=0.0, std=1.0))
    assert data.labels is None
    assert data.num_classes is None


def test_images_of_one_channel_need_no_channel(path):
    assert load_data(pack_data(BYTES[..., 0], None, path, mean=0.5, std=0.5)).image_shape == (1, 4, 5)


def test_double_precision_becomes_single(path):
    assert load_data(pack_data(BYTES / 255.0, None, path, mean=0.0, std=1.0)).summary.dtype == "float32"


def test_half_precision_is_read_as_single(path):
    data = load_data(pack_data(torch.rand(2, 3, 3, 1).half(), None, path, mean=0.0, std=1.0))
    assert data.images().dtype == torch.float32


def test_batches_cover_the_range(path):
    data = load_data(pack_data(BYTES, LABELS, path, mean=MEAN, std=STD))
    parts = list(data.batches(2, 1, 6))
    assert [len(images) for images, _ in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([images for images, _ in parts]), data.images(1, 6))
    assert torch.cat([labels for _, labels in parts]).tolist() == LABELS[1:]


def test_the_same_images_give_the_same_bytes(path, tmp_path):
    one = pack_data(BYTES, LABELS, path, mean=MEAN, std=STD).read_bytes()
    other = pack_data(torch.from_numpy(BYTES), torch.tensor(LABELS), tmp_path / "e", mean=MEAN, std=STD).read_bytes()
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def test_the_safetensors_package_reads_it(path):
    pack_data(BYTES, LABELS, path, mean=MEAN, std=STD)
    assert torch.equal(load_file(path)["images"], torch.from_numpy(BYTES))


def test_it_travels_to_another_process(path):
    data = load_data(pack_data(BYTES, LABELS, path, mean=MEAN, std=STD))
    assert torch.equal(pickle.loads(pickle.dumps(data)).images(), data.images())  # noqa: S301 - this test's own bytes


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 7), (4, 3), (7, None)])
def test_a_slice_beyond_the_images_is_refused(path, start, stop):
    data = load_data(pack_data(BYTES, LABELS, path, mean=MEAN, std=STD))
    with pytest.raises(DatasetError) as caught:
        data.images(start, stop)
    assert caught.value.code == "dataset_slice_out_of_range"


def test_a_slice_reads_only_itself(path):
    pack_data(np.zeros((3000, 128, 128, 3), np.uint8), None, path, mean=0.0, std=1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load_data(path).images(1000, 1010)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_a_file_cut_while_it_is_used_is_an_error(path):
    data = load_data(pack_data(BYTES, None, path, mean=0.0, std=1.0))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError) as caught:
        data.images()
    assert caught.value.code == "dataset_truncated"


@pytest.mark.parametrize(
    ("images", "labels", "options", "code"),
    [
        (BYTES[:0], None, {}, "dataset_empty"),
        (BYTES.astype(np.int64), None, {}, "dataset_wrong_dtype"),
        (BYTES[0, 0], None, {}, "dataset_shape_mismatch"),
        (BYTES, [0], {}, "dataset_labels_mismatch"),
        (BYTES, [0.5] * 6, {}, "dataset_wrong_dtype"),
        (BYTES, [-1] * 6, {}, "dataset_labels_out_of_range"),
        (BYTES, LABELS, {"class_names": ["a", "b"]}, "dataset_labels_out_of_range"),
        (BYTES / np.float32(0.0) if False else np.full((1, 2, 2, 1), np.nan), None, {}, "dataset_not_finite"),
        (BYTES, None, {"mean": [0.0, 0.0]}, "dataset_header_invalid"),
        (BYTES, None, {"std": 0.0}, "dataset_header_invalid"),
        (BYTES, None, {"mean": float("nan")}, "dataset_header_invalid"),
    ],
)
def test_unusable_data_are_refused_and_not_written(path, images, labels, options, code):
    assert code_of(images, labels, path, **options) == code


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x_test", "y_test")])
def test_an_npz_by_its_usual_names(tmp_path, path, names):
    np.savez(tmp_path / "d.npz", **dict(zip(names, (BYTES, np.array(LABELS)[:, None]), strict=True)))
    data = load_data(pack_npz(tmp_path / "d.npz", path, mean=MEAN, std=STD))
    assert torch.allclose(data.images(), expected(BYTES), atol=1e-6)
    assert data.labels.tolist() == LABELS


def test_an_npz_by_given_names(tmp_path, path):
    np.savez(tmp_path / "d.npz", pictures=BYTES, kinds=LABELS)
    data = load_data(pack_npz(tmp_path / "d.npz", path, mean=0.0, std=1.0, images="pictures", labels="kinds"))
    assert data.labels.tolist() == LABELS


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + b"\0" * 50, None, "npy", "objects", "other"])
def test_an_unreadable_npz_is_refused(tmp_path, path, content):
    npz = tmp_path / "d.npz"
    if isinstance(content, bytes):
        npz.write_bytes(content)
    elif content == "npy":
        with npz.open("wb") as file:
            np.save(file, BYTES)
    elif content == "objects":
        np.savez(npz, images=np.array([{}], dtype=object))
    elif content == "other":
        np.savez(npz, something=BYTES)
    with pytest.raises(DatasetError) as caught:
        pack_npz(npz, path, mean=0.0, std=1.0)
    assert caught.value.code == "dataset_source_unreadable"


SPEED = np.arange(12, dtype=np.float64).reshape(6, 2)
WORDS = np.arange(18).reshape(6, 3)


def several(path, **options):
    inputs = {"rgb": BYTES, "speed": SPEED, "words": WORDS}
    return load_data(pack_data(inputs, LABELS, path, **{"mean": {"rgb": MEAN}, "std": {"rgb": STD}, **options}))


def test_several_inputs_are_images_or_taken_as_they_are(path):
    data = several(path)
    rgb, speed, words = data.inputs()
    assert data.input_names == ("rgb", "speed", "words")
    assert torch.allclose(rgb, expected(BYTES), atol=1e-6)
    assert torch.equal(speed, torch.from_numpy(SPEED).float())
    assert torch.equal(words, torch.from_numpy(WORDS))
    assert torch.equal(data.images(), rgb)
    assert data.image_shape == (3, 4, 5)


def test_a_slice_of_several_inputs_is_that_part_of_each(path):
    data = several(path)
    assert all(torch.equal(part, whole[2:5]) for part, whole in zip(data.inputs(2, 5), data.inputs(), strict=True))


def test_batches_of_several_inputs_are_tuples(path):
    batches = list(several(path).batches(4))
    assert [[len(one) for one in inputs] for inputs, _ in batches] == [[4, 4, 4], [2, 2, 2]]
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2, 0], [1, 2]]


def test_an_input_that_is_no_image_may_be_alone(path):
    data = load_data(pack_data({"signal": SPEED}, None, path))
    assert (data.image_shape, data.summary.layout) == ((2,), None)
    assert torch.equal(data.images(), torch.from_numpy(SPEED).float())


def test_every_image_may_have_a_layout_of_its_own(path):
    grey = np.random.default_rng(1).integers(0, 256, (6, 1, 4, 5), dtype=np.uint8)
    data = load_data(
        pack_data(
            {"rgb": BYTES, "grey": grey},
            None,
            path,
            mean={"rgb": 0.5, "grey": 0.5},
            std={"rgb": 0.5, "grey": 0.5},
            layout={"rgb": "NHWC", "grey": "NCHW"},
        )
    )
    assert torch.allclose(data.inputs()[1], torch.from_numpy(grey) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": 0.5},
        {"mean": {"depth": 0.5}, "std": {"depth": 0.5}},
        {"mean": {}},
        {"layout": {"depth": "NCHW"}},
    ],
)
def test_what_is_told_of_inputs_is_told_by_their_names(path, options):
    with pytest.raises(TypeError):
        several(path, **options)


def test_images_alone_need_mean_and_std(path):
    with pytest.raises(TypeError, match="mean and std"):
        pack_data(BYTES, None, path)


def test_complex_inputs_are_refused(path):
    assert code_of({"wave": SPEED * 1j}, None, path, mean=None, std=None) == "dataset_wrong_dtype"


def test_several_arrays_of_an_npz(tmp_path, path):
    np.savez(tmp_path / "d.npz", depth=SPEED, rgb=BYTES, labels=LABELS)
    data = load_data(pack_npz(tmp_path / "d.npz", path, mean={"rgb": MEAN}, std={"rgb": STD}, images=["rgb", "depth"]))
    assert data.input_names == ("rgb", "depth")
    assert data.labels.tolist() == LABELS


def test_an_npz_without_an_input_is_refused(tmp_path, path):
    np.savez(tmp_path / "d.npz", rgb=BYTES)
    with pytest.raises(DatasetError, match="arrays") as caught:
        pack_npz(tmp_path / "d.npz", path, images=["rgb", "depth"])
    assert caught.value.code == "dataset_source_unreadable"
