"""What the headers of a request say of its caller: the key, and the team to bill. Pure; knows no store.

The key comes as `Authorization: Bearer hf_…`, as the value `Bearer: hf_…` or a header `Bearer: hf_…` (the chat
completion specification prints it so), or as `x-api-key` (Anthropic's older clients); the first of these counts, since
an Anthropic client may carry a key of its own beside the one that was set for the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Headers = Mapping[bytes, bytes]
"""As ASGI gives them: names in lower case."""

_BEARER: Final = re.compile(rb"bearer:?[ \t]+(\S+)[ \t]*", re.IGNORECASE)
_TOKEN: Final = re.compile(rb"\S+")


@dataclass(frozen=True, slots=True)
class Credentials:
    token: bytes = field(repr=False)
    bill_to: bytes | None = None
    """The team that `X-HF-Bill-To` names, unchecked; None where the header is absent or empty."""


def read_credentials(headers: Headers) -> Credentials | None:
    """The key that a request carries, or None."""
    token = _token(headers)
    if token is None:
        return None
    bill_to = headers.get(b"x-hf-bill-to")
    return Credentials(token, bill_to.strip() or None if bill_to is not None else None)


def _token(headers: Headers) -> bytes | None:
    match = _BEARER.fullmatch(headers.get(b"authorization", b""))
    if match is not None:
        return match[1]
    for name in (b"bearer", b"x-api-key"):
        match = _TOKEN.fullmatch(headers.get(name, b""))
        if match is not None:
            return match[0]
    return None
