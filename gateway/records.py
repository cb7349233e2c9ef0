"""What happened, as values: attempts, closed journal entries, and what is asked of and answered by the ledger.

Amounts are integer nano-USD, times Unix milliseconds by the store's clock, days and months those of admission in
the billed team's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

METRICS: Final = (
    "requests",
    "failed_requests",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "charge_nano_usd",
    "provider_cost_nano_usd",
    "overrun_nano_usd",
    "estimated_requests",
    "unknown_requests",
    "unpriced_requests",
    "lost_entries",
)
"""The counters of a usage cell. Tokens are those that a team was charged for; requests are counted once, with
the entry that is the last of its request."""

CHARGED: Final[Mapping[str, tuple[str, ...]]] = {
    "all": ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens"),
    "prompt": ("prompt_tokens", "cached_tokens", "cache_write_tokens"),
    "completion": ("completion_tokens", "reasoning_tokens"),
}
"""The tokens of an answering attempt that its team owes: all of them; only the `prompt`, where the caller left and had
been sent nothing of the text; only the `completion`, where it went on from an attempt whose prompt is charged."""

CHARGED_METRICS: Final = frozenset(METRICS) - {"provider_cost_nano_usd", "overrun_nano_usd", "unknown_requests"}
"""Those that are a team's business; what providers bill is not."""


def attempt_id(inference_id: str, number: int) -> str:
    """`<inference_id>.<number>`, sent upstream as `x-request-id`; numbers begin at 1."""
    return f"{inference_id}.{number}"


class Attempt(msgspec.Struct, frozen=True):
    """One try with one provider, as the story of its request tells it."""

    number: int
    provider: str
    provider_model: str
    status: int | None
    """The provider's HTTP status; None where no answer came."""
    failure: str | None = None
    """The FailureKind's value, or None where it answered."""
    reason: str | None = None
    """A sentence, safe to show."""
    started_ms: int = 0
    duration_ms: int = 0
    first_content_ms: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class PriceTaken:
    """The prices an attempt is charged with, nano-USD per million tokens, as they were at admission."""

    input: int
    output: int
    cached_input: int
    cache_write: int


class BudgetTaken(msgspec.Struct, frozen=True, array_like=True):
    """A budget that a request was admitted under, as it was then."""

    scope: str
    """`team`, or `key:<id>`."""
    window: str
    """`day:2026-11-23`, `month:2026-11` or `total`."""
    nano_usd: int
    strict: bool
    warn_at: tuple[int, ...]
    """Percent."""


class Crossing(msgspec.Struct, frozen=True):
    """A threshold of a budget that was reached: told once for each window, and once more after the budget changed."""

    team_id: str
    scope: str
    """`team`, or `key:<id>`."""
    window: str
    percent: int
    budget_nano_usd: int
    spent_nano_usd: int
    at_ms: int

    @property
    def mark(self) -> str:
        """What tells it from every other one of its team."""
        return crossing_mark(self.scope, self.window, self.budget_nano_usd, self.percent)


def crossing_mark(scope: str, window: str, budget_nano_usd: int, percent: int) -> str:
    return f"{scope}|{window}|{budget_nano_usd}|{percent}"


