"""A service whose certificate an authority of one's own has signed, as Caddy does for names of a private network."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ranksearch.client import Client
from ranksearch.contracts.errors import UnavailableError
from tests.ranksearch import wire


def _certificate(folder: Path) -> Path:
    """A file with the key and the certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "service.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class _Studies(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(wire.study()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path):
    return _certificate(tmp_path)


@pytest.fixture
def url(certificate) -> Iterator[str]:
    """Of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HTTPServer(("127.0.0.1", 0), _Studies) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_unknown_authority_is_told_and_how_to_trust_it(url, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with Client(url, token="t" * 20, patience=0) as client, pytest.raises(UnavailableError) as caught:
        client.studies.get(wire.STUDY)
    assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.got)
    assert "SSL_CERT_FILE=" in str(caught.value.mend)


def test_what_it_tells_to_do_helps(url, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Client(url, token="t" * 20) as client:
        assert client.studies.get(wire.STUDY).id == wire.STUDY
