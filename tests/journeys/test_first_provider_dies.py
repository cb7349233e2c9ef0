"""The first provider's process is killed under load: nobody sees an error who has not had a token from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.config.demo_table import demo_table
from tests.journeys.caller import choices, events_of
from tests.journeys.gateway_process import PATIENCE_S, ROOT, GatewayProcess, running
from tests.journeys.simulator_process import KEY, SimulatorProcess, simulators

MODEL: Final = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
FIRST: Final = "fireworks-ai"
"""The one that stands first in the model's row, in a process of its own; all others share the second."""
REQUESTS: Final = 400
CONCURRENCY: Final = 16
KILLED_AFTER: Final = 80


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request went. `began_dead`: it was sent after the kill."""

    attempts: str
    streamed: bool
    content: str
    error: dict[str, Any] | None
    began_dead: bool

    @property
    def asked_the_first(self) -> bool:
        return self.attempts.startswith(FIRST)


class Crowd:
    """Sixteen callers, plain and streamed in turn, one of whom kills."""

    def __init__(self, gateway: GatewayProcess, first: SimulatorProcess) -> None:
        self._url = f"{gateway.url}/v1/chat/completions"
        self._headers = gateway.headers()
        self._first = first
        self._is_dead = False
        self.outcomes: list[Outcome] = []

    async def run(self) -> list[Outcome]:
        numbers = iter(range(REQUESTS))
        async with httpx.AsyncClient(verify=False, timeout=PATIENCE_S, headers=self._headers) as client:
            await asyncio.gather(*(self._caller(client, numbers) for _ in range(CONCURRENCY)))
        return self.outcomes

    async def _caller(self, client: httpx.AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            self.outcomes.append(await self._ask(client, streamed=number % 3 > 0))

    def _kill_if_due(self, heard: bytes) -> None:
        """In the middle of an answer, so that one at least is broken after its first token."""
        if len(self.outcomes) >= KILLED_AFTER and b'"content":"' in heard and not self._is_dead:
            self._is_dead = True
            self._first.kill()

    async def _ask(self, client: httpx.AsyncClient, *, streamed: bool) -> Outcome:
        began_dead = self._is_dead
        body = {"model": MODEL, "stream": streamed, "messages": [{"role": "user", "content": "Tell me of the sea"}]}
        heard = b""
        async with client.stream("POST", self._url, json=body) as answer:
            async for part in answer.aiter_raw():
                heard += part
                if streamed:
                    self._kill_if_due(heard)
        assert answer.status_code == 200, heard
        attempts = answer.headers["x-gateway-attempts"]
        if not streamed:
            message = json.loads(heard)["choices"][0]["message"]
            return Outcome(attempts, False, message["content"], None, began_dead)
        events = events_of(heard)
        content = "".join(choice["delta"].get("content") or "" for event in events for choice in choices(event))
        return Outcome(attempts, True, content, events[-1].get("error"), began_dead)


def test_no_error_before_the_first_token(tmp_path: Path) -> None:
    with simulators() as first, simulators() as others:
        # Slow enough that at the moment of the kill answers are under way, some begun and some not.
        first.behave(FIRST, "ttft_ms=15; gap_ms=3; words=60")
        base_urls = {**others.base_urls, FIRST: first.base_urls[FIRST]}
        table = demo_table((ROOT / "mappings.yaml").read_text(), base_urls, KEY)
        with running(tmp_path, table) as gateway:
            outcomes = asyncio.run(Crowd(gateway, first).run())

    assert len(outcomes) == REQUESTS
    broken = [one for one in outcomes if one.error is not None]
    for one in broken:
        assert one.content, "an error before the first token"
        assert one.streamed
        assert one.error is not None
        assert one.error["type"] == "upstream_error"
    assert 0 < len(broken) <= CONCURRENCY, "only streams under way can break"
    assert all(one.content for one in outcomes)
    answered = sum(one.attempts == f"{FIRST}:200" for one in outcomes)
    assert answered >= KILLED_AFTER

    after = [one for one in outcomes if one.began_dead]
    assert not [one for one in after if one.error]
    # The breaker opens once half of what it remembers has failed, and then hardly anybody meets the dead one.
    in_vain = sum(one.asked_the_first for one in outcomes) - answered
    assert 5 <= in_vain <= answered + CONCURRENCY
    assert not any(one.asked_the_first for one in after[-100:])
