"""What an answer says to be. Pure."""

from __future__ import annotations

from typing import Final

from providers.failures import clean_message
from providers.wire import Headers

JSON: Final = (b"application/json", b"text/json")
EVENT_STREAM: Final = (b"text/event-stream",)


def other_type(headers: Headers, expected: tuple[bytes, ...]) -> str | None:
    """What an answer says to be instead of what is expected, fit to be shown: a proxy's page, another service. None
    where it is right, or says nothing."""
    if (b"content-type", expected[0]) in headers:
        return None  # as most write it, and found at once
    said = next((value for name, value in headers if name == b"content-type"), b"").partition(b";")[0].strip().lower()
    if not said or said in expected:
        return None
    return clean_message(said[:80].decode("latin-1"))
