"""What no team was charged for: the parts add up to provider cost minus charges, whatever is still kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger_period import LedgerPeriod
from gateway.losses import CAUSES, Losses, losses
from gateway.records import ClosedEntry
from gateway.store.base import UsageCell
from gateway.store.fold import sum_run
from tests.store.samples import entry


def period(entries: list[ClosedEntry], kept: list[ClosedEntry] | None = None) -> LedgerPeriod:
    """The ledger of some entries, of which only those in `kept` can still be read."""
    cells = [UsageCell("t", *cell, counters) for cell, counters in sum_run(entries).hours.items()]
    return LedgerPeriod(0, 1 << 42, tuple(cells), tuple(entries if kept is None else kept))


def one(found: Losses, provider: str) -> dict[str, Any]:
    return next(loss.as_json() for loss in found.providers if loss.provider == provider)


UNCHARGED: dict[str, Any] = {"answered": False, "charge_nano_usd": 0, "last": False}


def test_each_cause_has_its_part() -> None:
    found = losses(
        period(
            [
                entry(1, provider_cost_nano_usd=100, charge_nano_usd=60, overrun_nano_usd=40),
                entry(2, provider_cost_nano_usd=7, failure="timeout", **UNCHARGED),
                entry(3, provider_cost_nano_usd=5, failure="client_gone", **UNCHARGED),
                entry(4, provider_cost_nano_usd=0, failure="timeout", unknown=True, **UNCHARGED),
                entry(5, provider="together", provider_cost_nano_usd=9, failure="worker_died", **UNCHARGED),
                entry(6, kind="lost", provider="", key_id="", hub_model="", lost_from=2, lost_to=4),
            ]
        )
    )
    groq = one(found, "groq")
    assert (groq["overrun_usd"], groq["failed_usd"], groq["abandoned_usd"]) == (
        "0.00000004", "0.000000007", "0.000000005"
    )  # fmt: skip
    assert (groq["lost_usd"], groq["not_itemised_usd"], groq["unknown_attempts"]) == ("0.000000052", "0", 1)
    assert one(found, "together")["worker_died_usd"] == "0.000000009"
    assert one(found, "")["lost_entries"] == 3
    assert found.total.lost_nano_usd == 61
    assert found.as_json(str)["data"][0]["provider"] is None


def test_what_was_charged_in_full_is_no_loss() -> None:
    found = losses(period([entry(1), entry(2, failure="client_gone", estimated=True)]))
    assert found.total.lost_nano_usd == 0
    assert set(found.total.parts.values()) == {0}


def test_what_is_no_longer_kept_is_told_as_a_sum() -> None:
    entries = [
        entry(1, provider_cost_nano_usd=9, failure="timeout", **UNCHARGED),
        entry(2, provider_cost_nano_usd=8, charge_nano_usd=5, overrun_nano_usd=3),
    ]
    parts = losses(period(entries, kept=[])).total.parts
    assert (parts["overrun"], parts["failed"], parts["not_itemised"]) == (3, 0, 9)


@st.composite
def attempts(draw: st.DrawFn) -> ClosedEntry:
    charge = draw(st.integers(0, 50) | st.none())
    answered = draw(st.booleans())
    overrun = draw(st.integers(0, 9)) if answered and charge is not None else 0
    cost = None if charge is None else charge + overrun
    return entry(
        draw(st.integers(1, 99)), provider=draw(st.sampled_from(["a", "b"])), answered=answered,
        charge_nano_usd=charge if answered else 0, provider_cost_nano_usd=cost, overrun_nano_usd=overrun,
        failure=draw(st.sampled_from([None, "timeout", "client_gone", "worker_died"])), unknown=draw(st.booleans()),
    )  # fmt: skip


@given(st.lists(attempts(), max_size=8), st.integers(0, 8))
def test_parts_add_up(entries: list[ClosedEntry], kept: int) -> None:
    found = losses(period(entries, entries[:kept]))
    cost = sum(one.provider_cost_nano_usd or 0 for one in entries)
    charged = sum(one.charge_nano_usd or 0 for one in entries if one.answered)
    assert found.total.lost_nano_usd == cost - charged
    for loss in (*found.providers, found.total):
        assert sum(loss.parts[cause] for cause in CAUSES) == loss.provider_cost_nano_usd - loss.charge_nano_usd
    for cause in CAUSES:
        assert sum(loss.parts[cause] for loss in found.providers) == found.total.parts[cause]
