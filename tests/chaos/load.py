"""Callers who keep asking through everything, and remember what became of each request.

One connection a request, so that any worker may take it. A request's tag stands in its prompt, in the provider's truth
and in `Fate`, so each finding of the judge can be laid beside what its caller saw.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

PATIENCE_S: Final = 20.0
PAUSE_S: Final = 0.2
"""After a refusal, and where nobody listens."""
WORDS: Final = "the sea is wide and the night is long but the boat is near the shore".split()  # noqa: SIM905


@dataclass(slots=True)
class Fate:
    """One request as its caller saw it; times by the monotonic clock."""

    tag: str
    team: str
    streamed: bool
    began_s: float
    ended_s: float | None = None
    outcome: str = "running"
    """`whole`, `refused` (a status above 399), `broken` (an error event), `cut`, `abandoned` or `unheard`: nobody
    listened."""
    status: int = 0

    def was_running(self, from_s: float, to_s: float, grace_s: float) -> bool:
        """Whether the gateway may have been at it within a time; it may need a little longer than its caller."""
        return self.began_s <= to_s and (self.ended_s is None or self.ended_s + grace_s >= from_s)


class Load:
    """Starts with `start`, ends with `stop`; `fates` is whole only then. `key_of` gives a team's key."""

    def __init__(
        self,
        url: Callable[[], str],
        keys: dict[str, str],
        seed: int,
        *,
        callers: int,
        rest_s: float,
        abandoned_percent: int = 13,
    ) -> None:
        self._url = url
        self._keys = keys
        self._rest_s = rest_s
        self._abandoned_percent = abandoned_percent
        self._stopping = threading.Event()
        self._lists: list[list[Fate]] = [[] for _ in range(callers)]
        self._threads = [
            threading.Thread(target=self._call, args=(number, random.Random(f"{seed}-{number}")))
            for number in range(callers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets each caller end what it is at."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_S)

    @property
    def fates(self) -> Sequence[Fate]:
        return [fate for fates in self._lists for fate in list(fates)]

    def running(self) -> int:
        """How many requests are under way at this moment."""
        return sum(bool(fates) and fates[-1].ended_s is None for fates in self._lists)

    def _call(self, number: int, dice: random.Random) -> None:
        mine = self._lists[number]
        teams = list(self._keys)
        while not self._stopping.is_set():
            fate = Fate(f"c{number}-{len(mine)}", dice.choice(teams), dice.random() < 0.6, time.monotonic())
            mine.append(fate)
            try:
                fate.outcome = self._ask(fate, dice)
            except ConnectionRefusedError:
                fate.outcome = "unheard"
            except (OSError, http.client.HTTPException):
                fate.outcome = "cut"
            fate.ended_s = time.monotonic()
            self._stopping.wait(self._rest_s if fate.outcome in ("whole", "abandoned", "broken") else PAUSE_S)

    def _ask(self, fate: Fate, dice: random.Random) -> str:
        address = urlsplit(self._url())
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_S)
        try:
            words = " ".join(WORDS[: dice.randint(2, len(WORDS))])
            body: dict[str, Any] = {
                "model": "acme/chat",
                "messages": [{"role": "user", "content": f"{words} [[tag:{fate.tag}]]"}],
                "max_tokens": dice.randint(3, 24),
                "stream": fate.streamed,
            }
            headers = {"authorization": f"Bearer {self._keys[fate.team]}", "content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            fate.status = response.status
            leaves_after = dice.randint(1, 600) if dice.randrange(100) < self._abandoned_percent else None
            return _hear(response, fate, leaves_after)
        finally:
            connection.close()


def _hear(response: http.client.HTTPResponse, fate: Fate, leaves_after_bytes: int | None) -> str:
    """Reads an answer to its end; or, of a stream, so many bytes."""
    if not fate.streamed or fate.status != 200:
        response.read()
        return "whole" if fate.status == 200 else "refused"
    heard = b""
    while chunk := response.read1(4096):
        heard += chunk
        if leaves_after_bytes is not None and len(heard) >= leaves_after_bytes:
            return "abandoned"
    if heard.endswith(b"data: [DONE]\n\n"):
        return "whole"
    return "broken" if b'"error"' in heard else "cut"
