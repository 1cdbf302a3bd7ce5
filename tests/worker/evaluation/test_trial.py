import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.trial import measure_trial


def test_the_value_is_the_accuracy_of_the_calibrated_network(session, work):
    result = measure_trial(session, work.trial(), work.files).result
    small = work.compressed()
    with torch.no_grad():
        right = sum(int((small(x).argmax(1) == y).sum()) for x, y in work.batches(20, 60))
    assert result.value == result.accuracy == pytest.approx(right / 40)


def test_the_divergence_is_from_the_dense_networks_outputs(session, work):
    result = measure_trial(session, work.trial(metric="kl"), work.files).result
    small, total = work.compressed(), 0.0
    with torch.no_grad():
        for x, _ in work.batches(20, 60):
            dense, compressed = work.net(x).log_softmax(1), small(x).log_softmax(1)
            total += float((dense.exp() * (dense - compressed)).sum())
    assert result.value == result.kl == pytest.approx(total / 40, rel=1e-3)


def test_the_cost_is_that_of_the_compressed_network(session, work):
    result = measure_trial(session, work.trial(), work.files).result
    cost = proxy.cost(work.compressed(), (torch.zeros(1, 3, 8, 8),))
    assert (result.cost.macs, result.cost.params) == (cost.macs, cost.params)


def test_the_same_trial_gives_the_same_value(session, work):
    first, second = (measure_trial(session, work.trial(metric="kl"), work.files).result for _ in range(2))
    assert first.value == second.value


def test_warm_factors_are_not_decomposed_again(session, work, monkeypatch):
    measure_trial(session, work.trial(), work.files)
    monkeypatch.setattr("proxy.assembly.decompose_many", lambda problems, **_: list(map(pytest.fail, problems)))
    measure_trial(session, work.trial(), work.files)


def test_the_parts_add_up_to_the_whole(session, work):
    seconds = measure_trial(session, work.trial(), work.files).result.seconds
    parts = seconds.decomposition + seconds.assembly + seconds.calibration + seconds.validation
    assert 0 < parts <= seconds.total


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_type_gets_images_of_its_type(session, work, dtype):
    whole = measure_trial(session, work.trial(metric="kl"), work.files).result
    ranksearch.pack(work.net.to(dtype), (torch.randn(2, 3, 8, 8, dtype=dtype),), work.folder / "other")
    task = work.trial(metric="kl").model_copy(update={"model": work.blob("other")})
    result = measure_trial(session, task, work.files).result
    assert result.value == pytest.approx(whole.value, rel=0.3)
    assert result.cost == whole.cost


def test_a_rank_that_does_not_fit_is_refused(session, work):
    with pytest.raises(proxy.RankOutOfRange):
        measure_trial(session, work.trial(ranks={"second": LayerRanks(method="cp3", rank=10_000)}), work.files)


def test_an_unknown_layer_is_refused(session, work):
    with pytest.raises(proxy.UnknownLayer):
        measure_trial(session, work.trial(ranks={"third": LayerRanks(method="cp3", rank=1)}), work.files)


def test_images_beyond_the_data_set_are_refused(session, work):
    with pytest.raises(DatasetError) as error:
        measure_trial(session, work.trial(validation=work.selection(20, 61)), work.files)
    assert error.value.code == "dataset_slice_out_of_range"
