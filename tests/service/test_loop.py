"""The whole way of a study, once."""

from __future__ import annotations


def test_a_study_completes_with_exactly_its_trials_and_an_artifact(service):
    study = service.submit(n_trials=6)
    agent = service.agent()
    agent.work()
    ended = service.get(f"/v1/studies/{study['id']}")
    assert ended["state"] == "completed"
    progress = ended["progress"]
    assert (progress.pop("n_trials"), progress.pop("complete")) == (6, 6)
    assert set(progress.values()) == {0}
    assert [job["task"]["kind"] for job in agent.done] == ["baseline", *["trial"] * 6, "compress"]
    best = service.get(f"/v1/studies/{study['id']}/best")
    assert best["value"] == max(trial["value"] for trial in service.trials(study["id"]))
    (artifact,) = service.get(f"/v1/studies/{study['id']}/artifacts")["items"]
    assert artifact["state"] == "ready"
    assert len(service.http.get(artifact["url"]).content) == artifact["blob"]["size"]
