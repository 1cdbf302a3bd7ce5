"""The provider of single sign-on that this service was started with."""

from __future__ import annotations

from fastapi import Request

from ranksearch.contracts.errors import InputError, NotFoundError
from service.access.oidc import OidcProvider
from service.settings import Settings

__all__ = ["open_provider", "provider", "subject_here"]


def open_provider(settings: Settings) -> OidcProvider | None:
    """The provider that the settings name; None where they name none.

    Raises:
        InputError: they name it in part.
    """
    issuer, client_id = settings.oidc_issuer, settings.oidc_client_id
    secret, redirect_url = settings.oidc_client_secret, settings.oidc_redirect_url
    if issuer is not None and client_id is not None and secret is not None and redirect_url is not None:
        return OidcProvider(issuer, client_id, secret, redirect_url)
    if issuer is client_id is secret is redirect_url is None:
        return None
    needed = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_redirect_url")
    missing = [name for name in needed if getattr(settings, name) is None]
    raise InputError(
        "invalid_request",
        "single sign-on is described in part",
        expected=", ".join(needed),
        mend=f"give {', '.join(missing)} as well, or none of them",
    )


async def provider(request: Request) -> OidcProvider:
    """For routes.

    Raises:
        NotFoundError: there is none.
    """
    found: OidcProvider | None = request.app.state.oidc
    if found is None:
        raise NotFoundError(
            "not_found", "this service has no single sign-on", mend="start it with the settings oidc_issuer and others"
        )
    return found


def subject_here(request: Request, subject: str | None) -> str | None:
    """A subject as users are known by it: together with its issuer.

    Raises:
        InputError: this service has no single sign-on.
    """
    if subject is None:
        return None
    found: OidcProvider | None = request.app.state.oidc
    if found is None:
        raise InputError(
            "invalid_request",
            "subject: this service has no single sign-on",
            got=subject,
            mend="leave it out, or start the service with the settings oidc_issuer and others",
        )
    return f"{found.issuer} {subject}"
