"""Which study a person means."""

from __future__ import annotations

import re
from typing import Final

from ranksearch.client import Client
from ranksearch.contracts.errors import InputError, NotFoundError
from ranksearch.contracts.studies import Study

__all__ = ["find_study"]

_ID: Final = re.compile(r"^sty_[0-9a-z]{16}$")


def find_study(client: Client, reference: str) -> Study:
    """The study with this id or name, or the only one whose id or name begins so; "latest": the youngest.

    Raises:
        NotFoundError: there is none.
        InputError: there are several.
    """
    if _ID.match(reference):
        return client.studies.get(reference)
    studies = list(client.studies.list())  # the youngest first
    if reference == "latest" and studies:
        return studies[0]
    found = [study for study in studies if reference in {study.id, study.name}] or [
        study for study in studies if study.id.startswith(reference) or study.name.startswith(reference)
    ]
    if not found:
        raise NotFoundError(
            "study_not_found", "there is no such study", got=reference, mend="list them with: ranksearch status"
        )
    if len(found) > 1:
        raise InputError(
            "invalid_request",
            f"{len(found)} studies answer to {reference}",
            got=", ".join(f"{study.id} ({study.name})" for study in found[:5]),
            expected="one",
            mend="give the id",
        )
    return found[0]
