"""What a claim under an Idempotency-Key comes to, by what the ledger knows of the request that made the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.errors import Conflict, InvalidRequest, LedgerUnavailable
from gateway.idempotency import KeptAnswers, claim_of
from gateway.journal.local import Told
from gateway.records import ClosedEntry
from gateway.reports import NoJournal, Reports
from gateway.store.base import Claim, StoreAway
from gateway.store.sqlite.store import SqliteStore
from gateway.tenants import Key, Principal, Team
from tests.store.samples import TEAM, entry, ids, run_of

SEARCH: Final = Team(TEAM, "search", 0)
ADS: Final = Team("t_bbbbbbbbbbbb", "ads", 0)
CALLER: Final = Principal(Key("k_one", TEAM, "hf_gw_one", "digest"), SEARCH, SEARCH)
BODY: Final = b'{"model": "acme/chat"}'
IN_TIME_S: Final = 600.0
LONG_AGO_S: Final = -1000.0
"""A deadline whose lease is over as soon as it begins."""


def claim(deadline_s: float = IN_TIME_S, *, key: bytes = b"order-1", caller: Principal = CALLER, body: bytes = BODY,
          pinned: str | None = None) -> Claim:  # fmt: skip
    return claim_of(key, caller, body, pinned=pinned, inference_id=ids.next(), deadline_s=deadline_s)


@dataclass
class Journal(NoJournal):
    """What a journal of this host holds and the store does not yet."""

    entries: Sequence[ClosedEntry] = ()

    def told(self, inference_id: str, at_ms: int, *, ended: bool = False) -> Told:
        return Told(None, [entry for entry in self.entries if entry.inference_id == inference_id])


Act = Callable[[SqliteStore, KeptAnswers, Journal], Awaitable[None]]


@pytest.fixture
def on_store(tmp_path: Path) -> Callable[[Act], None]:
    def run(act: Act) -> None:
        async def acted() -> None:
            store, journal = SqliteStore(tmp_path / "store.db"), Journal()
            try:
                await act(store, KeptAnswers(store, Reports(store, lambda: "UTC", journal)), journal)
            finally:
                await store.aclose()

        asyncio.run(acted())

    return run


async def refused(kept: KeptAnswers, again: Claim) -> str | None:
    """The code with which a claim is refused; None where it stands."""
    try:
        assert await kept.claim(again) is None
    except Conflict as conflict:
        return conflict.code
    return None


def closed(first: Claim, **changes: Any) -> ClosedEntry:
    return entry(1, inference_id=first.inference_id, **changes)


UNANSWERED: Final = {"kind": "void", "answered": False, "charge_nano_usd": 0}


@pytest.mark.parametrize(
    ("deadline_s", "known", "outcome"),
    [
        (IN_TIME_S, None, "idempotency_in_progress"),
        (IN_TIME_S, {}, "idempotency_in_progress"),  # its answer is just being kept
        (IN_TIME_S, {"last": False, **UNANSWERED}, "idempotency_in_progress"),
        (IN_TIME_S, UNANSWERED, None),
        (LONG_AGO_S, None, None),
        (LONG_AGO_S, UNANSWERED, None),
        (LONG_AGO_S, {"last": False, **UNANSWERED}, None),
        (LONG_AGO_S, {}, "idempotency_answer_not_kept"),
        (LONG_AGO_S, {"charge_nano_usd": None}, "idempotency_answer_not_kept"),
    ],
)
def test_the_ledger_decides_on_a_claim_left_behind(
    on_store: Callable[[Act], None], deadline_s: float, known: dict[str, Any] | None, outcome: str | None
) -> None:
    async def act(store: SqliteStore, kept: KeptAnswers, journal: Journal) -> None:
        first, second, third = claim(deadline_s), claim(), claim()
        assert await refused(kept, first) is None
        if known is not None:
            await store.settle(run_of([closed(first, **known)]))
        assert await refused(kept, second) == outcome
        # Whoever took it over is now the one that is waited for.
        assert await refused(kept, third) == (outcome or "idempotency_in_progress")

    on_store(act)


def test_what_was_charged_and_not_shipped_yet_is_charged(on_store: Callable[[Act], None]) -> None:
    async def act(store: SqliteStore, kept: KeptAnswers, journal: Journal) -> None:
        first = claim(LONG_AGO_S)
        await kept.claim(first)
        journal.entries = [closed(first)]
        assert await refused(kept, claim()) == "idempotency_answer_not_kept"

    on_store(act)


def test_an_answer_comes_back_with_what_told_of_it(on_store: Callable[[Act], None]) -> None:
    async def act(store: SqliteStore, kept: KeptAnswers, journal: Journal) -> None:
        first, headers = claim(), [(b"x-inference-provider", b"groq"), (b"x-gateway-attempts", b"groq:200")]
        await kept.claim(first)
        await kept.keep(first, headers, b'{"a":\n"\xc3\xa9"}')
        found = await kept.claim(claim())
        assert found is not None
        assert (found.inference_id, found.headers, found.body) == (first.inference_id, headers, b'{"a":\n"\xc3\xa9"}')

    on_store(act)


def test_a_store_that_is_away_refuses_before_and_not_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(SqliteStore):
        async def claim_answer(self, claim: Claim) -> None:
            raise StoreAway("switched off by the test")

        async def keep_answer(self, claim: Claim, answer: bytes | None) -> None:
            raise StoreAway("switched off by the test")

        async def drop_claim(self, claim: Claim) -> None:
            raise StoreAway("switched off by the test")

    async def act() -> None:
        store = Away(tmp_path / "store.db")
        kept, one = KeptAnswers(store, Reports(store, lambda: "UTC")), claim()
        with pytest.raises(LedgerUnavailable, match="switched off"):
            await kept.claim(one)
        await kept.keep(one, [], b"{}")
        await kept.drop(one)
        assert [one.inference_id in line.getMessage() for line in caplog.records] == [True, True]
        await store.aclose()

    asyncio.run(act())


def test_a_key_is_the_calling_keys_own() -> None:
    other_key = replace(CALLER, key=replace(CALLER.key, id="k_two"))
    places = {claim().place, claim(caller=other_key).place, claim(key=b"order-2").place}
    assert len(places) == 3
    assert claim(body=b"{}").place == claim().place
    assert (claim().team_id, claim(caller=replace(CALLER, billed=ADS)).team_id) == (TEAM, ADS.id)


def test_the_same_request_is_one_of_the_same_bytes_and_route() -> None:
    others = [claim(body=BODY + b" "), claim(pinned="groq")]
    assert len({one.fingerprint for one in (claim(), *others)}) == 3
    assert claim().fingerprint == claim().fingerprint


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"two words", b"tab\t", b"line\n", "é".encode()])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidRequest, match="1 to 255 visible ASCII characters") as raised:
        claim(key=key)
    assert raised.value.param == "Idempotency-Key"


def test_the_longest_key_is_one() -> None:
    assert claim(key=b"!~" * 127 + b"x").place
