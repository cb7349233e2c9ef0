"""A Redis that is dead, frozen or walled off for a while under load: a team without limits notices nothing, and all of
its usage arrives afterwards."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from gateway.store.base import Store
from tests.chaos.firewall import Firewall
from tests.chaos.load import Fate, Load
from tests.chaos.round import end, folder_of_one_round, keep
from tests.chaos.verdict import EVER, Verdict, judge_money, judge_report, judge_store
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, table_of, until
from tests.store.redis_server import RedisServer

SLOWER_MAX: Final = 2.0
"""How much the median may grow while the store is away."""
ARRIVED_S: Final = 20.0
"""A shipper asks again at least every five seconds."""
TEAM: Final = "free"


def run_outages(seconds: float, *, seed: int = 1, callers: int = 6, rest_s: float = 0.02, slack_us: int = 0) -> Verdict:
    """Each harm for so long, after as long a time of peace that it is compared with; `slack_us` is what a busy machine
    may add to a median of few requests."""
    verdict = Verdict()
    with folder_of_one_round() as folder, ExitStack() as stack:
        redis = stack.enter_context(RedisServer("--appendfsync", "everysec"))
        wall = stack.enter_context(Firewall(redis.port))
        provider = stack.enter_context(FaultProvider(truth=folder / "truth", arguments="--no-fsync"))
        environ = {"REDIS_URL": f"redis://127.0.0.1:{wall.port}/0"}
        gateway = GatewayProcess(folder, table_of({"only": provider.base_url}), workers=2, environ=environ)
        stack.callback(gateway.http.close)
        stack.callback(end, gateway)
        gateway.start()
        load = Load(lambda: gateway.url, {TEAM: gateway.key(TEAM)}, seed, callers=callers, rest_s=rest_s,
                    abandoned_percent=0)  # fmt: skip
        load.start()
        try:
            harm = Harmed(verdict, load, seconds, slack_us)
            harm.by("killed", redis.kill, redis.start)
            harm.by("frozen", redis.freeze, redis.thaw)
            harm.by("walled off", wall.shut, wall.open)
        finally:
            load.stop()
        fates = load.fates
        failed = [fate for fate in fates if fate.outcome != "whole"]
        verdict.counts |= {"requests": len(fates), "failed": len(failed)}
        verdict.demand(not failed, f"failed while the store was away: {failed[:5]}")
        begun_s = time.monotonic()
        until(lambda: requests_booked(gateway) == len(fates), "all usage in the store", ARRIVED_S)
        verdict.counts["ms until all usage had arrived"] = int(1000 * (time.monotonic() - begun_s))
        gateway.stop()
        lines = gateway.export()
        judge_money(verdict, [folder / "truth"], lines, fates, kills=[])
        judge_report(verdict, lines, json.loads(gateway.command("usage", "--json")))
        gateway.with_store(lambda store: judge_store(verdict, store, gateway.state_dir / "journal"))
        if verdict.faults:
            keep(folder)
    return verdict


@dataclass(frozen=True, slots=True)
class Harmed:
    """Lays what callers saw while the store was away beside as long a time of peace before it."""

    verdict: Verdict
    load: Load
    seconds: float
    slack_us: int

    def by(self, name: str, harm: Callable[[], object], heal: Callable[[], object]) -> None:
        calm_from_s = time.monotonic()
        time.sleep(self.seconds)
        harm()
        harmed_from_s = time.monotonic()
        try:
            time.sleep(self.seconds)
            healed_s = time.monotonic()
        finally:
            heal()
        before, during = self._of(calm_from_s, harmed_from_s), self._of(harmed_from_s, healed_s)
        calm_us, harmed_us = median_us(before), median_us(during)
        self.verdict.counts |= {
            f"{name}: requests meanwhile": len(during),
            f"{name}: p50 before, µs": calm_us,
            f"{name}: p50 meanwhile, µs": harmed_us,
        }
        slow = harmed_us > SLOWER_MAX * calm_us + self.slack_us
        self.verdict.demand(not slow, f"{name}: the median grew from {calm_us} to {harmed_us} µs")

    def _of(self, from_s: float, to_s: float) -> list[Fate]:
        return [fate for fate in self.load.fates if from_s <= fate.began_s < to_s and fate.ended_s is not None]


def median_us(fates: Sequence[Fate]) -> int:
    return int(1e6 * statistics.median(fate.ended_s - fate.began_s for fate in fates if fate.ended_s is not None))


def requests_booked(gateway: GatewayProcess) -> int:
    async def ask(store: Store) -> int:
        cells: list[Any] = await store.usage(**EVER)
        return sum(cell.counters.get("requests", 0) for cell in cells)

    return gateway.with_store(ask)
