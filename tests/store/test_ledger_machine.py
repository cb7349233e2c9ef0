"""The ledger under any sequence of what can happen to it: real scripts on a real Redis, real journals, real bills.

Hypothesis chooses requests, losses on the wire, deaths, adoptions, set-backs of Redis and the passing of time; after
each step the counters are the fold of what the store has acknowledged, what is held is the sum of the living holds, and
no strict budget is exceeded. LEDGER_EXAMPLES sets how many sequences are tried; where CI is set there are 10 000 steps.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.adoption import Adoption
from gateway.errors import BudgetExceeded, LedgerUnavailable, RateLimited
from gateway.journal.reader import SHIPPED_NAME, closed_entries, read_state, segments
from gateway.journal.writer import JournalWriter
from gateway.metering import Bill, Meter
from gateway.outcomes import CLIENT_GONE
from gateway.records import Admission, Admit, Refusal, Run, Settled
from gateway.rollbacks import Rollbacks
from gateway.store import shipper as shipping
from gateway.store.base import Store, StoreAway
from gateway.store.fold import Fold
from gateway.store.redis.connect import make_client
from gateway.store.redis.names import TeamNames, TenantNames
from gateway.store.redis.store import RedisStore
from gateway.store.shipper import Shipper
from gateway.tenants import Budget, Key, Limits, Principal, Team
from providers.wire import FailureKind, ProviderFailure, Usage
from tests.store.redis_server import RedisServer
from tests.store.test_ledger import assert_equals_fold
from tests.unit.offers import offer, opening

T = TypeVar("T")

IN_CI: Final = bool(os.environ.get("CI"))
CI_STEPS: Final = 10_000
EXAMPLES: Final = int(os.environ.get("LEDGER_EXAMPLES", "330" if IN_CI else "30"))
STEPS: Final = 40
BUDGET: Final = 3_000_000
"""Nano-USD: room for four or five holds."""
KEY_BUDGET: Final = 1_500_000
LIMITED: Final = Team(
    "t_limited00000", "limited", 0, budget=Budget(BUDGET, "total"), limits=Limits(concurrency=50)
)  # fmt: skip
FREE: Final = Team("t_free00000000", "free", 0)
TEAMS: Final = (LIMITED.id, FREE.id)
PRINCIPALS: Final = {
    key.id: Principal(key, team, team)
    for key, team in (
        (Key("k_plain", LIMITED.id, "hf_gw_ab", "d" * 64), LIMITED),
        (Key("k_tight", LIMITED.id, "hf_gw_ac", "e" * 64, budget=Budget(KEY_BUDGET, "day")), LIMITED),
        (Key("k_free", FREE.id, "hf_gw_ad", "f" * 64), FREE),
    )
}
STRICT: Final = {"team": BUDGET, "key:k_tight": KEY_BUDGET}
PATIENCE_S: Final = 10.0


class Wire:
    """A store whose requests or replies are lost as `losses` says, one call each: `request`, `reply` or None."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.losses: list[str | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def settle(self, run: Run) -> Settled:
        return await self._carry(lambda: self._store.settle(run))

    async def admit(self, requests: Sequence[Admit]) -> list[Admission | Refusal]:
        return await self._carry(lambda: self._store.admit(requests))

    async def _carry(self, call: Callable[[], Awaitable[T]]) -> T:
        loss = self.losses.pop(0) if self.losses else None
        if loss == "request":
            raise StoreAway("the request was lost")
        answer = await call()
        if loss == "reply":
            raise StoreAway("the reply was lost")
        return answer


@dataclass
class Worker:
    """A process of the gateway with the requests that it is at."""

    journal: JournalWriter
    shipper: Shipper
    meter: Meter
    adoption: Adoption
    rollbacks: Rollbacks
    bills: list[Bill] = field(default_factory=list)

    async def die(self) -> None:
        """As kill -9: nothing is closed, nothing is tidied; the kernel lets go of the files."""
        await self.shipper.aclose()
        for writer in self.adoption.writers:
            if writer._sync_due is not None:
                writer._sync_due.cancel()
            if writer._syncing is not None:
                await asyncio.wait([writer._syncing])
            for name in ("_fd", "_lock"):
                if getattr(writer, name) >= 0:
                    os.close(getattr(writer, name))


