"""OpenID Connect, as far as a service needs it: the code flow with PKCE, and ID tokens that are verified.

Nothing that a browser brings back is believed before the provider's own signature says it: the code is exchanged over
our own connection, and of the ID token the signature (RS256 or ES256, by the provider's published keys), issuer,
audience, expiry and nonce are checked. RFC 7636, OpenID Connect Core 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import jwt

from ranksearch.contracts.errors import AccessError, UnavailableError

__all__ = ["Attempt", "Identity", "OidcProvider"]

_ALGORITHMS = ["RS256", "ES256"]
_CLOCK_LEEWAY_SECONDS = 30
_ATTEMPT_SECONDS = 600
_KEYS_SECONDS = 3600.0
_NEW_KEYS_SECONDS = 10.0
"""So seldom keys are asked for anew because a token names one that is not known."""


@dataclass(frozen=True)
class Attempt:
    """Somebody who was sent to the provider and is to come back: what tells that it is the same browser.

    It travels in a cookie that :meth:`sealed` signs; nobody can make one, and it is of use for ten minutes.
    """

    state: str
    nonce: str
    verifier: str
    project: str | None
    following: str

    @classmethod
    def new(cls, project: str | None, following: str) -> Attempt:
        """An attempt that nobody can guess."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), project, following)

    def sealed(self, key: bytes) -> str:
        """As the cookie's value."""
        return jwt.encode({**asdict(self), "exp": time.time() + _ATTEMPT_SECONDS}, key, algorithm="HS256")

    @classmethod
    def unsealed(cls, cookie: str | None, key: bytes, state: str | None) -> Attempt:
        """The attempt in a cookie, provided that the provider's answer belongs to it.

        Raises:
            AccessError: ``sign_in_refused``: there is none, it is too old, or the answer belongs to another one.
        """
        try:
            told = jwt.decode(cookie or "", key, algorithms=["HS256"], options={"require": ["exp"]})
            attempt = cls(**{name: told[name] for name in cls.__dataclass_fields__})
        except (jwt.InvalidTokenError, KeyError):
            raise _refused("this browser has no sign-in under way, or took more than ten minutes") from None
        if not hmac.compare_digest(attempt.state.encode(), (state or "").encode()):
            raise _refused("the provider's answer belongs to another sign-in")
        return attempt


@dataclass(frozen=True)
class Identity:
    """Whom the provider has signed in. ``subject`` names issuer and subject: it is theirs for ever."""

    subject: str
    name: str


class OidcProvider:
    """One provider, and this service as its client. Safe to use from several threads.

    Args:
        issuer: its URL.
        client_id: by which it knows this service.
        client_secret: which it and this service know.
        redirect_url: where it sends browsers back to: this service's ``/v1/oidc/callback``.
    """

    def __init__(self, issuer: str, client_id: str, client_secret: str, redirect_url: str) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._redirect_url = redirect_url
        self._lock = threading.Lock()
        self._about: dict[str, Any] | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._asked_for_keys = float("-inf")

    def address_for(self, attempt: Attempt) -> str:
        """Where to send the browser."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_url,
            "scope": "openid profile email",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return str(httpx.URL(self._described("authorization_endpoint")).copy_merge_params(query))

    def identity(self, code: str, attempt: Attempt) -> Identity:
        """Whom the code stands for.

        Raises:
            AccessError: ``sign_in_refused``: for nobody, or what the provider says does not hold.
            UnavailableError: the provider does not answer.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_url,
            "code_verifier": attempt.verifier,
        }
        answer = self._ask("POST", self._described("token_endpoint"), data=form, auth=self._credentials())
        if answer.is_client_error:
            raise _refused("the provider does not take the code", got=f"status {answer.status_code}")
        id_token = _members(answer).get("id_token")
        if not isinstance(id_token, str):
            raise _refused("the provider sent no ID token")
        return self._verified(id_token, attempt.nonce)

    def _verified(self, id_token: str, nonce: str) -> Identity:
        try:
            claims = jwt.decode(
                id_token,
                self._key(id_token),
                algorithms=_ALGORITHMS,
                audience=self._client_id,
                issuer=self.issuer,
                leeway=_CLOCK_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as problem:
            raise _refused("the provider's ID token does not hold", got=str(problem)) from problem
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise _refused("the provider's ID token belongs to another sign-in", got="another nonce")
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self._client_id:
            raise _refused("the provider's ID token was made for another client", got=f"azp {claims.get('azp')}")
        known_as = claims.get("preferred_username") or claims.get("email") or claims["sub"]
        return Identity(f"{self.issuer} {claims['sub']}", str(known_as))

    def _key(self, id_token: str) -> jwt.PyJWK:
        """The published key that a token names; of one that is not known the keys are asked for anew."""
        name = jwt.get_unverified_header(id_token).get("kid")
        with self._lock:
            age = time.monotonic() - self._asked_for_keys
            if age > _KEYS_SECONDS or (name not in self._keys and age > _NEW_KEYS_SECONDS):
                published = _members(self._ask("GET", self._described("jwks_uri")))
                usable = [key for key in jwt.PyJWKSet.from_dict(published).keys if key.public_key_use in {None, "sig"}]
                self._keys = {key.key_id: key for key in usable}
                if len(usable) == 1:
                    self._keys[None] = usable[0]
                self._asked_for_keys = time.monotonic()
            if name not in self._keys:
                raise jwt.InvalidKeyError("it names a key that the provider does not publish")
            return self._keys[name]

    def _described(self, endpoint: str) -> str:
        """An address of the provider's, as it describes itself."""
        if self._about is None:
            where = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            about = _members(self._ask("GET", where))
            if about.get("issuer") != self.issuer:
                raise UnavailableError(
                    "service_answer_invalid",
                    "the provider of single sign-on describes another one",
                    got=about.get("issuer"),
                    expected=self.issuer,
                    mend="correct oidc_issuer",
                )
            self._about = about
        return str(self._about.get(endpoint, ""))

    def _credentials(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self._client_id, self._client_secret)

    @staticmethod
    def _ask(method: str, url: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            answer = httpx.request(method, url, timeout=10, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as problem:
            raise _away(f"{type(problem).__name__} at {url}") from problem
        if answer.is_success or (method == "POST" and answer.is_client_error):
            return answer
        raise _away(f"status {answer.status_code} at {url}")


def _members(answer: httpx.Response) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise _away("an answer that is no JSON object")
    return told


def _away(got: str) -> UnavailableError:
    return UnavailableError(
        "service_unreachable", "the provider of single sign-on does not answer as it should", got=got, mend="try again"
    )


def _refused(detail: str, got: object = None) -> AccessError:
    return AccessError("sign_in_refused", detail, got=got, mend="sign in again: GET /v1/oidc/login")
