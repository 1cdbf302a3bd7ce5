import pickle

import pytest

from ranksearch.contracts.errors import (
    AccessError,
    BudgetInfeasible,
    ConflictError,
    DocumentError,
    InputError,
    NotFoundError,
    RankSearchError,
    UnavailableError,
)


def tree(kind=RankSearchError):
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in tree(sub))]


CODES = [(kind, code) for kind in tree() for code in kind.codes]


def test_no_code_belongs_to_two_classes():
    codes = [code for _, code in CODES]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(("kind", "code"), CODES, ids=[code for _, code in CODES])
def test_a_problem_becomes_the_same_error_again(kind, code):
    error = kind(code, "what happened", got="this", expected="that", mend="do so", nearest=3)
    again = RankSearchError.from_problem(error.to_problem())
    assert (type(again), again.to_problem()) == (kind, error.to_problem())


def test_a_problem_document_has_the_members_of_rfc_9457():
    problem = NotFoundError("study_not_found", "there is no such study").to_problem()
    assert problem == {
        "type": "urn:ranksearch:problem:study_not_found",
        "title": "study not found",
        "status": 404,
        "code": "study_not_found",
        "detail": "there is no such study",
    }


def test_text_says_what_happened_got_expected_and_mend():
    error = InputError("invalid_request", "it is wrong", got="1", expected="2", mend="say 2")
    assert str(error) == "it is wrong\n  got: 1\n  expected: 2\n  mend: say 2"


def test_a_code_of_another_class_is_refused():
    with pytest.raises(ValueError, match="AccessError has no code 'study_not_found'"):
        AccessError("study_not_found", "x")


def test_a_parents_code_is_refused():
    with pytest.raises(ValueError, match="has no code"):
        DocumentError("invalid_request", "x")


def test_an_unknown_code_gives_the_base_class_and_keeps_the_code_in_the_text():
    error = RankSearchError.from_problem({"code": "from_the_future", "detail": "new"})
    assert (type(error), str(error)) == (RankSearchError, "new (from_the_future)")


def test_a_problem_of_somebody_else_has_its_title_as_detail():
    assert RankSearchError.from_problem({"title": "Bad Gateway"}).detail == "Bad Gateway"


def test_errors_survive_pickling():
    error = BudgetInfeasible("budget_infeasible", "no", got="1%", nearest_feasible={"macs": 7})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert (type(again), again.extra) == (BudgetInfeasible, {"nearest_feasible": {"macs": 7}})


def test_large_values_are_shortened():
    assert len(InputError("invalid_request", "x", got="y" * 10_000).got) == 500


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (InputError, "invalid_request", 422),
        (BudgetInfeasible, "budget_infeasible", 422),
        (AccessError, "token_missing", 401),
        (AccessError, "token_scope", 403),
        (NotFoundError, "model_not_found", 404),
        (ConflictError, "lease_lost", 409),
        (UnavailableError, "service_busy", 503),
        (UnavailableError, "storage_full", 507),
        (RankSearchError, "internal_error", 500),
    ],
)
def test_status(kind, code, status):
    assert kind(code, "x").status == status


def test_a_budget_error_is_an_input_error():
    assert issubclass(BudgetInfeasible, InputError)


def test_further_members_may_have_any_name():
    problem = InputError("invalid_request", "no").to_problem() | {"extra": {"got": 1, "code": 2, "self": 3}}
    assert RankSearchError.from_problem(problem).extra == {"got": 1, "code": 2, "self": 3}
