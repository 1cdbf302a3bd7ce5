"""A study from documents to the compressed network, through real processes."""

import httpx
import optuna
import pytest
import torch

import proxy
import ranksearch
from tests.system.watching import ENDED


@pytest.fixture(scope="module")
def study(deployment, documents):
    with deployment.client() as client:
        handle = client.submit(
            documents / "model.safetensors", documents / "data.safetensors", budget="40%", n_trials=6, seed=3
        )
        handle.wait(timeout=240)
        yield handle


def test_has_exactly_the_trials_asked_for(client, study):
    trials = list(client.studies.trials(study.id))
    assert [trial.number for trial in trials] == list(range(6))
    assert {trial.state for trial in trials} <= ENDED


def test_no_trial_costs_more_than_the_budget(client, study):
    limit = study.status().limits["macs"]
    assert all(trial.result.cost.macs <= limit for trial in client.studies.trials(study.id))


def test_a_trial_costs_what_was_planned(client, study):
    assert all(trial.planned == trial.result.cost for trial in client.studies.trials(study.id))


def test_begins_with_the_strong_allocations(client, study):
    origins = [trial.origin for trial in client.studies.trials(study.id)]
    assert origins == ["uniform", "equal_error", "greedy", *["sampler"] * 3]


def test_no_two_trials_have_the_same_ranks(client, study):
    vectors = {repr(trial.ranks) for trial in client.studies.trials(study.id)}
    assert len(vectors) == 6


def test_the_best_is_the_finalist_that_diverges_least_on_all_images(client, study):
    best, request = study.best(), study.status().request
    finals = {trial.number: trial.final for trial in client.studies.trials(study.id) if trial.final}
    assert 1 < len(finals) <= request.finalists
    assert best.value == min(final.value for final in finals.values())
    assert best.result == finals[best.trial]


def test_finalists_are_those_that_diverged_least_in_their_trials(client, study):
    complete = [trial for trial in client.studies.trials(study.id) if trial.state == "COMPLETE"]
    first = sorted(complete, key=lambda trial: (trial.value, trial.number))[: study.status().request.finalists]
    assert {trial.number for trial in complete if trial.final} == {trial.number for trial in first}


def test_the_url_of_the_best_answers_the_same_as_json(deployment, study):
    answer = httpx.get(study.url, headers={"Authorization": f"Bearer {deployment.token}"})
    assert answer.json() == study.best().model_dump(mode="json", by_alias=True)


def test_the_pulled_network_scores_what_the_study_says(study, documents, tmp_path):
    best = study.best()
    small = ranksearch.load(study.pull(tmp_path / "small.safetensors"))
    data = ranksearch.load_data(documents / "data.safetensors")
    validation = study.status().request.validation
    with torch.no_grad():
        right = small(data.images(validation.start, len(data))).argmax(1) == data.labels[validation.start :]
    assert right.float().mean().item() == pytest.approx(best.result.accuracy, abs=1.5 / len(right))


def test_the_pulled_network_costs_what_the_study_says(study, digits, tmp_path):
    small = ranksearch.load(study.pull(tmp_path / "small.safetensors"))
    cost = proxy.cost(small, (digits.normalised(digits.training[0][:1]),))
    best = study.best()
    assert (cost.macs, cost.params) == (best.macs.compressed, best.params.compressed)


def test_the_ranks_of_the_best_compress_the_users_own_network(study, documents, digits):
    best = study.best()
    dense = ranksearch.load(documents / "model.safetensors")
    ranks = {name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in best.ranks.items()}
    small = proxy.compress(dense, ranks)
    assert proxy.cost(small, (digits.normalised(digits.training[0][:1]),)).macs == best.macs.compressed


