"""Which behaviour the next request gets: a list per provider and model, worked off one request at a time.

Holds state, decides nothing else. A header on the request goes before any script.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from gateway.simulator.behaviour import NORMAL, Behaviour

ANY = "*"


class Script:
    """Queues of (behaviour, how many requests it is good for; None: until reset)."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], deque[tuple[Behaviour, int | None]]] = {}

    def set(self, provider: str, model: str, entries: Iterable[tuple[Behaviour, int | None]]) -> None:
        """Replace what a provider (or `*`) does with a model (or `*`) by these entries, in order."""
        self._queues[provider, model] = deque((behaviour, times) for behaviour, times in entries if times != 0)

    def clear(self) -> None:
        """Everybody behaves normally again."""
        self._queues.clear()

    def next(self, provider: str, model: str) -> Behaviour:
        """Take the behaviour of one request; the most particular script that is not used up wins."""
        for key in ((provider, model), (provider, ANY), (ANY, model), (ANY, ANY)):
            queue = self._queues.get(key)
            if not queue:
                continue
            behaviour, times = queue[0]
            if times is not None:
                queue.popleft()
                if times > 1:
                    queue.appendleft((behaviour, times - 1))
            return behaviour
        return NORMAL
