"""The independent table that greedy starts are made of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from service.scheduling.sensitivity import choices_of, pairs_of, probed
from service.search.derivation import space_of
from service.storage.tables import StudyRow
from tests.service import synthetic
from tests.service.search.strategies import spaces

GREEDY = {"warm_starts": ["uniform", "greedy"]}


@given(spaces(methods=3, sites=4, longest=9))
@settings(max_examples=60)
def test_every_option_but_the_dense_layer_is_in_the_table(space):
    for site in space.sites:
        assert [site.options[at].ranks is None for at in probed(site)] == [False] * (len(site.options) - 1)


def test_a_table_of_an_earlier_version_has_few_positions_spread_evenly():
    (site,) = space_of(synthetic.profile([synthetic.site("one", 10_000, 100, points=10)]), ["cp3"]).sites
    assert probed(site, 4) == (0, 3, 6, 9)


@given(spaces(methods=2, sites=3, longest=6))
@settings(max_examples=30)
def test_the_table_comes_back_at_the_positions_whose_ranks_were_asked_for(space):
    choices = choices_of(space)
    table = {name: [float(at) for at in range(len(some))] for name, some in choices.items()}
    for site in space.sites:
        for position, at in pairs_of(space, table)[site.name]:
            assert site.options[position].ranks == choices[site.name][int(at)]


def test_a_table_that_is_not_measured_is_none():
    assert pairs_of(space_of(synthetic.profile(), ["cp3"]), None) is None


def test_sensitivity_is_estimated_after_the_baseline_where_greedy_is_asked_for(service):
    service.submit(**GREEDY)
    agent = service.agent()
    assert [agent.must_claim()["task"]["kind"] for _ in range(3)] == ["baseline", "sensitivity", "trial"]


def test_it_is_by_default(service):
    request = service.request()
    del request["warm_starts"]
    study = service.http.post("/v1/studies", json=request).json()["id"]
    service.agent().work()
    assert [trial["origin"] for trial in service.trials(study)] == ["uniform", "equal_error", "greedy", "sampler"]


def test_sensitivity_is_not_estimated_without_need(service):
    service.submit()
    agent = service.agent()
    agent.work()
    assert "sensitivity" not in {job["task"]["kind"] for job in agent.done}


def test_the_task_names_every_free_layer_and_few_images(service):
    service.prepare(count=900)
    data = service.uploaded["dataset"]
    calibration, validation = ({"dataset": data, "start": at, "stop": at + 400} for at in (450, 0))
    service.submit(calibration=calibration, validation=validation, keep_dense=["layer0.conv"], seed=3, **GREEDY)
    agent = service.agent()
    agent.work(1)
    task = agent.must_claim("sensitivity")["task"]
    assert list(task["choices"]) == ["layer1.conv", "layer2.conv", "layer3.conv"]
    assert [choice["rank"] for choice in task["choices"]["layer1.conv"]] == [1, 2, 3, 4, 5, 6, 7]
    assert (task["calibration"]["start"], task["calibration"]["stop"]) == (450, 450 + 256)
    assert (task["measure"], task["seed"]) == ("logits", 3)


def test_the_greedy_start_is_made_once_the_table_is_there(service):
    study = service.submit(n_trials=4, **GREEDY)["id"]
    service.agent().work()
    assert [trial["origin"] for trial in service.trials(study)][:2] == ["uniform", "greedy"]


@pytest.mark.parametrize("wrong", [{}, {"layer0.conv": [0.1]}, {"nowhere": [0.1]}])
def test_a_table_with_something_else_in_it_is_refused(service, wrong):
    service.submit(**GREEDY)
    agent = service.agent()
    agent.work(1)
    job = agent.must_claim("sensitivity")
    right = agent.outcome(job)["change"]
    answer = agent.post(job, "complete", outcome={"kind": "sensitivity", "change": {**right, **wrong} if wrong else {}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    agent.complete(job)


@pytest.mark.parametrize("changes", [{"objectives": ["macs"], "max_drop": 0.2}, {"objectives": ["proxy", "macs"]}])
def test_other_kinds_of_study_begin_with_allocations_of_the_table(service, changes):
    study = service.submit(constraints={}, n_trials=8, **changes, **GREEDY)["id"]
    service.agent().work()
    origins = [trial["origin"] for trial in service.trials(study)]
    assert origins[:3] == ["greedy"] * 3
    assert set(origins) <= {"greedy", "sampler"}


def test_a_table_that_an_earlier_version_measured_still_serves(service):
    study = service.submit(n_trials=3, **GREEDY)["id"]
    agent = service.agent()
    agent.work(1)
    agent.complete(agent.must_claim("sensitivity"))
    with service.backend.writing() as session:
        row = session.get_one(StudyRow, study)
        row.sensitivity = {name: some[:4] for name, some in row.sensitivity.items()}
    agent.work()
    assert [trial["origin"] for trial in service.trials(study)] == ["uniform", "greedy", "sampler"]
    told = service.get(f"/v1/studies/{study}/sensitivity")
    assert [point["ranks"]["rank"] for point in told["layers"][0]["points"]] == [1, 3, 5, 7]


def test_a_study_waits_for_its_table(service):
    study = service.submit(n_trials=1, **GREEDY)["id"]
    agent = service.agent()
    agent.work(1)
    table = agent.must_claim("sensitivity")
    agent.work()
    assert service.study(study)["state"] == "running"
    agent.complete(table)
    assert service.study(study)["state"] == "completed"


def test_a_table_that_cannot_be_measured_costs_the_greedy_start_and_no_more(service):
    study = service.submit(n_trials=3, **GREEDY)["id"]
    agent = service.agent()
    agent.work(1)
    agent.fail(agent.must_claim("sensitivity"), detail="out of memory")
    agent.work()
    answered = service.study(study)
    assert answered["state"] == "completed"
    assert "greedy" in answered["reason"]
    assert "out of memory" in answered["reason"]
    assert "greedy" not in {trial["origin"] for trial in service.trials(study)}


def test_a_failed_study_leaves_no_table_to_measure(service):
    service.submit(**GREEDY)
    agent = service.agent()
    baseline, table = agent.must_claim("baseline"), agent.must_claim("sensitivity")
    agent.fail(baseline)
    assert agent.claim() is None
    assert agent.post(table, "renew").status_code == 409