class LedgerMachine(RuleBasedStateMachine):
    server: RedisServer
    steps = 0
    """Over all sequences."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="ledger-"))
        self.server.command("FLUSHALL")
        self.workers: list[Worker] = []
        self.instances = 0
        self.may_exceed = False
        self.overdue: set[str] = set()
        self.run(self._begin())

    async def _begin(self) -> None:
        self.store = RedisStore(self.server.url, "single", "gw")
        self.wire: Any = Wire(self.store)
        for team in (LIMITED, FREE):
            await self.store.create_team(team)
        self.start()
        self.start()
        self.copy = await self._copy()

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(act)

    def start(self) -> None:
        self.instances += 1
        journal = JournalWriter.create(self.root, f"i_{self.instances}", sync="off")
        shipper = Shipper(self.wire, batch_s=3600.0)
        shipper.add(journal)
        meter = Meter(journal=journal, store=self.wire, shipper=shipper)
        adoption = Adoption(self.root, journal, shipper, self.store)
        rollbacks = Rollbacks(
            self.root, adoption, shipper, self.store,
            hold_again=meter.admissions.hold_again, pause=meter.admissions.pause, resume=meter.admissions.resume,
        )  # fmt: skip
        self.workers.append(Worker(journal, shipper, meter, adoption, rollbacks))

    def worker(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    def under_way(self) -> list[tuple[Worker, Bill]]:
        return [(worker, bill) for worker in self.workers for bill in worker.bills]

    # What callers and providers do.

    @rule(number=st.integers(0, 9), who=st.sampled_from(sorted(PRINCIPALS)), max_tokens=st.sampled_from((None, 16, 64)))
    def ask(self, number: int, who: str, max_tokens: int | None) -> None:
        worker = self.worker(number)

        async def act() -> None:
            with suppress(BudgetExceeded, RateLimited, LedgerUnavailable):
                worker.bills.append(await worker.meter.open(opening(PRINCIPALS[who], max_tokens=max_tokens)))

        self.run(act())

    @rule(number=st.integers(0, 9), who=st.sampled_from(("k_plain", "k_tight")), turns=st.integers(0, 8))
    def leave_while_it_is_asked(self, number: int, who: str, turns: int) -> None:
        """The caller hangs up after so many turns of the loop: before the question is sent, or before its answer."""
        worker = self.worker(number)

        async def act() -> None:
            opened = asyncio.ensure_future(worker.meter.open(opening(PRINCIPALS[who], max_tokens=16)))
            for _ in range(turns):
                await asyncio.sleep(0)
            opened.cancel()
            with suppress(asyncio.CancelledError, BudgetExceeded, RateLimited, LedgerUnavailable):
                worker.bills.append(await opened)

        self.run(act())

    @rule(number=st.integers(0, 9), who=st.sampled_from(("k_plain", "k_tight")))
    def ask_until_refused(self, number: int, who: str) -> None:
        """Where a budget is full, whatever was forgotten shows."""
        for _ in range(BUDGET // 500_000):
            self.ask(number, who, 64)

    @precondition(lambda self: self.under_way())
    @rule(number=st.integers(0, 99), status=st.sampled_from((None, 200, 500)), chars=st.integers(0, 4000))
    def send(self, number: int, status: int | None, chars: int) -> None:
        bills = self.under_way()
        _, bill = bills[number % len(bills)]

        async def act() -> None:
            if bill._sent is not None and bill._pending is None:
                failure = ProviderFailure(FailureKind.SERVER_ERROR, "no", status=500)
                bill.failed(failure, answered_200=False, text_chars=0, duration_ms=1)
            bill.sent(offer())
            if status is not None:
                bill.head(status, "up")
            if status == 200:
                bill.part(chars)

        self.run(act())

    @precondition(lambda self: self.under_way())
    @rule(
        number=st.integers(0, 99),
        completion=st.one_of(st.none(), st.integers(0, 100), st.just(10**9)),
        broken=st.sampled_from((None, None, CLIENT_GONE, "truncated")),
        closes=st.booleans(),
    )
    def end(self, number: int, completion: int | None, broken: str | None, closes: bool) -> None:
        bills = self.under_way()
        worker, bill = bills[number % len(bills)]

        async def act() -> None:
            if bill._sent is not None and bill._pending is None:
                bill.won(
                    usage=None if completion is None else Usage(100, completion),
                    text_chars=200,
                    upstream_id="up",
                    reported_model="m",
                    duration_ms=1,
                    first_content_ms=None,
                    broken=broken,
                )
            if closes or not bill._last_written:
                await bill.close(failed=bill._sent is None)

        self.run(act())
        worker.bills.remove(bill)

    # What happens to the gateway.

    @rule(losses=st.lists(st.sampled_from(("request", "reply", None)), min_size=1, max_size=4))
    def lose(self, losses: list[str | None]) -> None:
        self.wire.losses = losses

    @rule(number=st.integers(0, 9))
    def ship(self, number: int) -> None:
        self.run(self.worker(number).shipper.drain(PATIENCE_S))

    @rule(number=st.integers(0, 9))
    def kill(self, number: int) -> None:
        worker = self.worker(number)
        self.workers.remove(worker)
        self.run(self._kill(worker))

    async def _kill(self, worker: Worker) -> None:
        await worker.die()
        self.start()

    @rule()
    def adopt(self) -> None:
        """All at once, as they would."""

        async def act() -> None:
            await asyncio.gather(*(worker.adoption.adopt() for worker in self.workers))

        self.run(act())

    @rule(number=st.integers(0, 9))
    def bury(self, number: int) -> None:
        """A worker dies, and its journal is let go of as wholly shipped."""
        self.kill(number)
        self.adopt()
        for heir in self.workers:
            self.run(heir.shipper.drain(PATIENCE_S))
        self.adopt()

    # What happens to Redis.

    @rule()
    def remember(self) -> None:
        self.copy = self.run(self._copy())

    async def _copy(self) -> dict[bytes, tuple[bytes, int]]:
        async def act(client: Any) -> dict[bytes, tuple[bytes, int]]:
            return {key: (await client.dump(key), max(0, await client.pttl(key))) for key in await client.keys("*")}

        return await self.store._link.call(act)

    @rule()
    def set_back(self) -> None:
        """Redis is what it was; each worker finds out, and all is shipped before anybody asks again."""

        async def act(client: Any) -> None:
            await client.flushall()
            for key, (dump, pttl_ms) in self.copy.items():
                await client.restore(key, pttl_ms, dump)

        # Nobody living knows what a dead worker's requests held.
        self.may_exceed |= bool(self.orphaned())
        self.run(self.store._link.call(act))
        self.wire.losses.clear()
        self.run(self._recover())

    async def _recover(self) -> None:
        for worker in self.workers:
            await worker.rollbacks.compare()
        for worker in self.workers:
            assert await worker.shipper.drain(PATIENCE_S)

    @rule()
    def leases_end(self) -> None:
        """An hour passes for what is held. A request that is closed later may then have no room."""

        async def act(client: Any) -> None:
            for team_id in TEAMS:
                names = TeamNames("gw", team_id)
                for key in (names.leases, *(names.slots(scope) for scope in ("team", "key:k_tight"))):
                    for member in await client.zrange(key, 0, -1):
                        await client.zincrby(key, -3_600_000, member)

        overdue = set(self.holds(LIMITED.id))
        self.overdue |= overdue
        self.may_exceed |= bool(overdue)
        self.run(self.store._link.call(act))

    @rule()
    def sweep(self) -> None:
        """As janitors do, without the rest between two of them."""
        self.run(self._sweep())

    async def _sweep(self) -> None:
        await self.store._link.call(lambda client: client.delete(TenantNames("gw").sweep))
        await self.store.sweep_holds()

    # What must be true.

    def orphaned(self) -> list[Path]:
        living = {writer.folder for worker in self.workers for writer in worker.adoption.writers}
        return [
            folder for folder in self.root.iterdir() if folder not in living and not (folder / SHIPPED_NAME).exists()
        ]

    def holds(self, team_id: str) -> dict[str, dict[str, Any]]:
        """By inference id, without the marks of those that must not be held any more."""
        found = self.run(self._hash(TeamNames("gw", team_id).holds))
        holds = {key.decode(): msgspec.msgpack.decode(value) for key, value in found.items()}
        return {key: hold for key, hold in holds.items() if hold["second"]}

    @invariant()
    def the_three_sentences(self) -> None:
        LedgerMachine.steps += 1
        self.run(self._land())
        self.counters_are_the_fold_of_what_was_acknowledged()
        self.what_is_held_is_the_sum_of_living_holds()
        self.no_strict_budget_is_exceeded()

    async def _land(self) -> None:
        """Nothing is on the wire while the ledger is looked at."""
        for worker in self.workers:
            while worker.shipper._tasks:
                await asyncio.wait(worker.shipper._tasks)

    def counters_are_the_fold_of_what_was_acknowledged(self) -> None:
        self.run(self._fold_is_right())

    async def _fold_is_right(self) -> None:
        fold = Fold()
        self.settled: set[str] = set()
        for folder in self.root.iterdir():
            last = read_state(folder, keep_aside=False).last
            marks = await self.store.watermarks(folder.name, TEAMS)
            for entry in closed_entries(segments(folder)):
                if entry.seq <= marks.get(entry.team_id, 0):
                    fold.add(folder.name, entry)
                    if entry.last:
                        self.settled.add(entry.inference_id)
            assert all(marks[team_id] <= last.get(team_id, 0) for team_id in marks)
        await assert_equals_fold(self.store, fold, TEAMS)
        self.spent: Counter[tuple[str, str, str]] = Counter()
        for team_id in TEAMS:
            for window in {window for _, _, window in fold.spent}:
                found = await self._hash(TeamNames("gw", team_id).spent(window))
                self.spent.update({(team_id, scope.decode(), window): int(n) for scope, n in found.items()})
        assert self.spent == fold.spent

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        return await self.store._link.call(lambda client: client.hgetall(key))

    def what_is_held_is_the_sum_of_living_holds(self) -> None:
        names = TeamNames("gw", LIMITED.id)
        held = self.run(self._hash(names.held))
        holds = self.holds(LIMITED.id)
        sums: Counter[str] = Counter()
        for hold in holds.values():
            for window in hold["windows"]:
                sums[window] += int(hold["nano_usd"])
        assert {key.decode(): int(value) for key, value in held.items()} == sums
        assert not set(holds) & self.settled, "held, and settled"
        expired = {key.decode() for key in self.run(self._hash(names.expired))}
        assert not expired & self.settled, "told as expired, and settled"
        assert not expired & set(holds), "told as expired, and held"
        for _, bill in self.under_way():
            is_held = bill._granted is not None and bill._granted.charge_max_nano_usd is not None
            assert not is_held or bill.inference_id in holds or bill.inference_id in self.overdue, "under way, not held"
        self.held = sums

    def no_strict_budget_is_exceeded(self) -> None:
        if self.may_exceed:
            return
        for scope, budget in STRICT.items():
            for (team_id, spender, window), spent in self.spent.items():
                if (team_id, spender) == (LIMITED.id, scope) and window.startswith(("total", "day")):
                    assert spent + self.held[f"{scope}|{window}"] <= budget

    def teardown(self) -> None:
        """All heals: nothing is held, and every request that was opened has ended once."""
        if not hasattr(self, "runner"):
            return
        try:
            self.wire.losses.clear()
            self.run(self._heal())
            self.counters_are_the_fold_of_what_was_acknowledged()
            assert not self.holds(LIMITED.id)
            assert not self.run(self._hash(TeamNames("gw", LIMITED.id).expired))
            for folder in self.root.iterdir():
                state = read_state(folder, keep_aside=False)
                assert not state.requests
                assert self.run(self.store.watermarks(folder.name, TEAMS)) == state.last
            ended = [
                entry.inference_id
                for folder in self.root.iterdir()
                for entry in closed_entries(segments(folder))
                if entry.last
            ]
            assert len(ended) == len(set(ended))
        finally:
            self.run(self._tidy())
            self.runner.close()
            shutil.rmtree(self.root)

    async def _heal(self) -> None:
        for worker in list(self.workers):
            for bill in worker.bills:
                await bill.close(failed=True)
        async with asyncio.timeout(PATIENCE_S):
            while self.orphaned():
                await self.workers[0].adoption.adopt()
                await self.workers[0].shipper.drain(PATIENCE_S)
        await self._recover()

    async def _tidy(self) -> None:
        for worker in self.workers:
            await worker.shipper.aclose()
            await worker.adoption.aclose()
            worker.journal.release()
        await self.store.aclose()


@pytest.mark.timeout(1800)
def test_any_sequence(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine itself says when the store is away; a slow moment of this one must not be taken for that.
    monkeypatch.setattr("gateway.store.redis.store.make_client", partial(make_client, timeout_s=PATIENCE_S))
    monkeypatch.setattr(shipping, "BACK_OFF_MIN_S", 0.001)
    monkeypatch.setattr(shipping, "BACK_OFF_MAX_S", 0.002)
    LedgerMachine.server = redis_server
    LedgerMachine.TestCase.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="LEDGER_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        # Each step costs a Redis: a shorter sequence is not worth the minutes.
        phases=(Phase.explicit, Phase.generate),
    )
    LedgerMachine.TestCase("runTest").runTest()
    if IN_CI and "LEDGER_EXAMPLES" not in os.environ:
        assert LedgerMachine.steps >= CI_STEPS
