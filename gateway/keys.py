"""Gateway keys as text: `hf_gw_<id8><secret43><crc6>`, base62.

Eight public characters to look up and to show, 256 random bits, and a CRC-32 by which a typo is told from a key without
asking any store. The prefix begins with `hf_` because Hugging Face clients route only such tokens. A key is kept as
its SHA-256 alone: with 256 random bits there is nothing to stretch, and a slow hash would be a gift to an attacker.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final
from zlib import crc32

MARK: Final = "hf_gw_"
ID_CHARS: Final = 8
SECRET_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6
KEY_CHARS: Final = len(MARK) + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS
SECRET_BITS: Final = 256

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(
    rf"{MARK}([0-9A-Za-z]{{{ID_CHARS}}})[0-9A-Za-z]{{{SECRET_CHARS}}}([0-9A-Za-z]{{{CHECKSUM_CHARS}}})"
)
_ID: Final = re.compile(rf"[0-9A-Za-z]{{{ID_CHARS}}}")


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` is shown once and kept nowhere; `digest` is what a store keeps."""

    text: str = field(repr=False)
    id: str
    prefix: str
    """`hf_gw_` and the id: enough to recognise a key, useless to call with."""
    digest: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A text that has the form of a key and a right checksum. Whether it opens anything only a store can say."""

    id: str
    digest: str = field(repr=False)


def mint(key_id: str | None = None) -> MintedKey:
    """A new random key; with `key_id` a new secret under an id that exists already, as in a rotation.

    Raises ValueError for an id that is not eight base62 characters.
    """
    if key_id is None:
        key_id = "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))
    elif not _ID.fullmatch(key_id):
        raise ValueError(f"{key_id!r} is not {ID_CHARS} characters of 0-9 A-Z a-z")
    body = f"{MARK}{key_id}{_base62(secrets.randbits(SECRET_BITS), SECRET_CHARS)}"
    text = f"{body}{_base62(crc32(body.encode()), CHECKSUM_CHARS)}"
    return MintedKey(text=text, id=key_id, prefix=f"{MARK}{key_id}", digest=digest(text))


def parse(text: str) -> ParsedKey | None:
    """The id and digest of a well-formed key, or None for anything else: wrong form, length or checksum."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    encoded = text.encode()
    if _base62(crc32(encoded[:-CHECKSUM_CHARS]), CHECKSUM_CHARS) != match[2]:
        return None
    return ParsedKey(id=match[1], digest=sha256(encoded).hexdigest())


def digest(text: str) -> str:
    """Hex SHA-256 of a whole key."""
    return sha256(text.encode()).hexdigest()


def equal(left: str, right: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return compare_digest(left.encode(), right.encode())


def _base62(number: int, width: int) -> str:
    characters = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        characters.append(_ALPHABET[rest])
    return "".join(reversed(characters))
