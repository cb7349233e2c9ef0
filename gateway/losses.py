"""What the organisation paid providers and charged no team, by provider and by cause. Pure.

The parts of a provider add up to its cost minus the charges, to the nano-dollar. What a provider bills for attempts
of which nobody knows anything has no amount: it is counted. Nor is anything booked for the requests of a host that is
gone with its journal: they are told one by one, with what was held for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.ledger_period import LedgerPeriod
from gateway.moments import format_moment
from gateway.money import format_usd
from gateway.outcomes import CLIENT_GONE
from gateway.records import ClosedEntry
from gateway.store.base import ExpiredHold
from gateway.store.fold import counters_of

CAUSES: Final = ("overrun", "failed", "abandoned", "worker_died", "not_itemised")
"""`overrun`: billed above what was held for a strict budget; `failed`: attempts that failed after the provider had
begun to answer, and what another read again to go on from one; `abandoned`: the caller left; `worker_died`: our process
ended; `not_itemised`: the entries are no longer kept, so only the sum is known."""
COUNTS: Final = ("unknown_attempts", "lost_entries", "unpriced_requests")
"""What has no amount: attempts whose usage nobody knows, holes in journals, answers without a known price."""
_CAUSE_OF: Final = {CLIENT_GONE: "abandoned", "worker_died": "worker_died"}


@dataclass(frozen=True, slots=True)
class ProviderLosses:
    """Amounts in nano-USD. `provider` is empty for what never reached one."""

    provider: str
    provider_cost_nano_usd: int
    charge_nano_usd: int
    parts: Mapping[str, int]
    """By the names of `CAUSES`; they add up to the cost minus the charge."""
    counts: Mapping[str, int]
    """By the names of `COUNTS`."""

    @property
    def lost_nano_usd(self) -> int:
        return self.provider_cost_nano_usd - self.charge_nano_usd

    def as_json(self) -> dict[str, Any]:
        return {
            "provider_cost_usd": format_usd(self.provider_cost_nano_usd),
            "cost_usd": format_usd(self.charge_nano_usd),
            "lost_usd": format_usd(self.lost_nano_usd),
            **{f"{cause}_usd": format_usd(self.parts[cause]) for cause in CAUSES},
            **self.counts,
        }


@dataclass(frozen=True, slots=True)
class Losses:
    """Of a period, by provider and in all; and beyond that, what was held for requests that nobody closed."""

    from_ms: int
    to_ms: int
    providers: tuple[ProviderLosses, ...]
    total: ProviderLosses
    expired: tuple[ExpiredHold, ...] = ()

    @property
    def expired_nano_usd(self) -> int:
        """The most that providers can bill for them under strict budgets."""
        return sum(hold.nano_usd for hold in self.expired)

    def as_json(self, team_name: Callable[[str], str]) -> dict[str, Any]:
        return {
            "data": [{"provider": one.provider or None, **one.as_json()} for one in self.providers],
            "total": self.total.as_json(),
            "expired_holds": [
                {
                    "inference_id": hold.inference_id,
                    "team": team_name(hold.team_id),
                    "at": format_moment(hold.at_ms),
                    "cost_usd": format_usd(0),
                    "provider_cost_usd_max": format_usd(hold.nano_usd),
                }
                for hold in self.expired
            ],
            "expired_holds_usd_max": format_usd(self.expired_nano_usd),
            "from": format_moment(self.from_ms),
            "to": format_moment(self.to_ms),
        }


def losses(period: LedgerPeriod, expired: Sequence[ExpiredHold] = ()) -> Losses:
    """The losses of a period; a provider that cost and lost nothing is left out."""
    sums: dict[str, Counter[str]] = {}
    for cell in period.cells:
        sums.setdefault(cell.provider, Counter()).update(cell.counters)
    explained: dict[str, Counter[str]] = {provider: Counter() for provider in sums}
    for entry in period.entries:
        cause, nano_usd = loss_of(entry)
        explained.setdefault(entry.provider, Counter())[cause] += nano_usd
    found = [_losses(provider, sums.get(provider, Counter()), explained[provider]) for provider in sorted(explained)]
    shown = tuple(one for one in found if one.provider_cost_nano_usd or one.lost_nano_usd or any(one.counts.values()))
    return Losses(period.from_ms, period.to_ms, shown, _losses("", _added(sums), _added(explained)), tuple(expired))


def _added(parts: Mapping[str, Counter[str]]) -> Counter[str]:
    """Their sum. Counters that are added with `+` would drop what is below zero."""
    total: Counter[str] = Counter()
    for part in parts.values():
        total.update(part)
    return total


def loss_of(entry: ClosedEntry) -> tuple[str, int]:
    """The cause and the nano-USD that an attempt cost and no team was charged, its overrun left out: the sums have that
    by itself."""
    counted = counters_of(entry)
    lost = counted.get("provider_cost_nano_usd", 0) - counted.get("charge_nano_usd", 0)
    return _CAUSE_OF.get(entry.failure or "", "failed"), lost - entry.overrun_nano_usd


def _losses(provider: str, sums: Counter[str], explained: Counter[str]) -> ProviderLosses:
    cost, charge, overrun = (sums[f"{name}_nano_usd"] for name in ("provider_cost", "charge", "overrun"))
    parts = {cause: explained[cause] for cause in CAUSES} | {"overrun": overrun}
    parts["not_itemised"] = cost - charge - overrun - sum(explained.values())
    counts = (sums["unknown_requests"], sums["lost_entries"], sums["unpriced_requests"])
    return ProviderLosses(provider, cost, charge, parts, dict(zip(COUNTS, counts, strict=True)))
