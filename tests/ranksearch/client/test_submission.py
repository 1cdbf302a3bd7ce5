import json

import httpx
import pytest

from ranksearch.contracts.defaults import split
from ranksearch.contracts.errors import ConflictError, DatasetError, EvaluationError, InputError, UnavailableError
from ranksearch.contracts.resources import Dataset
from ranksearch.contracts.study_requests import DataSlice
from tests.ranksearch import wire


class Service:
    """As much of a service as a submission needs."""

    def __init__(self, count=900):
        self.count = count
        self.requests = []

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        path = request.url.path
        if path.startswith("/v1/models"):
            return httpx.Response(200, json=wire.model())
        if path.startswith("/v1/datasets"):
            return httpx.Response(200, json=wire.dataset(self.count))
        return httpx.Response(202, json=wire.study())

    @property
    def asked(self):
        return json.loads(self.requests[-1].content)

    def uploads(self, path):
        return [r for r in self.requests if (r.method, r.url.path) == ("POST", path)]


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def client(serve, service):
    return serve(service)


@pytest.fixture
def files(tmp_path):
    for name in ("m.safetensors", "d.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_files_are_uploaded(client, service, files):
    client.submit(files / "m.safetensors", files / "d.safetensors")
    assert (len(service.uploads("/v1/models")), len(service.uploads("/v1/datasets"))) == (1, 1)


def test_ids_are_not(client, service):
    client.submit(wire.MODEL, wire.DATASET)
    assert [request.method for request in service.requests].count("POST") == 1


def test_documents_that_the_client_answered_are_taken_as_they_are(client, service):
    client.submit(client.models.get(wire.MODEL), client.datasets.get(wire.DATASET))
    assert service.asked["model"] == wire.MODEL


def test_one_data_set_is_split(client, service):
    client.submit(wire.MODEL, wire.DATASET)
    assert (service.asked["calibration"], service.asked["validation"]) == (
        {"dataset": wire.DATASET, "start": 0, "stop": 300},
        {"dataset": wire.DATASET, "start": 300, "stop": None},
    )


def test_at_most_1024_images_calibrate(serve):
    service = Service(50_000)
    serve(service).submit(wire.MODEL, wire.DATASET)
    assert service.asked["calibration"]["stop"] == 1024


def test_one_image_cannot_be_split(serve):
    with pytest.raises(DatasetError, match="cannot both calibrate and validate"):
        serve(Service(1)).submit(wire.MODEL, wire.DATASET)


def test_slices_are_written_behind_the_name(client, service):
    client.submit(wire.MODEL, calibration=f"{wire.DATASET}[0:100]", validation=f"{wire.DATASET}[100:]")
    assert (service.asked["calibration"]["stop"], service.asked["validation"]["start"]) == (100, 100)


def test_slices_of_one_file_upload_it_once(client, service, files):
    path = files / "d.safetensors"
    client.submit(wire.MODEL, calibration=f"{path}[0:100]", validation=f"{path}[100:]")
    assert len(service.uploads("/v1/datasets")) == 1


def test_slices_may_be_objects(client, service):
    both = DataSlice(dataset=wire.DATASET, stop=5), DataSlice(dataset=wire.DATASET, start=5, stop=9)
    client.submit(wire.MODEL, calibration=both[0], validation=both[1])
    assert service.asked["validation"] == {"dataset": wire.DATASET, "start": 5, "stop": 9}


def test_a_file_with_brackets_in_its_name_is_a_file(client, service, tmp_path):
    path = tmp_path / "d[0:5]"
    path.write_bytes(b"x")
    client.submit(wire.MODEL, calibration=str(path), validation=wire.DATASET)
    assert service.asked["calibration"]["start"] == 0
    assert len(service.uploads("/v1/datasets")) == 1


@pytest.mark.parametrize(
    "data",
    [{}, {"data": "d", "calibration": "d"}, {"calibration": "d"}, {"validation": "d"}],
)
def test_unclear_data_is_refused(client, data):
    with pytest.raises(InputError, match="which images calibrate and which validate"):
        client.submit(wire.MODEL, **data)


def test_an_empty_slice_is_refused(client):
    with pytest.raises(InputError, match="must be above start"):
        client.submit(wire.MODEL, calibration="d[5:5]", validation="d")


@pytest.mark.parametrize("model", ["m.safetensors", "./net", "folder/net.pt"])
def test_a_path_without_a_file_is_named(client, model):
    with pytest.raises(InputError, match="there is no such file") as refused:
        client.submit(model, wire.DATASET)
    assert "ranksearch models" in refused.value.mend


def test_the_handle_knows_the_best_url(client):
    handle = client.submit(wire.MODEL, wire.DATASET)
    assert handle.url == f"http://service.test/v1/studies/{wire.STUDY}/best"


def test_waiting_ends_with_the_study(answers):
    client, _ = answers(httpx.Response(200, json=wire.study()), httpx.Response(200, json=wire.study("completed", 10)))
    assert client.study(wire.STUDY).wait(progress=True).progress.complete == 10


def test_a_failed_study_is_raised_as_its_error(answers):
    error = wire.problem("study_failing", 500, detail="every trial fails")
    client, _ = answers(httpx.Response(200, json=wire.study("failed", error=error)))
    with pytest.raises(EvaluationError, match="every trial fails"):
        client.study(wire.STUDY).wait()


def test_a_cancelled_study_is_answered(answers):
    client, _ = answers(httpx.Response(200, json=wire.study("cancelled")))
    assert client.study(wire.STUDY).wait().state == "cancelled"


def test_waiting_for_a_paused_study_says_why_and_how_to_go_on(answers):
    paused = wire.study("paused", reason="paused by ada", progress={**wire.study()["progress"], "failed": 2})
    client, _ = answers(httpx.Response(200, json=paused))
    with pytest.raises(ConflictError, match="is paused by ada") as refused:
        client.study(wire.STUDY).wait()
    assert (refused.value.code, "ranksearch retry" in refused.value.mend) == ("study_paused", True)


def test_waiting_has_an_end(serve):
    client = serve(lambda request: httpx.Response(200, json=wire.study(waiting_for="no worker is connected")))
    with pytest.raises(UnavailableError, match="no worker is connected"):
        client.study(wire.STUDY).wait(timeout=30)


@pytest.mark.parametrize(("count", "calibrate"), [(2, 1), (3, 1), (11, 3), (3072, 1024), (3069, 1023)])
def test_at_most_a_third_of_one_data_set_calibrates(count, calibrate):
    calibration, validation = split(Dataset.model_validate(wire.dataset(count)))
    assert (calibration.stop, validation.start) == (calibrate, calibrate)
