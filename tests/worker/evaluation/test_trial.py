import pytest
import torch

import proxy
import ranksearch
from ranksearch.contracts.errors import DatasetError
from ranksearch.contracts.jobs import Race
from ranksearch.contracts.ranks import LayerRanks
from worker.evaluation.baseline import measure_dense
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


@pytest.mark.parametrize("level", ["statistics", "reconstruction"])
def test_the_network_is_calibrated_at_the_tasks_level(session, work, level):
    result = measure_trial(session, work.trial(metric="kl", level=level), work.files).result
    small = work.compressed(level)
    expected = proxy.score(small, work.batches(20, 60), reference=work.net, metric="kl").value
    assert result.value == pytest.approx(expected, rel=1e-3)


def test_where_the_dense_features_would_take_too_much_memory_the_dense_network_serves(session, work, monkeypatch):
    kept = measure_trial(session, work.trial(metric="kl"), work.files).result
    session.forget()
    monkeypatch.setattr("worker.evaluation.session._RECORDED_BYTES", 0)
    assert measure_trial(session, work.trial(metric="kl"), work.files).result.value == pytest.approx(kept.value)


def test_the_dense_networks_features_are_recorded_once(session, work, monkeypatch):
    measure_trial(session, work.trial(), work.files)
    monkeypatch.setattr(proxy, "record_dense", lambda *_: pytest.fail("recorded again"))
    measure_trial(session, work.trial(), work.files)


@pytest.mark.parametrize("metric", ["accuracy", "loss", "kl", "features"])
def test_the_dense_value_is_the_baselines(session, work, metric):
    result = measure_trial(session, work.trial(metric=metric), work.files).result
    baseline = measure_dense(session, work.baseline(metric=metric), work.files).result
    assert result.dense_value == pytest.approx(baseline.value, abs=1e-6)
    assert baseline.dense_value == pytest.approx(baseline.value, abs=1e-6)


def test_the_distance_of_features_is_the_metrics(session, work):
    result = measure_trial(session, work.trial(metric="features"), work.files).result
    expected = proxy.score(work.compressed(), work.batches(20, 60), reference=work.net, metric="features").value
    assert result.value == result.features == pytest.approx(expected, rel=1e-3)
    assert result.batch_values is None


def test_the_dense_features_moments_are_taken_once(session, work, monkeypatch):
    measure_trial(session, work.trial(metric="features"), work.files)
    monkeypatch.setattr(proxy, "feature_moments", lambda *_: pytest.fail("taken again"))
    measure_trial(session, work.trial(metric="features"), work.files)


def test_what_trials_are_raced_on_is_told_batch_by_batch(session, work):
    result = measure_trial(session, work.trial(), work.files).result
    assert len(result.batch_values) == 3
    weighed = sum(value * count for value, count in zip(result.batch_values, (16, 16, 8), strict=True))
    assert result.kl == pytest.approx(weighed / 40)


def test_a_trial_that_falls_behind_is_pruned_with_what_it_saw(session, work):
    race = Race(batch_values=[0.0] * 20, p_value=0.05)
    outcome = measure_trial(session, work.trial(batch_size=2, race=race, measure_latency=True), work.files)
    alone = measure_trial(session, work.trial(batch_size=2, validation=work.selection(20, 30)), work.files).result
    assert outcome.pruned
    assert outcome.result.images == 10
    assert outcome.result.value == alone.value
    assert outcome.result.dense_value == alone.dense_value
    assert outcome.result.latency is None


def test_a_trial_that_keeps_up_sees_all_images(session, work):
    race = Race(batch_values=[100.0] * 20, p_value=0.05)
    outcome = measure_trial(session, work.trial(batch_size=2, race=race), work.files)
    assert (outcome.pruned, outcome.result.images) == (False, 40)


def test_latency_is_measured_where_it_is_asked_for(session, work):
    latency = measure_trial(session, work.trial(measure_latency=True), work.files).result.latency
    assert latency.latency_ms > 0
    assert latency.dense_latency_ms > 0
    assert (latency.device, latency.dtype, latency.batch) == (session.device_name, "float32", 1)
    assert measure_trial(session, work.trial(), work.files).result.latency is None


class Pyramid(torch.nn.Module):
    """Answers two feature maps."""

    def __init__(self):
        super().__init__()
        self.fine = torch.nn.Conv2d(3, 12, 3, padding=1)
        self.coarse = torch.nn.Conv2d(12, 16, 3, stride=2, padding=1)

    def forward(self, x):
        fine = torch.relu(self.fine(x))
        return fine, self.coarse(fine)


def test_a_network_without_logits_is_searched_by_its_features(session, work):
    torch.manual_seed(0)
    ranksearch.pack(Pyramid().eval(), (torch.randn(2, 3, 8, 8),), work.folder / "pyramid")
    ranks = {"coarse": LayerRanks(method="cp3", rank=6)}
    task = work.trial(metric="features", ranks=ranks).model_copy(update={"model": work.blob("pyramid")})
    result = measure_trial(session, task, work.files).result
    assert result.value > 0
    assert (result.accuracy, result.kl, result.loss, result.images) == (None, None, None, 40)
