import httpx
import pytest

from ranksearch.client import Client
from ranksearch.contracts.errors import (
    AccessError,
    BudgetInfeasible,
    ConflictError,
    InputError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
)
from ranksearch.contracts.study_requests import StudyRequest
from tests.ranksearch import wire

REFUSED = httpx.ConnectError("refused")
CUT = httpx.ReadError("cut")
AWAY = httpx.Response(503, text="upstream is away")


def ok():
    return httpx.Response(200, json=wire.study())


def problem_answer(status, problem, **headers):
    return httpx.Response(status, json=problem, headers={"content-type": "application/problem+json", **headers})


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("study_not_found", 404, NotFoundError),
        ("token_invalid", 401, AccessError),
        ("budget_infeasible", 422, BudgetInfeasible),
        ("lease_lost", 409, ConflictError),
        ("invalid_request", 422, InputError),
        ("storage_full", 507, UnavailableError),
        ("internal_error", 500, RankSearchError),
    ],
)
def test_a_problem_is_raised_as_its_class(answers, code, status, kind):
    client, _ = answers(problem_answer(status, wire.problem(code, status, detail="so it is")))
    with pytest.raises(kind, match="so it is") as caught:
        client.studies.get(wire.STUDY)
    assert (type(caught.value), caught.value.code) == (kind, code)


def test_a_problem_keeps_its_further_members(answers):
    document = wire.problem("budget_infeasible", 422, detail="no", extra={"nearest_feasible": {"macs": 9}})
    client, _ = answers(problem_answer(422, document))
    with pytest.raises(BudgetInfeasible) as caught:
        client.studies.get(wire.STUDY)
    assert caught.value.extra == {"nearest_feasible": {"macs": 9}}


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nginx"),
        httpx.Response(500, text="oops"),
        httpx.Response(200, text="<html>welcome"),
        httpx.Response(200, json={"id": 3}),
        httpx.Response(200, json=[]),
        httpx.Response(422, text="not json", headers={"content-type": "application/problem+json"}),
        httpx.Response(422, json=["no object"], headers={"content-type": "application/problem+json"}),
    ],
)
def test_an_answer_of_something_else_is_invalid(answers, answer):
    client, _ = answers(answer)
    with pytest.raises(UnavailableError) as caught:
        client.studies.get(wire.STUDY)
    assert caught.value.code == "service_answer_invalid"


def test_a_redirect_says_where_to(answers):
    client, _ = answers(httpx.Response(301, headers={"location": "https://service.test/"}))
    with pytest.raises(UnavailableError, match="https://service"):
        client.studies.get(wire.STUDY)


@pytest.mark.parametrize("trouble", [REFUSED, CUT, httpx.ReadTimeout("slow"), AWAY, httpx.Response(429)])
def test_reading_is_tried_again(answers, trouble):
    client, requests = answers(trouble, ok())
    client.studies.get(wire.STUDY)
    assert len(requests) == 2


def test_pauses_grow(answers, pauses):
    client, _ = answers(ok(), *[REFUSED] * 8, ok())
    client.studies.get(wire.STUDY)
    client.studies.get(wire.STUDY)
    assert pauses[-1] > 10 * pauses[0]


def test_retry_after_is_kept_to(answers, pauses):
    client, _ = answers(ok(), httpx.Response(503, headers={"retry-after": "7"}), ok())
    client.studies.get(wire.STUDY)
    client.studies.get(wire.STUDY)
    assert pauses == [7]


def test_a_retry_after_beyond_patience_is_an_error_at_once(answers, pauses):
    busy = problem_answer(503, wire.problem("service_busy", 503, detail="busy"), **{"retry-after": "3600"})
    client, _ = answers(busy)
    with pytest.raises(UnavailableError, match="busy"):
        client.studies.get(wire.STUDY)
    assert pauses == []


def test_a_service_that_never_answered_gets_little_patience(serve, pauses):
    def refuse(request):
        raise REFUSED

    with pytest.raises(UnavailableError):
        serve(refuse).studies.get(wire.STUDY)
    assert 0.5 < sum(pauses) <= 2


def test_a_service_that_answered_before_gets_more(serve, pauses):
    def once(request, known=[]):  # noqa: B006 - remembered on purpose
        known.append(request)
        if len(known) > 1:
            raise REFUSED
        return ok()

    client = serve(once, patience=20)
    client.studies.get(wire.STUDY)
    with pytest.raises(UnavailableError):
        client.studies.get(wire.STUDY)
    assert 10 < sum(pauses) <= 20


