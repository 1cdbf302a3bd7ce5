"""Lists, the best trial, downloads."""

from __future__ import annotations

import pytest

from ranksearch.contracts.studies import Best, Study, Trial
from tests.service import synthetic
from tests.service.conftest import on_both

pytestmark = [on_both, pytest.mark.usefixtures("dialect")]

METHODS = (("svd", 5), ("cp3", 8), ("tucker2", 6))
"""And how many points of a grid."""


def pages(service, path, **params):
    items, cursor = [], None
    while True:
        answer = service.http.get(path, params={**params, "limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        items.append([item.get("id", item.get("number")) for item in answer["items"]])
        if (cursor := answer["next"]) is None:
            return items


def test_studies_page_newest_first(service):
    ids = [service.submit(n_trials=1)["id"] for _ in range(5)]
    assert pages(service, "/v1/studies") == [ids[4:2:-1], ids[2:0:-1], ids[:1]]


def test_studies_are_filtered_by_state(service):
    ids = [service.submit(n_trials=1)["id"] for _ in range(2)]
    service.http.post(f"/v1/studies/{ids[0]}/cancel")
    assert [study["id"] for study in service.get("/v1/studies?state=cancelled")["items"]] == [ids[0]]


def test_models_and_data_sets_page(service):
    models = [service.upload_model(synthetic.model_document(salt=i)).json()["id"] for i in range(3)]
    data = [service.upload_dataset(synthetic.dataset_document(salt=i)).json()["id"] for i in range(3)]
    assert pages(service, "/v1/models") == [models[:0:-1], models[:1]]
    assert pages(service, "/v1/datasets") == [data[:0:-1], data[:1]]


def test_trials_page_by_number(service):
    study = service.submit(n_trials=5)["id"]
    service.agent().work()
    assert pages(service, f"/v1/studies/{study}/trials") == [[0, 1], [2, 3], [4]]


def test_trials_that_are_not_planned_are_not_listed(service):
    study = service.submit(n_trials=5)["id"]
    assert service.trials(study) == []


def test_answers_are_what_the_contracts_say(service):
    study = service.submit(n_trials=2)["id"]
    service.agent().work()
    Study.model_validate(service.get(f"/v1/studies/{study}"))
    Best.model_validate(service.get(f"/v1/studies/{study}/best"))
    Trial.model_validate(service.get(f"/v1/studies/{study}/trials/1"))


def test_ranks_carry_no_nulls(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    ranks = service.get(f"/v1/studies/{study}/best")["ranks"]
    assert all(set(choice) == {"method", "rank"} for choice in ranks.values())


def test_ranks_are_named_in_and_out(service):
    sites = [synthetic.site(f"l{i}", 10_000, 100, method="tucker2") for i in range(3)]
    service.prepare(profile=synthetic.profile(sites))
    study = service.submit(n_trials=1, methods=["tucker2"])["id"]
    service.agent(value=lambda _job: 0.5).work()
    ranks = service.get(f"/v1/studies/{study}/best")["ranks"]
    assert all(set(choice["ranks"]) == {"in", "out"} for choice in ranks.values())


def test_the_best_trial_accounts_for_every_layer(service):
    sites = [synthetic.dense_site("first"), synthetic.site("second", 10_000, 100), synthetic.site("third", 9_000, 90)]
    sites.append(synthetic.site("fourth", 1_000, 10, method="svd"))
    service.prepare(profile=synthetic.profile(sites))
    study = service.submit(n_trials=1, methods=["cp3"])["id"]
    service.agent().work()
    layers = {layer["name"]: layer for layer in service.get(f"/v1/studies/{study}/best")["layers"]}
    assert list(layers) == ["first", "second", "third", "fourth"]
    assert layers["first"]["reason_dense"] == "it is the first layer"
    assert layers["fourth"]["reason_dense"] == "it has no rank grid for the methods asked for"
    assert layers["second"]["choice"]["method"] == "cp3"
    assert layers["second"]["compressed"]["macs"] < layers["second"]["dense"]["macs"]


def test_the_best_trial_names_the_method_of_every_layer(service):
    grids = [[synthetic.site(f"l{i}", 10_000, 900, method=m, points=p) for m, p in METHODS] for i in range(4)]
    service.prepare(profile=synthetic.profile([synthetic.with_methods(*sites) for sites in grids]))
    study = service.submit(n_trials=12, methods=["svd", "cp3", "tucker2"])["id"]
    service.agent(value=lambda job: sum(r["method"] == "tucker2" for r in job["task"]["ranks"].values()) / 4).work()
    best = service.get(f"/v1/studies/{study}/best")
    assert [choice["method"] for choice in best["ranks"].values()].count("tucker2") == 4 * best["value"] > 0
    for layer in best["layers"]:
        assert layer["choice"] == best["ranks"].get(layer["name"], {"method": "dense"})
    saved = sum(layer["dense"]["macs"] - layer["compressed"]["macs"] for layer in best["layers"])
    (trial,) = [one for one in service.trials(study) if one["number"] == best["trial"]]
    assert trial["planned"]["macs"] == best["macs"]["dense"] - saved


def test_the_best_trial_says_what_it_saves(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    macs = service.get(f"/v1/studies/{study}/best")["macs"]
    assert macs["compression_ratio"] == pytest.approx(macs["dense"] / macs["compressed"])
    assert macs["fraction"] == pytest.approx(macs["compressed"] / macs["dense"])


def test_workers_are_listed_with_what_they_do(service):
    service.submit()
    agent = service.agent("gpu-1")
    job = agent.must_claim()
    (worker,) = [one for one in service.get("/v1/workers")["items"] if one["id"] == "gpu-1"]
    assert (worker["state"], worker["job"]) == ("busy", job["id"])


def test_a_worker_not_seen_for_long_is_away(start):
    service = start(worker_away_seconds=1e-6)
    service.agent("gpu-1").claim()
    (worker,) = service.get("/v1/workers")["items"]
    assert worker["state"] == "away"


BYTES = bytes(range(100))
ADDRESS = f"/v1/blobs/{synthetic.sha256(BYTES)}"


@pytest.fixture
def blob(service):
    service.http.put(ADDRESS, content=BYTES)
    return lambda **headers: service.http.get(ADDRESS, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_a_blob_comes_back_as_it_was(blob):
    assert blob().content == BYTES


def test_a_blobs_tag_is_its_hash(blob):
    assert blob().headers["etag"] == f'"{synthetic.sha256(BYTES)}"'


def test_a_blob_that_is_known_is_not_sent(blob):
    answer = blob(if_none_match=f'"{synthetic.sha256(BYTES)}"')
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    ("header", "expected"), [("bytes=10-19", BYTES[10:20]), ("bytes=90-", BYTES[90:]), ("bytes=-5", BYTES[-5:])]
)
def test_a_range(blob, header, expected):
    answer = blob(range=header)
    assert (answer.status_code, answer.content) == (206, expected)


def test_a_range_of_another_version_gives_the_whole(blob):
    assert blob(range="bytes=10-19", if_range='"other"').status_code == 200


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_beyond_the_end(blob, header):
    answer = blob(range=header)
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")


@pytest.mark.parametrize("header", ["bytes=9-5", "bytes=-", "pages=1-2", "nonsense"])
def test_a_range_that_is_none_is_ignored(blob, header):
    answer = blob(range=header)
    assert (answer.status_code, answer.content) == (200, BYTES)


def test_an_artifact_is_downloaded_under_its_name(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work()
    answer = service.http.get(f"/v1/studies/{study}/artifacts/compressed.safetensors")
    assert 'filename="compressed.safetensors"' in answer.headers["content-disposition"]
    assert answer.content == synthetic.model_document(salt=99)


def test_a_pending_artifact_cannot_be_downloaded_yet(service):
    study = service.submit(n_trials=1)["id"]
    service.agent().work(2)
    answer = service.http.get(f"/v1/studies/{study}/artifacts/compressed.safetensors")
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_studies_are_filtered_by_model_and_by_data_set(service):
    first = service.submit(n_trials=1)
    other_model = service.upload_model(synthetic.model_document(salt=5)).json()["id"]
    service.agent("inspector").work()
    other_data = service.upload_dataset(synthetic.dataset_document(salt=5)).json()["id"]
    second = service.submit(n_trials=1, model=other_model)
    third = service.submit(n_trials=1, calibration={"dataset": other_data})

    def found(**of):
        return {study["id"] for study in service.http.get("/v1/studies", params=of).json()["items"]}

    assert found(model=other_model) == {second["id"]}
    assert found(model=first["request"]["model"]) == {first["id"], third["id"]}
    assert found(dataset=other_data) == {third["id"]}
    assert found(dataset=first["request"]["validation"]["dataset"]) == {first["id"], second["id"], third["id"]}
    assert found(dataset="dts_nobody") == set()