class ClosedEntry(msgspec.Struct, frozen=True):
    """The close of one attempt: what the team owes and what the provider will bill for it. Written once.

    A Struct, as one is made for every attempt: 0.7 µs instead of the 6 µs that a frozen dataclass of this size takes.
    """

    kind: str
    """`use`; `void`: known to cost nothing; `lost`: a hole in a journal, charged nothing; `carried`: sums of attempts
    that are no longer kept, brought over from another store."""
    seq: int
    """Position among the closed entries of one team and instance, from 1."""
    prev: int
    """The sequence before it of the same team and instance."""
    inference_id: str
    number: int
    """0 where the request never reached a provider."""
    last: bool
    """The last entry of its request: counts the request and ends its hold."""
    at_ms: int
    """Admission."""
    day: str
    """ISO day of admission in the team's time zone."""
    team_id: str
    key_id: str
    hub_model: str
    provider: str
    """Empty where there was no attempt."""
    provider_model: str
    request_id: str
    """The caller's own label; never a key."""
    upstream_id: str | None = None
    reported_model: str | None = None
    status: int | None = None
    """What the provider answered; None: nothing."""
    failure: str | None = None
    """The FailureKind's value where the attempt failed, `client_gone` where the caller left."""
    answered: bool = False
    """This attempt is the one that the caller got (or got a part of) and that is charged."""
    failed: bool = False
    """With `last`: the request ended in an error."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    unknown: bool = False
    charge_nano_usd: int | None = 0
    """None: tokens were used that nobody knows a price of."""
    provider_cost_nano_usd: int | None = 0
    overrun_nano_usd: int = 0
    price: PriceTaken | None = None
    generation: str = ""
    """Of the mapping table that was in force."""
    duration_ms: int = 0
    first_content_ms: int | None = None
    tags: Mapping[str, str] = {}
    dropped: tuple[str, ...] = ()
    """Request fields that this provider did not get."""
    lost_from: int = 0
    lost_to: int = 0
    """With `lost`: the sequences that are missing, both included."""
    hour_start_ms: int = 0
    day_start_ms: int = 0
    """Starts of the hour and the day of admission in the team's time zone, so that hours add up to days everywhere."""
    sums: Mapping[str, int] = {}
    """With `carried`: by the names of METRICS."""
    sent_after_ms: int = 0
    """From admission to the first byte that was sent to the provider."""
    route: str = ""
    """With `last`: where routing would have it go, in a few words; see `gateway.routing.decision`."""
    charged_for: str = "all"
    """With `answered`: which of its tokens the team owes, by the names of CHARGED."""
    budgets: tuple[BudgetTaken, ...] = ()
    away: bool = False
    """Admitted while the store was away: no hold was there to keep it within its budgets."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive closed entries of one team and instance, of one day, at most 200: what `settle` applies."""

    team_id: str
    instance: str
    believed_watermark: int
    entries: tuple[ClosedEntry, ...]
    replayed: bool = False
    """Whoever sends it knows that a missing watermark is a zero here: the store has never heard of this journal. Else
    old entries without one are `stale`."""


@dataclass(frozen=True, slots=True)
class Settled:
    """`applied`; or `gap`: nothing was done, go on after `watermark`; or `stale`: the watermark is gone and the
    entries are too old to take its absence for a zero."""

    outcome: str
    watermark: int
    crossed: tuple[Crossing, ...] = ()
    """Thresholds that runs of this journal crossed, and that nobody has noted yet: those of this run, and of one before
    it whose answer was lost."""
    overrun_nano_usd: int = 0
    """By how much this run went past a strict budget."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One thing a request is measured against: the team or the key, with its budget and limits."""

    id: str
    """`team`, or `key:<id>`."""
    budget_nano_usd: int | None = None
    budget_window: str = ""
    """`day:2026-11-23`, `month:2026-11` or `total`."""
    budget_resets_at_ms: int | None = None
    strict: bool = True
    warn_at: tuple[int, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Admit:
    """Asks for room in every scope at once."""

    inference_id: str
    team_id: str
    scopes: tuple[Scope, ...]
    hold_nano_usd: int
    tokens: int
    """Estimate, taken from the rate limits and corrected when the request is settled."""
    lease_ms: int
    not_after_ms: int
    """A store that was frozen until after this moment refuses by itself."""
    forced: bool = False
    """It was admitted before, by a store that has lost it: there is no asking whether there is room."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Granted. `remaining` gives, per scope id, what is left: `budget_nano_usd`, `requests`, `tokens`, `slots`, and
    when the windows reset: `reset_requests_s`, `reset_tokens_s`."""

    inference_id: str
    now_ms: int
    remaining: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is `budget`, `requests`, `tokens`, `concurrency` or `late`; `scope` whose it was."""

    inference_id: str
    now_ms: int
    reason: str
    scope: str
    retry_after_s: float
    spent_nano_usd: int = 0
    held_nano_usd: int = 0
    remaining: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
