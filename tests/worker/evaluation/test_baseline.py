import pytest
import torch

import ranksearch
from ranksearch.contracts.errors import DatasetError
from worker.evaluation.baseline import measure_dense


def test_measures_the_dense_network(session, work):
    result = measure_dense(session, work.baseline(), work.files).result
    with torch.no_grad():
        right = sum(int((work.net(x).argmax(1) == y).sum()) for x, y in work.batches(20, 60))
    assert (result.value, result.images) == (pytest.approx(right / 40), 40)


def test_the_dense_network_does_not_diverge_from_itself(session, work):
    result = measure_dense(session, work.baseline(metric="kl"), work.files).result
    assert result.value == pytest.approx(0, abs=1e-6)


def test_images_that_the_network_does_not_take_are_named_so(session, work):
    ranksearch.pack_data(work.images[..., :1], None, work.folder / "grey", mean=(0.5,), std=(1.0,))
    grey = work.selection(0, 10, work.blob("grey"))
    with pytest.raises(DatasetError) as error:
        measure_dense(session, work.baseline(validation=grey, metric="kl"), work.files)
    assert error.value.code == "dataset_shape_mismatch"
    assert error.value.got == "[1, 8, 8]"


def test_the_dense_networks_own_latency_is_measured_where_it_is_asked_for(session, work):
    latency = measure_dense(session, work.baseline(measure_latency=True), work.files).result.latency
    assert latency.latency_ms > 0
    assert latency.dense_latency_ms is None
    assert measure_dense(session, work.baseline(), work.files).result.latency is None
