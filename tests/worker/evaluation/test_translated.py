"""An ONNX file as the child gets it: a document and its profile, or a problem that says what is wrong."""

import hashlib

import pytest
import torch

import ranksearch
from ranksearch.contracts.jobs import InspectTask
from ranksearch.contracts.resources import Blob
from tests.ranksearch.documents.from_onnx.graphs import noise, of_one, saved
from tests.worker.evaluation.conftest import Net
from worker.evaluation import evaluate, translated
from worker.protocol import Assignment


@pytest.fixture
def inspected(session, tmp_path):
    """The child's report on a file."""

    def report(path):
        content = path.read_bytes()
        blob = Blob(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        task = InspectTask(model=blob, format="onnx")
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        return evaluate(session, Assignment(number=1, task=task, files={blob.sha256: path}, output=output)), output

    return report


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    example, free = (torch.randn(2, 3, 8, 8),), ({0: torch.export.Dim("batch")},)
    torch.onnx.export(network, example, path, dynamo=True, external_data=False, dynamic_shapes=free, verbose=False)
    return path


def test_the_document_is_written_named_by_its_sha256_and_inspected(inspected, file, network, session):
    report, output = inspected(file)
    assert report.problem is None
    told = report.outcome.translation
    assert [made.name for made in output.iterdir()] == [told.sha256]
    loaded = ranksearch.load(output / told.sha256)
    images = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(loaded(images), network(images), atol=1e-5)
    assert report.holds == [told.sha256]
    assert told.producer.startswith("pytorch")
    assert told.max_relative_difference < 1e-5


def test_the_profile_is_that_of_the_network_itself(inspected, file, network, session, tmp_path):
    report, _ = inspected(file)
    document = ranksearch.pack(network, torch.randn(2, 3, 8, 8), tmp_path / "packed")
    task = InspectTask(model=Blob(sha256=hashlib.sha256(document.read_bytes()).hexdigest(), size=1))
    direct = evaluate(session, Assignment(number=2, task=task, files={task.model.sha256: document}, output=tmp_path))
    got, wanted = report.outcome.profile, direct.outcome.profile
    assert {site.name for site in got.sites} == {site.name for site in wanted.sites} == {"first", "second", "head"}
    assert got.input_shapes == wanted.input_shapes
    assert got.dense.macs == wanted.dense.macs
    grids = [[(p.ranks, p.macs) for grid in site.grids.values() for p in grid] for site in got.sites]
    assert grids == [[(p.ranks, p.macs) for grid in site.grids.values() for p in grid] for site in wanted.sites]


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (of_one("NonZero", (4, 6, 5)), "onnx_unknown_operator"),
        (of_one("Reshape", (4, 6, 5), [noise(1).astype("int64") * 0 + 3]), "onnx_malformed"),
    ],
)
def test_what_cannot_be_taken_is_reported_and_not_tried_again(made, code, inspected, tmp_path):
    report, output = inspected(saved(made, tmp_path))
    assert report.outcome is None
    assert (report.problem.code, report.retry) == (code, False)
    assert not list(output.iterdir())


def test_a_worker_without_onnx_says_so_and_what_to_install(inspected, file, monkeypatch):
    monkeypatch.setattr(translated, "find_spec", lambda name: None if name == "onnx" else object())
    report, _ = inspected(file)
    assert (report.problem.code, report.retry) == ("onnx_unavailable", False)
    assert "onnx" in report.problem.got
    assert "pip install" in report.problem.mend
