"""Server-sent events: bytes in, events out, and one event to bytes.

A line ends with LF, CR or CRLF and with nothing else: U+2028 and U+0085 are ordinary characters inside JSON.
Nothing here knows JSON, and nothing here reads from a network.
"""

from __future__ import annotations

from typing import Final

Event = tuple[str, bytes]
"""The name (empty where none was given) and the data, its lines joined by LF."""

EVENT_BYTES_MAX: Final = 8 << 20
_BOM: Final = b"\xef\xbb\xbf"


class EventTooLargeError(ValueError):
    """An event that is larger than the decoder was told to hold. `events` came before it."""

    def __init__(self, max_bytes: int, events: list[Event]) -> None:
        super().__init__(f"an event of more than {max_bytes} bytes")
        self.events = events


class SseDecoder:
    """Takes a body in pieces of any size and gives the events that are complete.

    Events without data (comments, a bare `event:` line) are not given. After `EventTooLargeError` the decoder
    must not be fed again.
    """

    __slots__ = ("_after_cr", "_begun", "_held", "_max_bytes")

    def __init__(self, max_bytes: int = EVENT_BYTES_MAX) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._begun = False
        self._after_cr = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that end within `data`. Raises EventTooLargeError."""
        held = self._held
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if self._begun and not held and data.endswith(b"\n\n") and len(data) <= self._max_bytes:
            return _events(data)

        seen = len(held)
        held += data
        if not self._begun and not self._skip_bom():
            return []
        end = held.rfind(b"\n\n", max(0, seen - 1))
        if end < 0:
            if len(held) > self._max_bytes:
                raise EventTooLargeError(self._max_bytes, [])
            return []
        whole = bytes(held[: end + 2])
        del held[: end + 2]
        events = _events(whole)
        for at, (_, event) in enumerate(events):
            if len(event) > self._max_bytes:
                raise EventTooLargeError(self._max_bytes, events[:at])
        if len(held) > self._max_bytes:
            raise EventTooLargeError(self._max_bytes, events)
        return events

    def flush(self) -> tuple[list[Event], bytes]:
        """What is left when the body has ended: an event whose blank line never came, and its bytes."""
        whole = bytes(self._held)
        self._held.clear()
        return _events(whole), whole

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]  # the second half of a CRLF that two reads have torn apart
            if not data:
                self._after_cr = False
                return data
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _skip_bom(self) -> bool:
        """Whether the start is known: enough bytes to tell a byte order mark from text."""
        held = self._held
        if len(held) < len(_BOM) and _BOM.startswith(bytes(held)):
            return False
        if held.startswith(_BOM):
            del held[: len(_BOM)]
        self._begun = True
        return True


def _events(whole: bytes) -> list[Event]:
    """The events of text that has LF alone as its line ending."""
    events: list[Event] = []
    for block in whole.split(b"\n\n"):
        # Nearly every event of every provider is this one line.
        if block.startswith(b"data: ") and b"\n" not in block:
            events.append(("", block[6:]))
        elif block:
            event = _event(block)
            if event is not None:
                events.append(event)
    return events


def _event(block: bytes) -> Event | None:
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    joined = b"\n".join(data)
    return (name.decode("utf-8", "replace"), joined) if joined else None


def encode_event(data: bytes) -> bytes:
    """One unnamed event. `data` must hold no line ending, as JSON of this project never does."""
    return b"data: " + data + b"\n\n"
