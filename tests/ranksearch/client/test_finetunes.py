import httpx
import pytest

from ranksearch.contracts.errors import InputError, NotFoundError
from tests.ranksearch import wire


def several(*items, status=200):
    return httpx.Response(status, json=wire.page(*items))


def test_the_best_are_asked_for_and_waited_for(answers):
    running = wire.finetune("running", step=3)
    client, requests = answers(several(running, status=202), several(running), several(wire.finetune()))
    study = client.study(wire.STUDY)
    assert [one.state for one in study.finetune(top=2, recipe={"epochs": 4})] == ["running"]
    seen = []
    (done,) = study.finetuned(seen=lambda latest: seen.append(latest[0].step))
    assert (done.state, done.after.accuracy, seen) == ("ready", 0.93, [3, 8])
    assert [request.method for request in requests] == ["POST", "GET", "GET"]
    assert requests[0].url.path == f"/v1/studies/{wire.STUDY}/finetunes"
    sent = wire.json.loads(requests[0].content)
    assert (sent["top"], sent["trials"], sent["recipe"]["epochs"]) == (2, None, 4)


@pytest.mark.parametrize(
    "members", [{"top": 0}, {"trials": [1], "top": 2}, {"recipe": {"epochs": -1}}, {"recipe": {"rate": 1}}]
)
def test_what_makes_no_sense_is_not_sent(answers, members):
    client, requests = answers()
    with pytest.raises(InputError):
        client.study(wire.STUDY).finetune(**members)
    assert requests == []


def test_one_is_had_by_its_id_and_stopped(answers):
    missing = httpx.Response(
        404, json=wire.problem("finetune_not_found", 404), headers={"content-type": "application/problem+json"}
    )
    stopped = httpx.Response(200, json=wire.finetune("cancelled"))
    client, requests = answers(httpx.Response(200, json=wire.finetune()), stopped, missing)
    assert client.finetunes.get(wire.STUDY, "job_ft3").trial == 3
    assert client.finetunes.cancel(wire.STUDY, "job_ft3").state == "cancelled"
    assert requests[1].url.path.endswith("/finetunes/job_ft3/cancel")
    with pytest.raises(NotFoundError):
        client.finetunes.get(wire.STUDY, "job_other")


def test_the_fine_tuned_network_of_a_trial_is_another_file_than_the_one_before(answers):
    plain, tuned = (wire.artifact(trial=3, id=f"job_{tuned}", name="x", tuned=tuned) for tuned in (False, True))
    client, _ = answers(several(plain, tuned), several(plain, tuned))
    study = client.study(wire.STUDY)
    assert study.artifact(3).id == "job_False"
    assert study.artifact(3, tuned=True).id == "job_True"


def test_a_study_is_submitted_with_so_many_to_fine_tune(answers):
    client, requests = answers(
        httpx.Response(200, json=wire.model()),
        httpx.Response(200, json=wire.dataset()),
        httpx.Response(200, json=wire.model()),
        httpx.Response(202, json=wire.study()),
    )
    client.submit("mdl_1", "dts_1", finetune=2)
    assert wire.json.loads(requests[-1].content)["finetune"]["top"] == 2
