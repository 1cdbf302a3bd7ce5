"""HTTP as the client uses it: one connection pool, retries where a call may be repeated, one kind of error.

Safe to use from several threads: httpx's pool is, and nothing else is kept here but a flag.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from ranksearch.client.address import Address
from ranksearch.client.retries import RETRIED_STATUSES, Attempts, retry_after
from ranksearch.contracts.base import Page
from ranksearch.contracts.errors import InputError, RankSearchError, UnavailableError, UploadError
from ranksearch.contracts.loglines import REQUEST_ID_HEADER, new_request_id, request_id_of

__all__ = ["Transport", "segment"]

Answer = TypeVar("Answer")
Item = TypeVar("Item")
Body = Callable[[], Iterator[bytes]]
"""Makes the request's body anew for each attempt."""

_FIRST_CONTACT_PATIENCE: Final = 2.0
"""Seconds to keep trying a service that has never answered: more likely a wrong URL than a restart."""

_TRUST: Final = (
    "where the service's certificate is signed by an authority of your own, name that one's certificate:"
    " SSL_CERT_FILE=/path/to/root.crt"
)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before a single byte left: any call may be repeated after these."""


class Transport:
    """Sends requests to one service.

    Args:
        address: the service and its token.
        transport: another httpx transport, for tests.
        timeout: seconds for connecting, and between two pieces of an answer.
        patience: seconds a repeatable call keeps trying while the service is away or busy.
    """

    def __init__(
        self,
        address: Address,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
        patience: float = 30.0,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.patience = patience
        self._answered = False
        headers = {"User-Agent": f"ranksearch/{importlib.metadata.version('ranksearch')}"}
        if address.token is not None:
            headers["Authorization"] = f"Bearer {address.token}"
        self._http = httpx.Client(
            base_url=address.url,
            headers=headers,
            transport=transport,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            trust_env=not address.on_this_machine,
            # Made here, as SSL_CERT_FILE is heeded on this machine too, where the environment's proxies are not.
            verify=httpx.create_ssl_context() if address.url.startswith("https:") else True,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def attempts(self, patience: float | None = None) -> Attempts:
        """The attempts of one call; a service that never answered yet gets less patience."""
        patience = self.patience if patience is None else patience
        return Attempts(patience if self._answered else min(patience, _FIRST_CONTACT_PATIENCE))

    def request(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool,
        params: Mapping[str, Any] | None = None,
        json: BaseModel | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        patience: float | None = None,
    ) -> httpx.Response:
        """A successful answer.

        Args:
            method: the HTTP method.
            path: from the service's URL on, with its leading slash.
            repeatable: whether doing it twice does it once: such calls are repeated when an answer stays away.
            params: the query; members that are None are left out.
            json: the body, as a wire shape.
            body: or as bytes, made anew for each attempt.
            headers: further headers.
            timeout: another time limit for this call.
            patience: another patience for this call.

        Raises:
            RankSearchError: of the class that the answer names; without an answer, an UnavailableError.
        """
        attempts = self.attempts(patience)
        sent_headers = {
            REQUEST_ID_HEADER: new_request_id(),
            **(headers or {}),
            **({"Content-Type": "application/json"} if json is not None else {}),
        }
        while True:
            content = body() if body is not None else json.model_dump_json(by_alias=True) if json is not None else None
            try:
                response = self._http.request(
                    method,
                    path,
                    params={name: value for name, value in (params or {}).items() if value is not None},
                    content=content,
                    headers=sent_headers,
                    timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
                )
            except httpx.RequestError as error:
                failure = self.failure(error)
                if not _worth_repeating(error, repeatable=repeatable):
                    raise failure from error
                attempts.pause(failure)
                continue
            if response.is_success:
                self._answered = True
                return response
            self.refuse_or_pause(response, attempts, repeatable=repeatable)

    def refuse_or_pause(self, response: httpx.Response, attempts: Attempts, *, repeatable: bool = True) -> None:
        """Return after a pause when an unsuccessful answer is worth another attempt; else raise its error."""
        failure = self.refusal(response)
        if not repeatable or response.status_code not in RETRIED_STATUSES:
            raise failure
        attempts.pause(failure, at_least=retry_after(response.headers.get("Retry-After")))

    @contextlib.contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> Iterator[httpx.Response]:
        """A GET whose answer is read piece by piece. One attempt; httpx's own errors pass through.

        The answer may be an unsuccessful one; then its body has been read.
        """
        with self._http.stream(
            "GET", path, headers=headers, timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout
        ) as response:
            if response.is_success:
                self._answered = True
            else:
                response.read()
            yield response

    def fetch(self, kind: type[Answer], path: str, **params: Any) -> Answer:  # noqa: ANN401 - any query value
        """GET a wire shape."""
        return self.parsed(kind, self.request("GET", path, repeatable=True, params=params))

    def pages(self, kind: type[Item], path: str, **params: Any) -> Iterator[Item]:  # noqa: ANN401 - any query value
        """The items of all pages of a list, fetched as they are asked for."""
        cursor: str | None = None
        while True:
            page = self.fetch(Page[kind], path, cursor=cursor, **params)  # type: ignore[valid-type]  # a runtime type
            yield from page.items
            if page.next is None:
                return
            cursor = page.next

    def parsed(self, kind: type[Answer], response: httpx.Response) -> Answer:
        """An answer's body as a wire shape.

        Raises:
            UnavailableError: it is none.
        """
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError as error:
            raise self._invalid(response, f"a {getattr(kind, '__name__', 'known shape')}") from error

    def failure(self, error: httpx.RequestError) -> RankSearchError:
        """What a request that got no whole answer ends with."""
        if isinstance(error, httpx.LocalProtocolError):
            return UploadError(
                "upload_incomplete",
                "the request could not be sent as announced",
                got=str(error),
                expected="a file that stays as it is while it is uploaded",
            )
        if not isinstance(error, httpx.TransportError):
            return UnavailableError("service_answer_invalid", "the answer cannot be read", got=str(error))
        return UnavailableError(
            "service_unreachable",
            f"no answer from {self.address.url}",
            got=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
            mend=_TRUST if "CERTIFICATE_VERIFY_FAILED" in str(error) else self.address.mend,
        )

    def refusal(self, response: httpx.Response) -> RankSearchError:
        """The error that an unsuccessful answer describes."""
        if response.headers.get("Content-Type", "").partition(";")[0].strip() == "application/problem+json":
            with contextlib.suppress(ValueError, TypeError):  # a problem document of somebody else
                problem = response.json()
                if isinstance(problem, dict):
                    self._answered = True
                    return _with_request_id(RankSearchError.from_problem(problem), response)
        if response.status_code in RETRIED_STATUSES:
            return UnavailableError(
                "service_unreachable",
                f"something before the service at {self.address.url} answers in its place",
                got=_summary(response),
                mend=self.address.mend,
            )
        return self._invalid(response, "an answer of this API")

    def _invalid(self, response: httpx.Response, expected: str) -> UnavailableError:
        mend = f"check that {self.address.url} is the URL of a ranksearch service of this version"
        if response.is_redirect:
            mend = f"use the URL that it points to: {response.headers.get('Location')}"
        return UnavailableError(
            "service_answer_invalid",
            f"{self.address.url} answers what this client does not understand",
            got=_summary(response),
            expected=expected,
            mend=mend,
        )


def segment(identifier: str) -> str:
    """An id as one piece of a path.

    Raises:
        InputError: it is empty.
    """
    if not identifier:
        raise InputError("invalid_request", "an empty id names nothing", got=identifier, expected="an id")
    return quote(identifier, safe="")


def _worth_repeating(error: httpx.RequestError, *, repeatable: bool) -> bool:
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return False
    return isinstance(error, _NEVER_SENT) or (repeatable and isinstance(error, httpx.TransportError))


def _with_request_id(error: RankSearchError, response: httpx.Response) -> RankSearchError:
    """With the id under which the service's log tells more, where that is worth reading."""
    told = response.headers.get(REQUEST_ID_HEADER)
    if response.status_code >= 500 and told is not None and request_id_of(told) == told:  # noqa: PLR2004 - its fault
        error.extra.setdefault("request_id", told)
    return error


def _summary(response: httpx.Response) -> str:
    text = " ".join(response.text.split())[:200]
    return f"{response.request.method} {response.request.url} → {response.status_code} {text}".rstrip()
