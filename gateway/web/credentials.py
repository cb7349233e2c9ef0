"""What the headers of a request say of its caller: the key, and the team to bill. Pure; knows no store.

The key comes as `Authorization: Bearer hf_…`, as the value `Bearer: hf_…` or a header `Bearer: hf_…` (the chat
completion specification prints it so), or as `x-api-key` (Anthropic's older clients).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI gives them: names in lower case."""

_BEARER: Final = re.compile(rb"bearer:?[ \t]+(\S+)[ \t]*", re.IGNORECASE)
_TOKEN: Final = re.compile(rb"\S+")


@dataclass(frozen=True, slots=True)
class Credentials:
    token: bytes = field(repr=False)
    bill_to: bytes | None = None
    """The team that `X-HF-Bill-To` names, unchecked; None where the header is absent or empty."""


def read_credentials(headers: Headers) -> Credentials | None:
    """The one key that a request carries, or None where it carries none, or two that differ."""
    tokens: set[bytes] = set()
    bill_to: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            match = _BEARER.fullmatch(value)
            if match is not None:
                tokens.add(match[1])
        elif name in (b"x-api-key", b"bearer"):
            if _TOKEN.fullmatch(value):
                tokens.add(value)
        elif name == b"x-hf-bill-to":
            bill_to = value.strip() or None
    # Anthropic's clients may send one key in both headers; two different ones leave open whose the request is.
    if len(tokens) != 1:
        return None
    return Credentials(tokens.pop(), bill_to)
