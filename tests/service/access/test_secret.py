from __future__ import annotations

import hashlib
import re

import pytest

from service.access.secret import hashed, is_well_formed, new_secret


def test_a_secret_looks_like_one():
    assert re.fullmatch(r"rs_[0-9A-Za-z]{49}", new_secret())


def test_no_two_secrets_are_equal():
    assert len({new_secret() for _ in range(1000)}) == 1000


def test_a_secret_of_ours_is_well_formed():
    assert all(is_well_formed(new_secret()) for _ in range(100))


@pytest.mark.parametrize("at", [3, 20, 45, 46, 51])
def test_a_changed_character_is_noticed(at):
    secret = new_secret()
    other = "a" if secret[at] != "a" else "b"
    assert not is_well_formed(secret[:at] + other + secret[at + 1 :])


@pytest.mark.parametrize("text", ["", "rs_", "rs_" + "0" * 49, "a-token-for-the-tests", "rs_" + "-" * 49])
def test_what_only_looks_similar_is_none(text):
    assert not is_well_formed(text)


def test_it_is_kept_as_its_sha256():
    assert hashed("rs_x") == hashlib.sha256(b"rs_x").hexdigest()
