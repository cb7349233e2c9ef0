"""What is done to a gateway and its Redis while callers call: a seeded sequence of acts, one after another."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.chaos.ledgers import Ledger
from tests.journeys.gateway_process import GatewayProcess

REMEMBER_S: Final = 3.0
KILL_ACTS: Final = {"kill_worker": 8, "kill_all": 2, "kill_supervisor": 1}


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9 of processes of the gateway, by the monotonic clock. `running`: requests under way just before."""

    what: str
    from_s: float
    to_s: float
    running: int


class Havoc:
    """Acts in the caller's thread, for as long as `run` is told."""

    def __init__(
        self, gateway: GatewayProcess, ledger: Ledger, dice: random.Random, running: Callable[[], int]
    ) -> None:
        self.kills: list[Kill] = []
        self.acts: Counter[str] = Counter()
        self.orphans: set[int] = set()
        """Workers whose supervisor was killed; they drain and go by themselves."""
        self._gateway = gateway
        self._ledger = ledger
        self._dice = dice
        self._running = running
        self._weights = {**KILL_ACTS, **ledger.acts}

    def run(self, seconds: float, every_s: float) -> None:
        """An act each `every_s` on average. The first ones come in turn, so that a short run has one of each."""
        end_s = time.monotonic() + seconds
        remembered_s = 0.0
        turn = list(self._weights)
        self._dice.shuffle(turn)
        while True:
            now_s = time.monotonic()
            if now_s - remembered_s > REMEMBER_S:
                self._ledger.remember()
                remembered_s = now_s
            wait_s = self._dice.uniform(0.3, 1.7) * every_s
            if now_s + wait_s > end_s:
                time.sleep(max(0.0, end_s - now_s))
                return
            time.sleep(wait_s)
            name = turn.pop() if turn else self._dice.choices(list(self._weights), [*self._weights.values()])[0]
            self.acts[name] += 1
            if name in KILL_ACTS:
                self._kill(name)
            else:
                getattr(self._ledger, name)()

    def _kill(self, name: str) -> None:
        running, from_s = self._running(), time.monotonic()
        if name == "kill_worker":
            workers = self._gateway.worker_pids()
            if workers:
                # It may have ended by itself since it was listed.
                with suppress(ProcessLookupError):
                    os.kill(self._dice.choice(workers), signal.SIGKILL)
        elif name == "kill_all":
            self._gateway.kill()
        else:
            self.orphans.update(self._gateway.worker_pids())
            self._gateway.process.kill()
            self._gateway.process.wait()
        self.kills.append(Kill(name, from_s, time.monotonic(), running))
        if name != "kill_worker":
            self._gateway.start()
