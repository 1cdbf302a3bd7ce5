from __future__ import annotations

import pytest

from tests.service import synthetic


def refused(service, **changes):
    answer = service.http.post("/v1/studies", json=service.request(**changes))
    return answer.status_code, answer.json()["code"]


def test_a_study_is_accepted_and_located(service):
    answer = service.http.post("/v1/studies", json=service.request())
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/studies/{answer.json()['id']}"
    assert answer.json()["state"] == "queued"


def test_the_constraints_are_answered_in_absolute_numbers(service):
    study = service.submit(constraints={"macs": "50%", "params": 900})
    assert study["limits"] == {"macs": study["dense"]["macs"] // 2, "params": 900}


def test_every_trial_waits(service):
    assert service.submit(n_trials=7)["progress"]["waiting"] == 7


def test_the_metric_is_kl_with_labels_too(service):
    assert service.submit(metric=None)["metric"] == "kl"


def test_the_metric_is_kl_without_labels(service):
    service.prepare(labels=None)
    assert service.submit(metric=None)["metric"] == "kl"


def test_accuracy_needs_labels(service):
    service.prepare(labels=None)
    assert refused(service, metric="accuracy") == (422, "dataset_labels_missing")


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_what_needs_labels_needs_a_classifier(service, metric):
    service.prepare(profile=synthetic.profile(outputs=(10, 4, 4)))
    assert refused(service, metric=metric) == (422, "metric_does_not_fit")


def test_loss_needs_labels(service):
    service.prepare(labels=None)
    assert refused(service, metric="loss") == (422, "dataset_labels_missing")


def test_kl_needs_class_scores_of_some_shape(start):
    service = start()
    service.prepare(profile=synthetic.profile(outputs=()))
    assert refused(service, metric="kl") == (422, "metric_does_not_fit")


def test_kl_of_class_scores_at_every_place_is_accepted(service):
    service.prepare(profile=synthetic.profile(outputs=(10, 4, 4)))
    assert service.submit(metric="kl")["metric"] == "kl"


def test_features_need_neither_labels_nor_class_scores(service):
    service.prepare(profile=synthetic.profile(outputs=()), labels=None)
    assert service.submit(metric="features")["metric"] == "features"


def test_the_metric_is_outputs_where_the_model_gives_no_row_of_class_scores(service):
    service.prepare(profile=synthetic.profile(outputs=(10, 4, 4)))
    assert service.submit(metric=None)["metric"] == "outputs"


SMALLEST = {"objectives": ["macs"], "max_drop": 0.01, "constraints": {}, "metric": None}


def test_the_smallest_network_is_judged_by_accuracy_where_there_are_labels(service):
    study = service.submit(**SMALLEST)
    assert (study["metric"], study["limits"]) == ("accuracy", {})


def test_the_smallest_network_is_judged_by_kl_without_labels(service):
    service.prepare(labels=None)
    assert service.submit(**SMALLEST)["metric"] == "kl"


def test_a_front_needs_no_constraints(service):
    assert service.submit(objectives=["proxy", "params"], constraints={})["limits"] == {}


def test_a_study_to_learn_from_must_exist(service):
    assert refused(service, from_studies=["sty_none"]) == (404, "study_not_found")


def test_a_study_to_learn_from_must_be_of_the_same_model(service):
    first = service.submit()["id"]
    other = service.upload_model(synthetic.model_document(salt=3)).json()["id"]
    agent = service.agent()
    agent.complete(agent.must_claim("inspect"))
    answer = service.http.post("/v1/studies", json=service.request(model=other, from_studies=[first]))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert first in answer.json()["detail"]


@pytest.mark.parametrize(
    "changes",
    [
        {"constraints": {"latency_ms": 4.0}},
        {"constraints": {"latency_ms": "50%"}},
        {"objectives": ["latency_ms"], "max_drop": 0.01},
    ],
)
def test_a_latency_needs_a_model_whose_latency_is_known(service, changes):
    answer = service.http.post("/v1/studies", json=service.request(**changes))
    assert (answer.status_code, answer.json()["code"]) == (422, "latency_unknown")
    assert "inspect" in answer.json()["mend"]


@pytest.mark.parametrize(("bound", "limit"), [(4.5, 4.5), ("45%", 9.0)])
def test_a_bound_on_the_latency_is_answered_in_milliseconds(service, bound, limit):
    service.prepare(profile=synthetic.timed(synthetic.profile(), latency_ms=20.0))
    study = service.submit(constraints={"macs": "50%", "latency_ms": bound})
    assert study["limits"] == {"macs": study["dense"]["macs"] // 2, "latency_ms": pytest.approx(limit)}


def test_an_unknown_model(service):
    assert refused(service, model="mdl_none") == (404, "model_not_found")


@pytest.mark.parametrize("role", ["calibration", "validation"])
def test_an_unknown_data_set(service, role):
    assert refused(service, **{role: {"dataset": "dts_none"}}) == (404, "dataset_not_found")


def test_a_model_that_is_not_inspected_says_when_to_come_back(service):
    ids = {"model": service.upload_model().json()["id"], "dataset": service.upload_dataset().json()["id"]}
    service.uploaded.update(ids)
    answer = service.http.post("/v1/studies", json=service.request())
    assert (answer.status_code, answer.json()["code"]) == (409, "model_not_inspected")
    assert int(answer.headers["retry-after"]) > 0


def test_a_model_that_could_not_be_inspected_says_why(service):
    service.uploaded.update(model=service.upload_model().json()["id"], dataset=service.upload_dataset().json()["id"])
    agent = service.agent()
    agent.fail(agent.must_claim("inspect"), detail="aten.fancy is unknown")
    answer = service.http.post("/v1/studies", json=service.request())
    assert (answer.status_code, answer.json()["code"]) == (409, "model_inspection_failed")
    assert "aten.fancy is unknown" in answer.json()["detail"]


@pytest.mark.parametrize(("first", "end"), [(0, 41), (40, None), (50, 60)])
def test_a_slice_beyond_the_data_set(service, first, end):
    dataset = service.prepare()["dataset"]
    validation = {"dataset": dataset, "start": first, "stop": end}
    assert refused(service, validation=validation) == (422, "dataset_slice_out_of_range")


def test_slices_that_overlap(service):
    dataset = service.prepare()["dataset"]
    validation = {"dataset": dataset, "start": 19, "stop": 40}
    assert refused(service, validation=validation) == (422, "dataset_overlap")


def test_a_slice_to_the_end_overlaps_too(service):
    dataset = service.prepare()["dataset"]
    assert refused(service, calibration={"dataset": dataset}) == (422, "dataset_overlap")


def test_slices_of_two_data_sets_do_not_overlap(service):
    service.prepare()
    other = service.upload_dataset(synthetic.dataset_document(salt=1)).json()["id"]
    assert service.submit(calibration={"dataset": other}, validation={"dataset": service.uploaded["dataset"]})


def test_images_of_another_shape(service):
    service.prepare()
    other = service.upload_dataset(synthetic.dataset_document(shape=(1, 8, 8))).json()["id"]
    assert refused(service, validation={"dataset": other}) == (422, "dataset_shape_mismatch")


def test_labels_without_an_output(service):
    service.prepare(labels=11)
    assert refused(service) == (422, "dataset_labels_out_of_range")


def test_methods_that_no_layer_has(service):
    assert refused(service, methods=["svd"]) == (422, "unsupported_method")


def test_a_method_named_twice(service):
    answer = service.http.post("/v1/studies", json=service.request(methods=["cp3", "svd", "cp3"]))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "more than once" in answer.json()["detail"]
    assert service.submit(methods=["cp3", "svd"])  # as its advice says


@pytest.mark.parametrize(
    ("points", "advice"),
    [(1, "for 1 point send max_drop 0.01"), (2.5, "for 2.5 points send max_drop 0.025"), (100, "for 1 point send")],
)
def test_points_of_accuracy_where_a_share_is_meant(service, points, advice):
    asked = {"objectives": ["macs"], "constraints": {}, "metric": "accuracy"}
    answer = service.http.post("/v1/studies", json=service.request(**asked, max_drop=points))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert f"{100 * points:g} points" in answer.json()["got"]
    assert advice in answer.json()["mend"]
    assert service.submit(**asked, max_drop=0.99)


def test_a_drop_in_nats_may_be_more_than_one(service):
    assert service.submit(objectives=["macs"], constraints={}, metric="kl", max_drop=2)


def test_dense_among_the_methods_is_taken_for_what_it_says(service):
    """Every layer may stay dense in any case."""
    with_dense, without = (service.submit(methods=methods, n_trials=4)["id"] for methods in (["dense", "cp3"], ["cp3"]))
    service.agent().work()
    assert [t["ranks"] for t in service.trials(with_dense)] == [t["ranks"] for t in service.trials(without)]


def test_dense_alone_leaves_nothing_to_search(service):
    assert refused(service, methods=["dense"]) == (422, "unsupported_method")


def test_a_model_with_nothing_to_compress(service):
    service.prepare(profile=synthetic.profile([synthetic.dense_site("first")]))
    assert refused(service) == (422, "nothing_to_compress")


@pytest.mark.parametrize("form", ["macs", "macs_percent"])
def test_the_nearest_feasible_budget_is_accepted(service, form):
    answer = service.http.post("/v1/studies", json=service.request(constraints={"macs": "1%"}))
    assert (answer.status_code, answer.json()["code"]) == (422, "budget_infeasible")
    assert service.submit(constraints={"macs": answer.json()["extra"]["nearest_feasible"][form]})


def test_a_refused_study_leaves_nothing(service):
    refused(service, constraints={"macs": "1%"})
    assert service.get("/v1/studies")["items"] == []


def test_the_same_key_gives_the_same_study(service):
    answers = [
        service.http.post("/v1/studies", json=service.request(), headers={"idempotency-key": "k"}) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_the_same_key_with_another_request(service):
    service.http.post("/v1/studies", json=service.request(), headers={"idempotency-key": "k"})
    answer = service.http.post("/v1/studies", json=service.request(seed=5), headers={"idempotency-key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_no_key_gives_two_studies(service):
    assert service.submit()["id"] != service.submit()["id"]