def test_optuna_itself_reads_the_study(deployment, client, study):
    url = f"sqlite:///{deployment.data_dir / 'ranksearch.db'}"
    loaded = optuna.load_study(study_name=study.status().optuna_study, storage=url)
    ended = {trial.number: trial for trial in client.studies.trials(study.id)}
    assert {trial.number: trial.state.name for trial in loaded.trials} == {n: t.state for n, t in ended.items()}
    assert loaded.best_value == min(trial.value for trial in ended.values() if trial.state == "COMPLETE")


def test_the_same_seed_gives_the_same_trials(client, study, submit):
    again = submit(client, n_trials=6, seed=3)
    again.wait(timeout=240)
    first, second = ([(t.ranks, t.value) for t in client.studies.trials(s.id)] for s in (study, again))
    assert first == second


def test_without_labels_the_proxy_is_the_divergence_from_the_dense_network(client, documents, digits, tmp_path):
    images = digits.validation[0]
    ranksearch.pack_data(images, None, tmp_path / "d.safetensors", mean=digits.mean, std=digits.std, layout="NHWC")
    handle = client.submit(
        documents / "model.safetensors", tmp_path / "d.safetensors", budget="50%", n_trials=3, pruner="none"
    )
    handle.wait(timeout=240)
    best = handle.best()
    assert best.metric == "kl"
    assert best.value == min(trial.value for trial in client.studies.trials(handle.id)) > 0
    assert best.result.accuracy is None


def test_a_layer_can_be_kept_dense_by_name(client, submit):
    handle = submit(client, budget="70%", n_trials=2, keep_dense=["block.conv1"])
    handle.wait(timeout=240)
    assert all("block.conv1" not in trial.ranks for trial in client.studies.trials(handle.id))


@pytest.fixture(scope="module")
def of_several_methods(deployment, documents):
    methods = ["cp3", "tucker2", "spatial_svd"]
    with deployment.client() as client:
        model, data = documents / "model.safetensors", documents / "data.safetensors"
        handle = client.submit(model, data, budget="35%", n_trials=14, seed=1, methods=methods, pruner="none")
        handle.wait(timeout=240)
        yield handle


def test_the_search_tries_several_methods_for_one_layer(client, of_several_methods):
    trials = list(client.studies.trials(of_several_methods.id))
    assert {trial.state for trial in trials} == {"COMPLETE"}
    tried = [{trial.ranks[name].method for trial in trials if name in trial.ranks} for name in ("block.conv1", "down")]
    assert max(len(methods) for methods in tried) > 1
    assert set().union(*tried) <= {"cp3", "tucker2", "spatial_svd"}


def test_trials_of_several_methods_cost_what_was_planned(client, of_several_methods):
    limit = of_several_methods.status().limits["macs"]
    for trial in client.studies.trials(of_several_methods.id):
        assert trial.planned == trial.result.cost
        assert trial.result.cost.macs <= limit


def test_the_best_of_several_methods_compresses_the_users_own_network(of_several_methods, documents, digits, tmp_path):
    best = of_several_methods.best()
    assert {choice.method for choice in best.ranks.values()} <= {"cp3", "tucker2", "spatial_svd"}
    ranks = {name: choice.model_dump(by_alias=True, exclude_none=True) for name, choice in best.ranks.items()}
    here = proxy.compress(ranksearch.load(documents / "model.safetensors"), ranks)
    pulled = ranksearch.load(of_several_methods.pull(tmp_path / "small.safetensors"))
    example = (digits.normalised(digits.training[0][:1]),)
    assert proxy.cost(here, example).macs == proxy.cost(pulled, example).macs == best.macs.compressed


def test_optuna_itself_reads_the_methods(deployment, of_several_methods):
    url = f"sqlite:///{deployment.data_dir / 'ranksearch.db'}"
    loaded = optuna.load_study(study_name=of_several_methods.status().optuna_study, storage=url)
    ranks = of_several_methods.best().ranks
    params = loaded.trials[of_several_methods.best().trial].params
    assert params["down.method"] == (ranks["down"].method if "down" in ranks else "dense")
