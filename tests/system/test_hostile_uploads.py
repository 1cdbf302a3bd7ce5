"""What somebody sends to break the service: refused with a problem, and nothing of it stays."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import socket
import struct
import zipfile

import httpx
import numpy as np
import pytest

from ranksearch.local import LocalDeployment
from tests.service import synthetic

LIMIT = 16 << 20


def document(header: bytes, data: bytes = b"", claimed: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed is None else claimed) + header + data


def tensors(**entries: object) -> bytes:
    return json.dumps({"__metadata__": {"format": "ranksearch.model/1"}, **entries}).encode()


def tensor(begin: int, end: int, shape: object = (1,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def torch_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [0.0]}))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def not_a_number() -> bytes:
    images = np.full((4, 8, 8, 3), np.nan, dtype=np.float32)
    metadata = {"format": "ranksearch.dataset/1", "layout": "NHWC", "mean": "[0.5,0.5,0.5]", "std": "[1,1,1]"}
    return synthetic.tensor_file(metadata, {"images": images})


GOOD = synthetic.model_document(salt=5)
HOSTILE = {
    "a header longer than any": document(b"", claimed=2**63),
    "a header one byte beyond the limit": document(b"{", claimed=LIMIT + 1),
    "a header of ten million tensors, claimed": document(tensors(a=tensor(0, 4)), claimed=10_000_000 * 57),
    "as many tensors as a header holds": document(b'{"a":{}' + b',"a":{}' * 2_000_000 + b"}"),
    "objects in objects": document(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a shape of lists in lists": document(b'{"a":{"shape":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
    "an integer of a million digits": document(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "a shape beyond any memory": document(tensors(a=tensor(0, 4, shape=[2**62, 2**62, 2**62]))),
    "a number beyond double precision": document(
        b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', b"0000"
    ),
    "no number": document(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', b"0000"),
    "one key twice": document(b'{"a":%b,"a":%b}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), b"0000"),
    "a header that is no UTF-8": document(b'{"a\xff\xfe":{}}'),
    "a header in UTF-16": document('{"a":{}}'.encode("utf-16")),
    "half of a surrogate pair": document(b'{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"0000"),
    "a name of control characters": document(tensors(**{"a\x00\r\nb": tensor(0, 4)}), b"0000"),
    "overlapping tensors": document(tensors(a=tensor(0, 4), b=tensor(2, 6)), b"000000"),
    "negative offsets": document(tensors(a=tensor(-4, 0)), b"0000"),
    "offsets that run backwards": document(tensors(a=tensor(4, 0)), b"0000"),
    "a hole between tensors": document(tensors(a=tensor(0, 4), b=tensor(8, 12)), b"0" * 12),
    "bytes behind the last tensor": document(tensors(a=tensor(0, 4)), b"0000 and more"),
    "an unknown dtype": document(tensors(a=tensor(0, 4, dtype="OBJECT")), b"0000"),
    "a file that ends in its header": GOOD[:40],
    "a file that ends in its data": GOOD[:-1],
    "a length and nothing else": GOOD[:8],
    "less than a length": b"\x00",
    "nothing": b"",
    "a pickle": pickle.dumps({"weight": [0.0]}),
    "what torch.save writes": torch_zip(),
    "a bomb of zeros": gzip.compress(bytes(50 << 20)),
    "images that are no numbers": not_a_number(),
    "an ONNX file that is cut off": synthetic.onnx_file()[:-1],
    "an ONNX file with something behind it": synthetic.onnx_file() + b"\xff",
    "an ONNX file whose graph is longer than itself": b"\x08\x08\x3a\xff\xff\xff\xff\x07" + bytes(1000),
    "an ONNX file whose length does not end": b"\x08\x08\x3a" + b"\xff" * 1000,
    "an ONNX file without a graph": b"\x08\x08\x12\x04test",
    "an ONNX file of empty fields": b"\x08\x08" + b"\x12\x00" * 1_000_000,
}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with LocalDeployment(tmp_path_factory.mktemp("hostile") / "data", workers=0) as made:
        yield made


@pytest.fixture
def http(local):
    with httpx.Client(base_url=local.url, headers={"authorization": f"Bearer {local.token}"}, timeout=30) as made:
        yield made


@pytest.fixture
def untouched(local, http):
    """After the test there is what there was before: files, models, data sets."""

    def state():
        files = sorted(path for path in (local.data_dir / "blobs").rglob("*") if path.is_file())
        return files, http.get("/v1/models").json(), http.get("/v1/datasets").json()

    before = state()
    yield
    assert state() == before
    assert "Traceback" not in (local.data_dir / "logs" / "service.log").read_text()


def refused(answer: httpx.Response) -> str:
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["code"]


@pytest.mark.parametrize("kind", ["models", "datasets"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused(http, untouched, name, kind):
    code = refused(http.post(f"/v1/{kind}", params={"name": "hostile"}, content=HOSTILE[name]))
    assert code.startswith(("document_", "dataset_", "onnx_"))


def test_a_compressed_body_is_not_unpacked(http, untouched):
    headers = {"content-encoding": "gzip"}
    packed = gzip.compress(synthetic.model_document(salt=6))
    assert refused(http.post("/v1/models?name=m", content=packed, headers=headers)).startswith("document_")


@pytest.mark.parametrize("name", ["a\x00b", "a\r\nSet-Cookie: b", "\x1b[2J", "", "x" * 201])
def test_a_name_that_no_terminal_should_show(http, untouched, name):
    assert refused(http.post("/v1/models", params={"name": name}, content=GOOD)) == "invalid_request"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/blobs/..%2f..%2ftoken",
        "/v1/blobs/%2e%2e/%2e%2e/token",
        "/v1/studies/..%2f../artifacts/..%2f..%2fetc%2fpasswd",
        "/v1/models/%00",
        "/v1/models/%ff%fe",
        "/v1/factors/..%2f..%2ftoken",
    ],
)
def test_a_path_leads_nowhere_else(http, untouched, path):
    assert refused(http.get(path)) in {"not_found", "model_not_found", "study_not_found", "invalid_request"}


def test_a_registry_architecture_is_a_name_and_no_path(http, untouched):
    metadata = {
        "format": "ranksearch.model/1",
        "kind": "registry",
        "architecture": "torchvision:../../../etc/passwd",
        "inputs": '[{"shape":[3,8,8],"dtype":"float32"}]',
        "outputs": '[{"shape":[10],"dtype":"float32"}]',
        "buffers": "[]",
    }
    hostile = synthetic.tensor_file(metadata, {"weight": np.zeros(2, dtype=np.float32)})
    assert refused(http.post("/v1/models?name=m", content=hostile)).startswith("document_")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":' + b"[" * 200_000,
        b'{"model":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"n_trials":' + b"9" * 100_000 + b"}",
        b'{"timeout":1e999}',
        b'{"model":"\\ud800"}',
        b'{"\\ud800":1}',
        b'{"model":"\xff"}',
        b"[]",
        b"null",
        gzip.compress(b"{}"),
    ],
    ids=range(10),
)
def test_a_hostile_request_is_refused(http, untouched, body):
    headers = {"content-type": "application/json"}
    assert refused(http.post("/v1/studies", content=body, headers=headers)) in {"invalid_request", "unknown_field"}


SMUGGLED = b"POST /v1/models?name=smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED,
        b"Content-Length: -5\r\n\r\n" + SMUGGLED,
        b"Content-Length: 99999999999999999999999\r\n\r\n" + SMUGGLED,
        b"Content-Length : 5\r\n\r\n" + SMUGGLED,
        b"X-Large: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=range(6),
)
def test_a_request_of_two_readings_is_refused_and_its_connection_closed(local, untouched, head):
    url = httpx.URL(local.url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head)
        told = b""
        try:
            while piece := connection.recv(65536):
                told += piece
        except ConnectionResetError:  # it had not read all that was sent
            pass
    assert told.startswith(b"HTTP/1.1 400")
    assert told.count(b"HTTP/1.1") == 1
