"""A document in another format: what it computes, and what is refused."""

import hashlib
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import ranksearch
from ranksearch.contracts.errors import EvaluationError
from tests.clean_process import run_with_only
from tests.worker.evaluation.conftest import Work
from worker.evaluation import evaluate, onnx_model, torch_program
from worker.evaluation.compressed import write_compressed
from worker.evaluation.exported import write_exported
from worker.evaluation.session import Session
from worker.protocol import Assignment


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return Work(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(device="cpu", cache_dir=tmp_path_factory.mktemp("factors"))


@pytest.fixture(scope="module")
def document(session, work):
    return work.folder / write_compressed(session, work.compress(), work.files, work.folder).sha256


@pytest.fixture(scope="module")
def export(session, work, document):
    """Write the document in a format; the file and the report."""

    def exported(made):
        outcome = write_exported(session, work.export(document, made), work.files, work.folder)
        return work.folder / outcome.sha256, outcome.parity

    return exported


@pytest.fixture(scope="module")
def program(export):
    return export("pt2")


@pytest.fixture(scope="module")
def onnx_file(export):
    return export("onnx")


def images(work):
    return torch.cat([batch for batch, _ in work.batches(20, 60)])


def scores(document, work):
    with torch.no_grad():
        return ranksearch.load(document)(images(work))


def test_a_program_runs_where_there_is_nothing_but_torch(program, document, work, tmp_path):
    path, _ = program
    given, wanted = images(work), scores(document, work)
    torch.save({"given": given, "wanted": wanted}, tmp_path / "tensors")
    code = """
import torch
path, tensors = sys.argv[1:]
known = torch.load(tensors)
network = torch.export.load(path).module()
for count in (1, 3, len(known["given"])):
    print(float((network(known["given"][:count]) - known["wanted"][:count]).abs().max()))
"""
    differences = run_with_only({"torch"}, code, path, tmp_path / "tensors").split()
    assert max(map(float, differences)) < 1e-5


def test_a_document_is_loaded_where_there_is_no_more_than_torch_and_safetensors(document, work, tmp_path):
    torch.save({"given": images(work), "wanted": scores(document, work)}, tmp_path / "tensors")
    code = """
import ranksearch, torch
known = torch.load(sys.argv[2])
with torch.no_grad():
    print(float((ranksearch.load(sys.argv[1])(known["given"]) - known["wanted"]).abs().max()))
"""
    allowed = {"ranksearch", "torch", "safetensors"}
    assert float(run_with_only(allowed, code, document, tmp_path / "tensors")) < 1e-6


def test_an_onnx_file_runs_in_onnx_runtime_with_any_batch(onnx_file, document, work):
    path, _ = onnx_file
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.shape == ["batch", 3, 8, 8]
    wanted = scores(document, work).numpy()
    for count in (1, 7, 40):
        (got,) = session.run(None, {given.name: images(work)[:count].numpy()})
        np.testing.assert_allclose(got, wanted[:count], rtol=1e-4, atol=1e-5)


def test_an_onnx_file_has_its_weights_inside_and_passes_the_checker(onnx_file):
    path, _ = onnx_file
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)


def test_the_report_on_an_onnx_file_is_what_its_outputs_say(onnx_file, document, work):
    path, parity = onnx_file
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted, differences = scores(document, work).numpy(), []
    for start in (0, 16, 32):  # in the task's batches: another batch may add in another order
        (got,) = session.run(None, {session.get_inputs()[0].name: images(work)[start : start + 16].numpy()})
        differences.append(np.abs(got.astype(np.float64) - wanted[start : start + 16]).max())
    assert parity.max_difference == pytest.approx(max(differences), abs=1e-7)
    assert parity.max_relative_difference == pytest.approx(parity.max_difference / np.ptp(wanted), rel=1e-4, abs=1e-9)
    assert (parity.images, parity.same_top1, parity.agrees, parity.dtype) == (40, 1.0, True, "float32")
    assert parity.runtimes["onnxruntime"] == onnxruntime.__version__
    assert parity.reference == "document"


def test_a_file_is_named_by_its_sha256(program):
    path, _ = program
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_a_program_that_computes_something_else_is_not_handed_out(export, monkeypatch):
    right = torch_program.read_own_program

    def wrong(path):
        outputs = right(path)
        return lambda batch: [1.01 * output for output in outputs(batch)]

    monkeypatch.setattr("worker.evaluation.exported.read_own_program", wrong)
    with pytest.raises(EvaluationError) as caught:
        export("pt2")
    report = caught.value.extra["parity"]
    assert caught.value.code == "artifact_disagrees"
    assert (report["agrees"], report["same_top1"]) == (False, 1.0)
    assert 1e-4 < report["max_relative_difference"] < 0.1


def test_a_worker_without_onnx_says_so_and_what_to_install(session, work, document, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(onnx_model, "find_spec", lambda name: None if name == "onnxruntime" else object())
    task = work.export(document, "onnx")
    answer = evaluate(session, Assignment(number=1, task=task, files=work.files, output=tmp_path))
    assert (answer.problem.code, answer.retry) == ("export_unavailable", False)
    assert "onnxruntime" in answer.problem.got
    assert "pip install" in answer.problem.mend
    task = work.export(document, "pt2")
    assert evaluate(session, Assignment(number=2, task=task, files=work.files, output=tmp_path)).problem is None


def test_weights_beyond_a_protocol_buffer_are_refused(export, monkeypatch):
    monkeypatch.setattr(onnx_model, "_LARGEST", 1000)
    with pytest.raises(EvaluationError) as caught:
        export("onnx")
    assert caught.value.code == "artifact_too_large"


def test_what_torch_cannot_write_as_onnx_is_told_in_its_words(export, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no decomposition of aten.some_operator")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(EvaluationError, match="cannot write this network as ONNX") as caught:
        export("onnx")
    assert "some_operator" in caught.value.got
