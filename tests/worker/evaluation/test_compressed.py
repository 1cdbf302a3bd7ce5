import hashlib

import pytest
import torch

import ranksearch
from ranksearch.contracts.errors import EvaluationError
from worker.evaluation.compressed import write_compressed


@pytest.mark.parametrize(("level", "sweeps"), [("statistics", 0), ("reconstruction", 0), ("reconstruction", 2)])
def test_the_document_gives_the_calibrated_networks_outputs(session, work, tmp_path, level, sweeps):
    sha256 = write_compressed(session, work.compress(level=level, sweeps=sweeps), work.files, tmp_path).sha256
    loaded = ranksearch.load(tmp_path / sha256)
    (images, _), *_ = work.batches(20, 60)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), work.compressed(level, sweeps)(images), rtol=1e-4, atol=1e-5)


def test_the_document_is_named_by_its_sha256(session, work, tmp_path):
    sha256 = write_compressed(session, work.compress(), work.files, tmp_path).sha256
    assert hashlib.sha256((tmp_path / sha256).read_bytes()).hexdigest() == sha256


def test_making_it_twice_gives_the_same_bytes(session, work, tmp_path):
    first, second = (write_compressed(session, work.compress(), work.files, tmp_path).sha256 for _ in range(2))
    assert first == second


def test_the_dense_network_stays_for_the_next_trial(session, work, tmp_path):
    before = {
        name: tensor.clone()
        for name, tensor in session.network(work.model, work.files[work.model.sha256]).state_dict().items()
    }
    write_compressed(session, work.compress(), work.files, tmp_path)
    after = session.network(work.model, work.files[work.model.sha256]).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_report_is_of_the_document_against_the_network_in_memory(session, work, tmp_path):
    outcome = write_compressed(session, work.compress(), work.files, tmp_path)
    loaded = ranksearch.load(tmp_path / outcome.sha256)
    images = torch.cat([batch for batch, _ in work.batches(20, 60)])
    with torch.no_grad():
        wanted, got = work.compressed()(images), loaded(images)
    parity = outcome.parity
    assert (parity.reference, parity.images, parity.same_top1, parity.agrees) == ("network", 40, 1.0, True)
    assert abs(parity.max_difference - (wanted - got).abs().max().item()) < 1e-5
    assert parity.max_relative_difference <= 1e-6


def test_a_document_that_computes_something_else_is_not_handed_out(session, work, tmp_path, monkeypatch):
    def spoiled(path):
        network = ranksearch.load(path)
        with torch.no_grad():
            network.get_submodule("head").bias[0] += 1.0
        return network

    monkeypatch.setattr("worker.evaluation.document.load", spoiled)
    with pytest.raises(EvaluationError) as caught:
        write_compressed(session, work.compress(), work.files, tmp_path)
    assert caught.value.code == "artifact_disagrees"
    assert caught.value.extra["parity"]["max_difference"] == pytest.approx(1.0, abs=1e-4)
