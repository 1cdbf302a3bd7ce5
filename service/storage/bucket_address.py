"""Where a bucket is: ``s3://bucket/prefix?endpoint=http://minio:9000&region=eu-central-1``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from ranksearch.contracts.errors import InputError

__all__ = ["BucketAddress"]

_OPTIONS = ("endpoint", "region", "virtual_hosted_style_request")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_EXPECTED = "s3://BUCKET/PREFIX, with ?endpoint=, &region= and &virtual_hosted_style_request= where needed"


@dataclass(frozen=True)
class BucketAddress:
    """A bucket of an S3-compatible store.

    Credentials come from where AWS's own tools look for them: the environment's ``AWS_ACCESS_KEY_ID`` and
    ``AWS_SECRET_ACCESS_KEY``, a web identity or the machine's role. What the URL leaves open comes from the
    environment, too (``AWS_ENDPOINT_URL``, ``AWS_REGION``).

    Args:
        bucket: its name.
        prefix: of all keys; may be empty.
        options: of the store, by obstore's names.
    """

    bucket: str
    prefix: str
    options: dict[str, str]

    @classmethod
    def parse(cls, url: str) -> BucketAddress:
        """Read a URL.

        Raises:
            InputError: it is none that this service knows.
        """
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise _refused("this is not the URL of a bucket", parts.scheme or url)
        if "@" in parts.netloc:
            raise _refused(
                "a URL is no place for credentials: process lists and logs show it",
                "credentials in the URL",
                mend="put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown or parts.fragment:
            raise _refused("the URL of the bucket has parts that nobody knows", ", ".join(unknown) or parts.fragment)
        endpoint = options.get("endpoint")
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise _refused("an endpoint is a URL", endpoint)
        return cls(parts.netloc, parts.path.strip("/"), options)

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint is one without TLS: one that says ``http://`` is meant."""
        stated = self.options.get("endpoint") or next((os.environ[one] for one in _ENDPOINTS if one in os.environ), "")
        return stated.startswith("http://")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def _refused(detail: str, got: str, mend: str | None = None) -> InputError:
    return InputError("invalid_request", detail, got=got, expected=_EXPECTED, mend=mend)
