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
