"""A small OpenID provider over real HTTP, with keys of its own, that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT, SECRET = "ranksearch", "between-us"


@dataclass
class Provider:
    """What it says of who signs in, and how it signs.

    ``claims`` replace those it would make; one that is None is left out. ``algorithm`` may be "none", or "HS256" with
    the public key for its secret.
    """

    url: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    kid: str | None = "rsa"
    described: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048))
    elliptic: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    exchanges: list[dict[str, str]] = field(default_factory=list)

    def authorize(self, address: str) -> tuple[str, str]:
        """What a browser that was sent to ``address`` and signed in there comes back with: code and state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.url}/authorize?")
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return code, asked["state"]

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return 200, {
                "issuer": self.url,
                **{name: f"{self.url}/{place}" for name, place in places.items()},
                **self.described,
            }
        if path == "/keys":
            keys = [
                {**json.loads(RSAAlgorithm.to_jwk(self.key.public_key())), "kid": "rsa", "use": "sig", "alg": "RS256"},
                {**json.loads(ECAlgorithm.to_jwk(self.elliptic.public_key())), "kid": "ec", "alg": "ES256"},
            ]
            return 200, {"keys": keys}
        return self._exchange(form, authorization) if path == "/token" else (404, {})

    def _exchange(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        self.exchanges.append(form)
        asked = self.codes.pop(form.get("code", ""), None)
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"id_token": self._id_token(asked["nonce"]), "access_token": "x", "token_type": "Bearer"}

    def _id_token(self, nonce: str) -> str:
        at = int(time.time())
        made = {"iss": self.url, "aud": CLIENT, "sub": "1234", "iat": at, "exp": at + 300, "nonce": nonce}
        told = {"preferred_username": "ada"} | made | self.claims
        claims = {name: value for name, value in told.items() if value is not None}
        headers = {} if self.kid is None else {"kid": self.kid}
        if self.algorithm == "HS256":  # what a verifier that takes any algorithm would check with the public key
            public = RSAAlgorithm.to_jwk(self.key.public_key()).encode()
            return jwt.encode(claims, hashlib.sha256(public).digest(), algorithm="HS256", headers=headers)
        key = {"RS256": self.key, "RS512": self.key, "ES256": self.elliptic, "none": None}[self.algorithm]
        return jwt.encode(claims, key, algorithm=self.algorithm, headers=headers)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider that listens on this machine while the block lasts."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
            status, told = provider.answer(self.path, form, self.headers.get("authorization", ""))
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_one  # noqa: N815 - the names that the base class calls

        def log_message(self, *_given: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield provider
        server.shutdown()
        serving.join()
