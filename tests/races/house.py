"""Three gateways of one Redis before a provider that holds its answers: where the races are run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from gateway.administration import Actor, Administration
from gateway.store.base import Store
from gateway.store.open import open_store
from tests.journeys.gateway_process import GatewayProcess, running, table_of
from tests.races.holding_provider import HoldingProvider
from tests.races.wire import Caller
from tests.store.redis_server import RedisServer

T = TypeVar("T")

GATEWAYS: Final = 3
PROMPT_NANO_USD: Final = 1_000
COMPLETION_NANO_USD: Final = 2_000
MAX_TOKENS: Final = 1_000
PROMPT: Final = "Tell me of the sea"
BODY: Final = {
    "model": "acme/chat",
    "messages": [{"role": "user", "content": PROMPT}],
    "max_tokens": MAX_TOKENS,
}
PROMPT_TOKENS_MAX: Final = len(PROMPT) + 16 + 512
"""The published bound: a token is at least a byte, and templates add a little."""
WORST_NANO_USD: Final = PROMPT_TOKENS_MAX * PROMPT_NANO_USD + MAX_TOKENS * COMPLETION_NANO_USD
_ACTOR: Final = Actor("cli", "races")


class House:
    """Everything runs on one loop of its own: `run` does an act of the house to its end."""

    def __init__(self, *, seed: int = 1) -> None:
        self.provider = HoldingProvider((PROMPT_TOKENS_MAX, MAX_TOKENS), seed=seed)
        self.gateways: list[GatewayProcess] = []
        self._callers: list[Caller] = []
        self._teams = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="races-")))
            redis = self._stack.enter_context(RedisServer(persist=False))
            self._runner = self._stack.enter_context(asyncio.Runner())
            self.run(self.provider.start())
            self._stack.callback(self.provider.stop)
            self.run(self._open_store(folder, redis.url))
            self._stack.callback(lambda: self.run(self._store.aclose()))
            # Whoever waits here waits for the slowest of 500.
            table = table_of({"holding": self.provider.url}, timeouts={"firstToken": 60, "total": 90},
                             routing={"deadline": 100})  # fmt: skip
            for name in ("one", "two", "three"):
                (folder / name).mkdir()
                gateway = running(folder / name, table, environ={"REDIS_URL": redis.url})
                self.gateways.append(self._stack.enter_context(gateway))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.close()
        self._stack.close()

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(act)

    async def _open_store(self, folder: Path, url: str) -> None:
        self._store: Store = await open_store(state_dir=folder, redis_url=url)

    def callers(self, count: int) -> list[Caller]:
        """So many connections, each gateway having its share."""
        while len(self._callers) < count:
            self._callers.append(Caller(self.gateways[len(self._callers) % GATEWAYS].url))
        return self._callers[:count]

    async def team(self, *, on_key: bool = False, **fields: object) -> tuple[str, str]:
        """A new team and its key's text. `fields` (`budget`, `limits`) are the team's, or the key's."""
        self._teams += 1
        name = f"team-{self._teams}"
        administration = Administration(self._store)
        of_team: Mapping[str, object] = {} if on_key else fields
        team = await administration.create_team({"team": name, **of_team}, _ACTOR)
        issued = await administration.create_key(name, fields if on_key else {}, _ACTOR)
        return team.id, issued.text

    async def charged_nano_usd(self, team_id: str) -> int:
        """What the ledger says that a team was charged, ever."""
        cells = await self._store.usage(from_ms=0, to_ms=1 << 45, team_ids=[team_id])
        return sum(cell.counters.get("charge_nano_usd", 0) for cell in cells)
