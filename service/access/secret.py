"""Secrets of tokens and sessions: how they look, and the only form in which they are kept.

A secret is random enough that nobody can guess it, so its plain sha256 is as good as a slow hash, and looking it up
by that hash takes no time that depends on how much of a guess is right.

``rs_``, 43 characters that are random (256 bits) and six that are the CRC-32 of what stands before them: whoever scans
texts for secrets that leaked finds ``rs_[0-9A-Za-z]{49}`` and can tell a real one from a look-alike.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

__all__ = ["PREFIX", "hashed", "is_well_formed", "new_secret"]

PREFIX = "rs_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 43  # 43 of 62 characters hold 256.03 bits
_CHECK_CHARACTERS = 6  # 62**6 exceeds 2**32


def new_secret() -> str:
    """A secret that nobody has seen yet."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))
    return body + _check(body)


def is_well_formed(secret: str) -> bool:
    """Whether it is one of ours by its looks; says nothing about whether it opens anything."""
    body, check = secret[:-_CHECK_CHARACTERS], secret[-_CHECK_CHARACTERS:]
    return (
        len(body) == len(PREFIX) + _RANDOM_CHARACTERS
        and body.startswith(PREFIX)
        and set(body.removeprefix(PREFIX)) <= set(_ALPHABET)
        and check == _check(body)
    )


def hashed(secret: str) -> str:
    """The form in which it is kept: its sha256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    while len(digits) < _CHECK_CHARACTERS:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
