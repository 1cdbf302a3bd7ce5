from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.settings import Settings


def settings(database_url):
    return Settings(data_dir="somewhere", token="t" * 16, database_url=database_url)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("sqlite:////var/lib/ranksearch/studies.db", "sqlite:////var/lib/ranksearch/studies.db"),
        ("sqlite:///studies.db", "sqlite:///studies.db"),
        ("postgres://someone@host/name", "postgresql+psycopg://someone@host/name"),
        ("postgresql://someone@host/name", "postgresql+psycopg://someone@host/name"),
    ],
)
def test_a_database_is_named_with_its_driver(given, url):
    assert settings(given).url == url


@pytest.mark.parametrize("given", ["mysql://host/name", "studies.db", "postgresql:host"])
def test_another_database_is_refused_by_what_it_must_be(given):
    with pytest.raises(ValidationError, match="sqlite:///FILE or postgresql://USER@HOST/NAME"):
        settings(given)


@pytest.mark.parametrize("given", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(given):
    with pytest.raises(ValidationError, match="ends with its connection"):
        settings(given)
