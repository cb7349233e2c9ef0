"""One round of chaos: everything is started, harmed for a while, healed, and judged. Leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.journal.reader import SHIPPED_NAME
from gateway.store.base import Store
from gateway.store.redis.connect import make_client
from gateway.store.redis.names import TeamNames
from tests.chaos.havoc import Havoc
from tests.chaos.ledgers import Ledger, Single, Trio
from tests.chaos.load import Load
from tests.chaos.verdict import (
    Verdict,
    judge_callers,
    judge_holds,
    judge_money,
    judge_report,
    judge_store,
)
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, table_of, until

PROVIDERS: Final = ("first", "second", "third")
FAULTS: Final = (
    *["ok"] * 30,
    "500",
    "503",
    "429",
    "429-retry-after-1",
    "html-502",
    "error-200",
    "empty-body",
    "slow-ttft-300ms",
    "gap-30ms",
    "gap-60ms",
    "usage-with-finish",
    "usage-in-every-chunk",
    "usage-twice",
    "usage-conflict",
    "no-usage",
    "usage-string",
    "cut-after-0-chunks",
    "cut-after-3-chunks",
    "error-in-stream-after-2",
    "no-done",
    "sse-crlf",
    "sse-split-utf8",
)
FAULTS_QUEUED: Final = 50_000
TEAMS: Final[dict[str, dict[str, object]]] = {
    "free": {},
    "softly": {"budget": {"usd": "0.000001", "period": "month", "enforce": "soft"}},
    "strictly": {"budget": {"usd": "100", "period": "day", "enforce": "strict"}, "limits": {"concurrency": 6}},
    "nearly": {"budget": {"usd": "0.02", "period": "total", "enforce": "strict"}},
}
"""Without limits, warned only, with room, and soon out of it."""
TIMEOUTS: Final = {"connect": 5, "firstToken": 8, "betweenTokens": 8, "total": 15}
HEALED_S: Final = 60.0
LEDGERS: Final[dict[str, Callable[[random.Random], Any]]] = {"single": Single, "sentinel": Trio}


def run_round(kind: str, *, seconds: float, every_s: float, seed: int, callers: int, rest_s: float) -> Verdict:
    """`kind` is a name of LEDGERS; an act of harm each `every_s` on average."""
    dice = random.Random(seed)
    with folder_of_one_round() as folder, ExitStack() as stack:
        ledger: Ledger = stack.enter_context(LEDGERS[kind](dice))
        truths = [folder / f"truth-{name}.jsonl" for name in PROVIDERS]
        providers = [
            stack.enter_context(FaultProvider(truth=truth, arguments="--no-fsync --chunk-ms 4")) for truth in truths
        ]
        table = table_of({name: one.base_url for name, one in zip(PROVIDERS, providers, strict=True)},
                         timeouts=TIMEOUTS, routing={"policy": "balanced", "deadline": 20})  # fmt: skip
        gateway = GatewayProcess(folder, table, workers=2, environ={**ledger.environ, "GATEWAY_DRAIN_SECONDS": "10"})
        stack.callback(gateway.http.close)
        stack.callback(end, gateway)
        gateway.start()
        keys = {team: gateway.key(team, **fields) for team, fields in TEAMS.items()}
        for provider in providers:
            provider.next(*dice.choices(FAULTS, k=FAULTS_QUEUED))
        load = Load(lambda: gateway.url, keys, seed, callers=callers, rest_s=rest_s)
        havoc = Havoc(gateway, ledger, dice, load.running)
        stack.callback(end_all, havoc.orphans)
        load.start()
        try:
            havoc.run(seconds, every_s)
        finally:
            load.stop()
        verdict = Verdict({f"acts: {name}": count for name, count in sorted(havoc.acts.items())})
        gateway.stop()
        gateway.start()
        until(lambda: is_shipped(gateway), "the end of shipping", HEALED_S)
        gateway.stop()

        lines = gateway.export()
        judge_callers(verdict, load.fates)
        judge_money(verdict, truths, lines, load.fates, havoc.kills)
        judge_report(verdict, lines, json.loads(gateway.command("usage", "--json")))
        gateway.with_store(lambda store: judge_store(verdict, store, gateway.state_dir / "journal"))
        judge_holds(verdict, gateway.with_store(lambda store: held(store, ledger)))
        if verdict.faults:
            keep(folder)
        return verdict


@contextmanager
def folder_of_one_round() -> Iterator[Path]:
    """Removed at the end. Of a round that broke off, too, it is kept where CHAOS_KEEP names a place."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        yield folder
    except BaseException:
        keep(folder)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path) -> None:
    """What a failed round leaves for whoever looks for the reason, where CHAOS_KEEP names a place."""
    if place := os.environ.get("CHAOS_KEEP"):
        shutil.copytree(folder, Path(place) / folder.name)


def is_shipped(gateway: GatewayProcess) -> bool:
    """Whether every journal but those of the living workers is known to be in the store as a whole."""
    folders = [path for path in (gateway.state_dir / "journal").iterdir() if not path.name.startswith(".")]
    rest = [path for path in folders if not (path / SHIPPED_NAME).exists()]
    return len(rest) <= 2 and gateway.readyz().get("unshipped_entries") == 0


async def held(store: Store, ledger: Ledger) -> dict[str, Any]:
    """What is left of holds and slots; empty ones are left out."""
    client = make_client(ledger.environ["REDIS_URL"], ledger.environ.get("GATEWAY_REDIS_MODE", "single"))
    left: dict[str, Any] = {}
    now_ms = await store.now_ms()
    try:
        for team in await store.teams():
            names = TeamNames("gw", team.id)
            scopes = ["team", *(f"key:{key.id}" for key in await store.keys(team.id))]
            found = {
                names.held: await client.hgetall(names.held),
                names.holds: await client.hgetall(names.holds),
                **{names.slots(one): await client.zrangebyscore(names.slots(one), now_ms, "+inf") for one in scopes},
            }
            left |= {key: value for key, value in found.items() if value}
    finally:
        await client.aclose()
    return left


def end(gateway: GatewayProcess) -> None:
    if hasattr(gateway, "process") and gateway.process.poll() is None:
        gateway.kill()


def end_all(pids: set[int]) -> None:
    """Waits for workers that lost their supervisor, and ends those that stay."""
    deadline_s = time.monotonic() + 15
    while any(is_worker(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for pid in filter(is_worker, pids):
        os.kill(pid, signal.SIGKILL)


def is_worker(pid: int) -> bool:
    """Whether a process still is a worker of a gateway; its number may be another's by now."""
    try:
        return b"gateway.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
