from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ranksearch.contracts.errors import InputError
from service.command_line import add_options, option_of, read_settings, settings_table, variable_of
from service.settings import Settings

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-sixteen"  # noqa: S105 - of no service
VALUES = {
    "data_dir": "/srv/rs",
    "token": "another-token-of-sixteen",
    "host": "0.0.0.0",  # noqa: S104 - read, not bound
    "database_url": "postgresql+psycopg://u@h/n",
    "log_level": "debug",
    "log_format": "json",
    "metrics_open": "true",
    "public_url": "https://ranksearch.example.org",
    "oidc_issuer": "https://login.example.org",
    "oidc_redirect_url": "https://ranksearch.example.org/v1/oidc/callback",
    "oidc_auto_create": "true",
}
SECRETS = {"token", "oidc_client_secret"}


def read(*arguments, **environment):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read_settings(parser.parse_args(arguments), token=lambda: TOKEN, environment=environment)


def sample(member):
    """A value that is not the default, as text."""
    default = Settings.model_fields[member].default
    number = isinstance(default, int | float) and not isinstance(default, bool)
    return VALUES.get(member) or (f"{default + 3:g}" if number and default < 1e6 else "7")


@pytest.mark.parametrize("member", list(Settings.model_fields))
def test_every_setting_can_be_given_by_the_environment(member):
    environment = {variable_of("data_dir"): "/srv/other", variable_of(member): sample(member)}
    settings = read(**environment)
    told = getattr(settings, member)
    assert (
        str(told).lower() if isinstance(told, bool | Path) else f"{told:g}" if isinstance(told, float) else str(told)
    ) == sample(member)
    assert told != Settings.model_fields[member].default


@pytest.mark.parametrize("member", [member for member in Settings.model_fields if member not in SECRETS])
def test_every_setting_but_secrets_can_be_given_by_option_which_wins(member):
    yes_no = isinstance(Settings.model_fields[member].default, bool)
    option = [option_of(member)] if yes_no else [option_of(member), sample(member)]
    directory = [] if member == "data_dir" else ["--data-dir", "/srv/other"]
    other = {variable_of(member): "false"} if yes_no else {}
    by_option = read(*directory, *option, **other)
    by_variable = read(*directory, **{variable_of(member): sample(member)})
    assert getattr(by_option, member) == getattr(by_variable, member)


def test_a_secret_is_on_no_command_line():
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert "--token " not in parser.format_help()
    assert "secret" not in parser.format_help()


def test_a_yes_can_be_taken_back():
    assert not read("--data-dir", "/d", "--no-metrics-open", RANKSEARCH_SERVICE_METRICS_OPEN="1").metrics_open


def test_an_empty_variable_counts_as_none():
    assert read("--data-dir", "/d", RANKSEARCH_SERVICE_DATABASE_URL="").database_url is None


def test_a_value_that_cannot_be_used_is_named_with_its_option_and_variable():
    with pytest.raises(InputError) as caught:
        read("--data-dir", "/d", RANKSEARCH_SERVICE_LEASE_SECONDS="soon")
    assert "--lease-seconds (RANKSEARCH_SERVICE_LEASE_SECONDS)" in str(caught.value)
    assert caught.value.got == "soon"


@pytest.mark.parametrize(
    "url", ["ranksearch.example.org", "https://", "https://a b", "https://a; rm -rf", "https://a/?b=c"]
)
def test_a_public_address_that_could_not_stand_in_a_command_is_refused(url):
    with pytest.raises(InputError) as caught:
        read("--data-dir", "/d", RANKSEARCH_SERVICE_PUBLIC_URL=url)
    assert "https://ranksearch.example.com" in str(caught.value)


def test_a_secret_that_cannot_be_used_is_not_shown():
    with pytest.raises(InputError) as caught:
        read("--data-dir", "/d", RANKSEARCH_SERVICE_TOKEN="short")  # noqa: S106 - too short to be one
    assert "short" not in str(caught.value).replace("should", "")


def test_no_data_directory_is_named():
    with pytest.raises(InputError, match="RANKSEARCH_SERVICE_DATA_DIR"):
        read()


def test_every_setting_says_what_it_is():
    assert [name for name, about in Settings.model_fields.items() if not about.description] == []


def test_the_documentation_lists_every_setting():
    documented = (ROOT / "docs" / "operations.md").read_text()
    assert settings_table() in documented, "bring it up to date with: python docs/settings_table.py"
