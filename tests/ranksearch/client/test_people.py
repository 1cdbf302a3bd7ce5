import httpx
import pytest


@pytest.mark.parametrize(
    ("asked", "sent"), [({}, {}), ({"user": "ada"}, {"user": "ada"}), ({"everybody": True}, {"everybody": "true"})]
)
def test_tokens_are_asked_for_of_whom_one_wants(answers, asked, sent):
    client, requests = answers(httpx.Response(200, json={"items": [], "next": None}))
    assert list(client.tokens.list(**asked)) == []
    assert requests[0].url.path == "/v1/tokens"
    assert dict(requests[0].url.params) == sent
