"""Where the workers of a gateway tell each other how providers fare: a few seconds' worth of words, never a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

POST_LIFE_MS: Final = 3000
"""A worker that has said nothing for so long has no say any more: it died, or cannot reach the board."""
WAKE_S: Final = 1.0
"""How long `wake` waits at most, about."""


class Reading(NamedTuple):
    now_ms: int
    """Unix milliseconds by the board's clock."""
    posts: Mapping[str, bytes]
    """What each other worker says, by instance."""


class Board(Protocol):
    async def exchange(self, text: bytes, *, urgent: bool) -> Reading:
        """Puts up what this worker says, in place of what it said before, and gives what the others say. `urgent`
        wakes them. Raises StoreAway."""
        ...

    async def wake(self) -> Mapping[str, bytes]:
        """What others had to say urgently, as soon as they say it; nothing after a while. Raises StoreAway."""
        ...

    async def aclose(self) -> None: ...
