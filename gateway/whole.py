"""`delivery: whole`: a stream that is read to its end before any of it goes out, so that whatever breaks it is a failed
attempt like any other."""

from __future__ import annotations

from typing import Final

from gateway.exchange import LiveStream
from providers.wire import FailureKind, ProviderFailure

BYTES_MAX: Final = 32 << 20
"""Of the chunks that are held for one answer."""


class KeptBack:
    """What is held of the attempt under way. One per request."""

    __slots__ = ("text_chars",)

    def __init__(self) -> None:
        self.text_chars = 0
        """How much text its provider has given: it will bill it, whether or not anybody gets it."""

    async def fill(self, live: LiveStream) -> None:
        """Reads a stream until its `first` is all of it. Raises ProviderFailure where it breaks, or is too long; the
        stream is closed then."""
        held, bytes_left = live.first, BYTES_MAX
        deltas = list(held)
        self.text_chars = 0
        try:
            while True:
                self.text_chars += sum(delta.text_chars for delta in deltas)
                bytes_left -= sum(len(delta.data) for delta in deltas)
                if bytes_left < 0:
                    raise ProviderFailure(
                        FailureKind.UNREADABLE, f"the answer is longer than {BYTES_MAX} bytes", status=200
                    )
                if live.ended:
                    return
                deltas = await live.read()
                held.extend(deltas)
        except ProviderFailure as failure:
            failure.status = 200
            failure.text_chars = max(failure.text_chars, self.text_chars)
            if not live.reader.finished:
                failure.usage = None  # told before the end: it counts only a part
            live.close()
            raise
        except BaseException:
            live.close()
            raise
