from __future__ import annotations


def test_a_worker_that_leaves_hands_back_what_it_holds_uncounted(service):
    study = service.submit(n_trials=3)["id"]
    agent = service.agent("leaving")
    agent.complete(agent.must_claim("baseline"))
    job = agent.must_claim("trial")
    assert service.http.delete("/v1/workers/leaving").status_code == 204
    assert agent.post(job, "complete", outcome=agent.outcome(job)).json()["code"] == "lease_lost"
    again = service.agent("other").must_claim("trial")
    assert (again["id"], again["attempt"], again["task"]["ranks"]) == (job["id"], 1, job["task"]["ranks"])
    assert service.get(f"/v1/studies/{study}")["progress"]["running"] == 1


def test_a_worker_that_left_is_given_nothing_and_counts_as_away(service):
    service.submit()
    agent = service.agent("leaving")
    agent.complete(agent.must_claim("baseline"))
    service.http.delete("/v1/workers/leaving")
    assert agent.claim() is None
    states = {worker["id"]: worker["state"] for worker in service.get("/v1/workers")["items"]}
    assert states["leaving"] == "away"


def test_leaving_is_harmless_for_a_worker_never_seen(service):
    assert service.http.delete("/v1/workers/nobody").status_code == 204
