"""Teams and keys as values: who may call, what they may use, and up to what amount.

A key is kept as a digest only; the key itself is shown once, when it is made. Times are Unix milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a period, integer nano-USD."""

    nano_usd: int
    period: str = "month"
    """`day`, `month` or `total`."""
    enforce: str = "strict"
    """`strict`: never exceeded; `soft`: warned about."""
    warn_at: tuple[int, ...] = (80, 100)
    """Percentages at which a warning is given, once per period."""


@dataclass(frozen=True, slots=True)
class Limits:
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    def __bool__(self) -> bool:
        return (self.requests_per_minute, self.tokens_per_minute, self.concurrency) != (None, None, None)


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Organisation:
    """What holds for all teams together: a soft budget, and who is told of its thresholds."""

    budget: Budget | None = None
    webhook: Webhook | None = None


ORGANISATION_ID: Final = "organisation"
"""In the place of a team's id, where all of them are meant. No team has it."""


@dataclass(frozen=True, slots=True)
class Team:
    """`id` is immutable and never given twice; `name` may be changed."""

    id: str
    name: str
    created_at_ms: int
    budget: Budget | None = None
    limits: Limits = Limits()
    models: tuple[str, ...] = ()
    """Globs over Hub model ids; empty: all."""
    providers: tuple[str, ...] = ()
    """Provider names; empty: all."""
    timezone: str | None = None
    when_store_down: str | None = None
    unpriced: str | None = None
    accepts_from: tuple[str, ...] = ()
    """Names of teams whose keys may bill this one."""
    ceilings: dict[str, Any] | None = None
    """`only`, `ignore`, and `max_price` with `input` and `output` as decimal text: tighter than the organisation's."""
    webhook: Webhook | None = None
    deleted_at_ms: int | None = None
    revision: int = field(default=0, compare=False)
    """Raised with each change, so that two changes of one state are seen."""


@dataclass(frozen=True, slots=True)
class Key:
    """`digest` is the hex SHA-256 of the whole key. During a rotation the old key's digest lives on until its time."""

    id: str
    team_id: str
    prefix: str
    """What may be shown of the key: enough to recognise it."""
    digest: str = field(repr=False)
    created_at_ms: int = 0
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    last_used_at_ms: int | None = None
    budget: Budget | None = None
    limits: Limits = Limits()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    may_bill: tuple[str, ...] = ()
    """Names of teams that this key may bill with `X-HF-Bill-To`."""
    scopes: tuple[str, ...] = ("inference", "usage")
    old_digest: str | None = field(default=None, repr=False)
    old_digest_until_ms: int | None = None
    revision: int = field(default=0, compare=False)
    """As a team's."""

    def is_live(self, now_ms: int) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at_ms is None and (self.expires_at_ms is None or now_ms < self.expires_at_ms)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and who pays: `billed` is the key's own team unless another was named and both sides allow it."""

    key: Key
    team: Team
    billed: Team

    @property
    def is_limited(self) -> bool:
        """Whether any budget or limit of the key or the billed team must be asked of the store."""
        return bool(self.key.budget or self.key.limits or self.billed.budget or self.billed.limits)

    @property
    def has_strict_budget(self) -> bool:
        """Whether what is spent must never exceed a budget, of the key or of the billed team."""
        budgets = (self.key.budget, self.billed.budget)
        return any(budget is not None and budget.enforce == "strict" for budget in budgets)

    def may_use_model(self, hub_model: str) -> bool:
        """Both the key's and the billed team's lists allow it; an empty list allows all."""
        return all(
            not globs or any(fnmatchcase(hub_model, glob) for glob in globs)
            for globs in (self.key.models, self.billed.models)
        )

    def may_use_provider(self, provider: str) -> bool:
        return all(not names or provider in names for names in (self.key.providers, self.billed.providers))
