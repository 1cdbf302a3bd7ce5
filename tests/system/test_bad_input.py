"""What users get wrong, through the real service: a stable code, a way out, and nothing half-written."""

import httpx
import pytest
import torch

import ranksearch
from ranksearch.contracts.study_requests import DataSlice, StudyRequest


@pytest.fixture(scope="module")
def uploaded(deployment, documents):
    """The tiny network, inspected, and its images."""
    with deployment.client() as client:
        model = client.models.upload(documents / "model.safetensors")
        yield client.models.wait(model.id, timeout=120), client.datasets.upload(documents / "data.safetensors")


@pytest.fixture
def refused(client, uploaded):
    """Submit with these members changed; the error."""
    model, data = uploaded

    def submit(**changes):
        members = {
            "model": model.id,
            "calibration": DataSlice(dataset=data.id, stop=100),
            "validation": DataSlice(dataset=data.id, start=100, stop=300),
            "constraints": {"macs": "40%"},
            "n_trials": 2,
        }
        before = [study.id for study in client.studies.list()]
        with pytest.raises(ranksearch.RankSearchError) as error:
            client.studies.create(StudyRequest.model_validate({**members, **changes}))
        assert [study.id for study in client.studies.list()] == before
        return error.value

    return submit


@pytest.fixture
def data_set(client, digits, tmp_path):
    """Upload images and labels; the data set."""

    def upload(images, labels, **options):
        path = tmp_path / "bad.safetensors"
        channels = images.shape[-1]
        ranksearch.pack_data(images, labels, path, mean=(0.5,) * channels, std=(1.0,) * channels, layout="NHWC")
        return client.datasets.upload(path)

    return upload


def test_a_wrong_token(deployment):
    with ranksearch.Client(deployment.url, "wrong") as stranger, pytest.raises(ranksearch.AccessError) as error:
        list(stranger.models.list())
    assert error.value.code == "token_invalid"


def test_no_token(deployment):
    answer = httpx.get(f"{deployment.url}/v1/models")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_model(refused):
    assert refused(model="mdl_none").code == "model_not_found"


def test_an_unknown_layer_is_answered_with_a_name_that_exists(refused):
    error = refused(keep_dense=["block.conv3"])
    assert error.code == "unknown_layer"
    assert "block.conv2" in str(error)


def test_a_budget_nobody_can_meet_is_answered_with_one_that_works(client, uploaded, refused):
    error = refused(constraints={"macs": "0.5%"})
    assert error.code == "budget_infeasible"
    nearest = error.extra["nearest_feasible"]
    model, data = uploaded
    for bound in (nearest["macs"], nearest["macs_percent"]):
        study = client.studies.create(
            StudyRequest(
                model=model.id,
                calibration=DataSlice(dataset=data.id, stop=50),
                validation=DataSlice(dataset=data.id, start=50, stop=100),
                constraints={"macs": bound},
                n_trials=1,
            )
        )
        client.studies.cancel(study.id)


def test_images_of_a_shape_that_the_model_refuses(refused, data_set):
    wrong = data_set(torch.zeros(20, 8, 8, 3, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    assert refused(validation=DataSlice(dataset=wrong.id)).code == "dataset_shape_mismatch"


def test_labels_that_the_model_has_no_output_for(refused, data_set, digits):
    wrong = data_set(digits.held_out[0], digits.held_out[1] + 5)
    assert refused(validation=DataSlice(dataset=wrong.id)).code == "dataset_labels_out_of_range"


def test_overlapping_images(refused, uploaded):
    assert refused(calibration=DataSlice(dataset=uploaded[1].id, stop=150)).code == "dataset_overlap"


def test_images_that_are_not_numbers(deployment, client, tmp_path):
    images = torch.rand(10, 1, 8, 8)
    path = tmp_path / "nan.safetensors"
    ranksearch.pack_data(images, None, path, mean=(0.5,), std=(1.0,), layout="NCHW")
    raw = bytearray(path.read_bytes())
    raw[-4:] = torch.tensor([float("nan")]).numpy().tobytes()
    path.write_bytes(raw)
    stored = set((deployment.data_dir / "blobs").rglob("*"))
    with pytest.raises(ranksearch.DatasetError) as error:
        client.datasets.upload(path)
    assert error.value.code == "dataset_not_finite"
    assert set((deployment.data_dir / "blobs").rglob("*")) == stored


def test_a_model_that_is_no_model(client, tmp_path):
    path = tmp_path / "pickle.safetensors"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(ranksearch.DocumentError):
        client.models.upload(path)


def test_a_digest_that_does_not_match(deployment, documents):
    wrong = "sha-256=:" + "A" * 43 + "=:"
    answer = httpx.post(
        f"{deployment.url}/v1/models?name=m",
        content=(documents / "model.safetensors").read_bytes(),
        headers={"Authorization": f"Bearer {deployment.token}", "Content-Digest": wrong},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "upload_digest_mismatch")