def test_an_unreachable_service_is_named(serve):
    def refuse(request):
        raise REFUSED

    with pytest.raises(UnavailableError, match="no answer from http://service") as caught:
        serve(refuse).studies.get(wire.STUDY)
    assert caught.value.code == "service_unreachable"


def test_a_proxy_without_its_service_is_named(serve):
    with pytest.raises(UnavailableError, match="something before the service"):
        serve(lambda request: httpx.Response(502, text="bad gateway")).studies.get(wire.STUDY)


def test_an_error_of_the_request_is_not_tried_again(answers):
    client, requests = answers(problem_answer(404, wire.problem("study_not_found", 404, detail="no")))
    with pytest.raises(NotFoundError):
        client.studies.get(wire.STUDY)
    assert len(requests) == 1


def test_a_submission_is_tried_again_under_the_same_idempotency_key(answers):
    client, requests = answers(CUT, ok())
    client.studies.create(StudyRequest.model_validate(wire.request()))
    keys = [request.headers["idempotency-key"] for request in requests]
    assert keys[0] == keys[1]


def test_two_submissions_have_two_keys(answers):
    client, requests = answers(ok(), ok())
    for _ in range(2):
        client.studies.create(StudyRequest.model_validate(wire.request()))
    assert requests[0].headers["idempotency-key"] != requests[1].headers["idempotency-key"]


def test_a_submission_is_written_as_the_contract_says(answers):
    client, requests = answers(ok())
    client.studies.create(StudyRequest.model_validate(wire.request(seed=3)))
    assert StudyRequest.model_validate_json(requests[0].content).seed == 3


def test_the_token_is_sent(answers):
    client, requests = answers(ok())
    client.studies.get(wire.STUDY)
    assert requests[0].headers["authorization"] == "Bearer secret"


def test_a_url_with_a_path_keeps_it(pauses):
    seen = []
    with Client("http://host/team/", transport=httpx.MockTransport(lambda r: seen.append(r) or ok())) as client:
        client.studies.get(wire.STUDY)
    assert seen[0].url.path == f"/team/v1/studies/{wire.STUDY}"


def test_an_id_is_one_piece_of_the_path(answers):
    client, requests = answers(ok())
    client.studies.get("a/b?c")
    assert requests[0].url.raw_path == b"/v1/studies/a%2Fb%3Fc"


def test_an_empty_id_is_refused(answers):
    client, _ = answers()
    with pytest.raises(InputError, match="empty id"):
        client.studies.get("")


def test_lists_go_on_from_page_to_page(answers):
    first, second = wire.page(wire.study(), following="abc"), wire.page(wire.study(state="completed"))
    client, requests = answers(httpx.Response(200, json=first), httpx.Response(200, json=second))
    states = [study.state for study in client.studies.list()]
    assert (states, requests[1].url.params["cursor"]) == (["running", "completed"], "abc")


def test_pages_are_fetched_as_they_are_asked_for(answers):
    client, requests = answers(httpx.Response(200, json=wire.page(wire.study(), following="abc")))
    next(iter(client.studies.list()))
    assert len(requests) == 1


def test_members_of_a_newer_service_are_ignored(answers):
    client, _ = answers(httpx.Response(200, json=wire.study(moon="full")))
    assert client.studies.get(wire.STUDY).id == wire.STUDY


def test_a_problem_documents_further_members_may_have_any_name(answers):
    document = wire.problem("study_not_found", 404, extra={"got": "twice", "code": "thrice"})
    client, _ = answers(problem_answer(404, document))
    with pytest.raises(NotFoundError) as caught:
        client.studies.get(wire.STUDY)
    assert (caught.value.code, caught.value.extra["code"]) == ("study_not_found", "thrice")


def test_every_call_has_an_id_of_its_own_which_its_attempts_share(answers):
    busy = problem_answer(503, wire.problem("service_busy", 503))
    client, requests = answers(busy, httpx.Response(200, json=wire.page()), httpx.Response(200, json=wire.page()))
    list(client.studies.list())
    list(client.studies.list())
    first, again, second = [request.headers["x-request-id"] for request in requests]
    assert first == again != second


@pytest.mark.parametrize(("status", "told"), [(500, True), (503, True), (404, False)])
def test_an_error_of_the_service_names_the_request_for_its_log(answers, status, told):
    code = {500: "internal_error", 503: "storage_full", 404: "study_not_found"}[status]
    answer = problem_answer(status, wire.problem(code, status), **{"x-request-id": "abc123"})
    client, _ = answers(answer, patience=0)
    with pytest.raises(RankSearchError) as caught:
        client.studies.get("sty_1")
    assert ("request: abc123" in str(caught.value)) is told
