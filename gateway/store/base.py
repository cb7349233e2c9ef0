"""What a store must do: keep teams and keys, fold the journals into a ledger, and report from it.

Two stores mean the same: Redis for any number of hosts, SQLite for one. `tests/store` runs one suite on both.
Every method may raise `StoreAway`; nothing else of a driver's own errors leaves a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.records import Admission, Admit, ClosedEntry, Crossing, PriceTaken, Refusal, Run, Settled
from gateway.store.board import Board
from gateway.tenants import Key, Organisation, Team

STALE_AFTER_MS: Final = 35 * 86_400_000
WORKER_GONE_MS: Final = 15_000
"""A worker that was not heard of for so long does not count as alive."""
"""Where a journal's watermark is missing and its entries are older than this, it cannot be told whether they were
counted before."""
ANSWER_KEPT_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Retention:
    """How long Redis keeps sums and entries. The embedded store keeps everything: one host's ledger is small."""

    hours_d: int = 35
    """Sums by the hour; after that by the day."""
    days_d: int = 400
    stories_d: int = 7
    """Entries, each with the attempt that it tells of."""
    stories_max: int = 100_000
    """Entries of one team; the oldest go first."""


KEEP: Final = Retention()
"""What is kept where nothing else is said."""


class StoreAway(Exception):
    """The store cannot be asked now. `reason` is short and safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoreUnfit(Exception):
    """The store can be reached but must not be used: a Redis that evicts, a database on a network file system. A reason
    to refuse the start; the message says what would be right."""


class NameTaken(Exception):
    """A living team has this name."""


class Changed(Exception):
    """Somebody else has changed this meanwhile: read it again."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act of an administrator. `before` and `after` are JSON objects without secrets, or None."""

    at_ms: int
    actor: str
    """`admin-api` or `cli`."""
    origin: str
    """Client address, or the host name for the CLI."""
    act: str
    """`team.create`, `key.revoke`, …"""
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class UsageCell:
    """Sums over the closed entries of one team, hour (or day), key, model and provider."""

    team_id: str
    start_ms: int
    """Start of the hour or the day."""
    key_id: str
    hub_model: str
    provider: str
    counters: Mapping[str, int]
    """By the names of `gateway.records.METRICS`."""


@dataclass(frozen=True, slots=True)
class ExpiredHold:
    """What was held for a request that nobody has closed: its host went, and its journal with it. The team is charged
    nothing; under a strict budget its providers cannot bill more than this for it."""

    team_id: str
    inference_id: str
    at_ms: int
    nano_usd: int


@dataclass(frozen=True, slots=True)
class Claim:
    """One request's claim to be the only one that is served under an Idempotency-Key."""

    team_id: str
    """Who would pay."""
    place: str
    """Digest of the key and of whose it is."""
    fingerprint: str
    """Digest of what is asked."""
    inference_id: str
    lease_ms: int
    """By then the request is over; a claim that is older was left behind by a worker that died."""
    instead_of: str | None = None
    """The inference id of a request whose claim is void: it is over, and was not answered."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whose claim came first, and what became of it. `answer` is None where it was not kept."""

    inference_id: str
    fingerprint: str
    lease_is_over: bool
    is_answered: bool
    answer: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """Sums over the closed entries of one team, month, model, provider and price."""

    hub_model: str
    provider: str
    price: PriceTaken | None
    """None: nothing was charged, or no price was known."""
    counters: Mapping[str, int]
    """By the names of `gateway.records.CHARGED_METRICS`."""


class Tenants(Protocol):
    async def create_team(self, team: Team) -> None:
        """Raises NameTaken."""
        ...

    async def save_team(self, team: Team) -> None:
        """Replaces what is kept of `team.id`, its name included (NameTaken), if it is still of `team.revision` (else
        Changed). With `deleted_at_ms` set the name becomes free again and all its keys are dead at once."""
        ...

    async def teams(self, *, deleted: bool = False) -> list[Team]: ...

    async def find_team(self, name_or_id: str) -> Team | None:
        """A living team by name, or any team by id."""
        ...

    async def create_key(self, key: Key) -> None: ...

    async def save_key(self, key: Key) -> None:
        """Replaces what is kept of the key, if it is still of `key.revision` (else Changed); a changed or revoked
        digest stops being found first."""
        ...

    async def keys(self, team_id: str) -> list[Key]: ...

    async def touch_keys(self, used: Mapping[tuple[str, str], int]) -> None:
        """Moves the last use of keys forward: (team id, key id) to milliseconds. Changes nothing else of a key, so
        that it never undoes a revocation made meanwhile; a key that is not there is passed over."""
        ...

    async def find_key(self, digest: str) -> tuple[Key, Team] | None:
        """By current digest, or by the old one of a rotation. Revoked and expired keys, and those of a deleted team,
        are not found."""
        ...

    async def append_audit(self, entry: AuditEntry) -> bool:
        """Whether every replica that is connected has this, and with it all that was written before, within a second;
        true where there are none."""
        ...

    async def audit(self, *, limit: int = 1000) -> list[AuditEntry]:
        """Newest first."""
        ...


class Organisations(Protocol):
    async def organisation(self) -> Organisation: ...

    async def save_organisation(self, organisation: Organisation) -> None: ...


class Ledger(Protocol):
    async def admit(self, requests: Sequence[Admit]) -> list[Admission | Refusal]:
        """Each takes all its scopes or none."""
        ...

    async def settle(self, run: Run) -> Settled:
        """Applies a run of closed entries if the watermark is the one that the run believes in."""
        ...

    async def renew(self, team_id: str, scope_id: str, inference_ids: Sequence[str]) -> None:
        """Prolongs the concurrency slots of requests under way; those already given up stay so."""
        ...

    async def sweep_holds(self) -> int:
        """Ends every hold whose lease is over, as an admission of its team would; how many there were. They are told as
        `expired_holds` until their requests are settled."""
        ...

    async def watermarks(self, instance: str, team_ids: Iterable[str]) -> dict[str, int]:
        """The last sequence applied, per team; a team without one is left out."""
        ...

    async def count_workers(self, instance: str) -> tuple[int, int]:
        """Notes that this worker lives; how many do, all hosts together, and the store's clock (Unix ms). A worker that
        died counts for a while yet."""
        ...

    async def crossings(self, instance: str, team_ids: Iterable[str]) -> list[Crossing]:
        """Thresholds that runs of a journal crossed, and that nobody has noted."""
        ...

    async def begin_crossing(self, instance: str, crossing: Crossing) -> bool:
        """Notes a threshold that no run crosses, the organisation's; whether nobody had done so before."""
        ...

    async def note_crossings(self, crossings: Sequence[Crossing]) -> None:
        """They stand in a journal now: the store need not tell them again."""
        ...

    async def hold_again(self, requests: Sequence[Admit]) -> None:
        """Holds what requests under way held in a store that lost it, whether or not there is room. What it holds
        already it leaves alone. Runs that are settled after this call are applied after it."""
        ...

    def on_change(self, heard: Callable[[], None]) -> None:
        """`heard` is called when the store may have lost what it had acknowledged: it was begun anew, or another node
        took over. Nothing awaits it."""
        ...


class Answers(Protocol):
    """What was answered under an Idempotency-Key, for `ANSWER_KEPT_S`."""

    async def claim_answer(self, claim: Claim) -> Claimed | None:
        """None: the claim stands, also if it is made twice. Else whose it is."""
        ...

    async def keep_answer(self, claim: Claim, answer: bytes | None) -> None:
        """The request was answered; None: with what is not kept. A place that is another's by now stays so."""
        ...

    async def drop_claim(self, claim: Claim) -> None:
        """The request was not answered: the place is free again, unless it is another's by now."""
        ...


class Reports(Protocol):
    async def spent(self, window: str) -> int:
        """Nano-USD that all teams together, deleted ones too, were charged in a budget window, each in its own zone."""
        ...

    async def usage(self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None) -> list[UsageCell]:
        """Cells of hours where hours are kept, of days before that; `to_ms` is exclusive."""
        ...

    async def tag_usage(
        self, tag: str, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[tuple[str, UsageCell]]:
        """The same per value of one tag, by day; what carried no such tag is not in it."""
        ...

    async def entries(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None, request_id: str | None = None
    ) -> list[ClosedEntry]:
        """The closed entries that are still kept, in order of their time; with `request_id` those that carry it."""
        ...

    async def expired_holds(
        self, *, from_ms: int, to_ms: int, team_ids: Sequence[str] | None = None
    ) -> list[ExpiredHold]:
        """Of requests that began in a period and were never settled, oldest first."""
        ...

    async def invoice_lines(self, team_id: str, month: str) -> list[InvoiceLine]:
        """What a month of a team (`2026-11`, by its own days) came to, by price; empty where a store keeps the entries
        themselves for as long."""
        ...

    async def story(self, inference_id: str, *, team_ids: Sequence[str] | None = None) -> list[ClosedEntry]:
        """The closed entries of one request, in order of attempts; empty where nothing is kept."""
        ...


class Archive(Protocol):
    """What a store is rebuilt from elsewhere."""

    async def journals(self, team_id: str) -> dict[str, int]:
        """The last sequence applied of every journal that the store still has a watermark of."""
        ...

    async def journal_entries(self, team_id: str, instance: str, *, after: int, most: int) -> list[ClosedEntry]:
        """The closed entries of one journal as they were settled, in order, from the one behind `after` on. Empty where
        a store does not keep them by journal."""
        ...


class Store(Tenants, Organisations, Ledger, Answers, Reports, Archive, Protocol):
    kind: str
    """`redis` or `sqlite`."""

    def board(self, instance: str) -> Board:
        """Where the workers tell each other how providers fare; `instance` is this worker's. Nothing is opened yet."""
        ...

    async def ping(self) -> None:
        """Raises StoreAway where the store cannot be asked now."""
        ...

    async def now_ms(self) -> int:
        """Unix milliseconds by the store's own clock."""
        ...

    async def aclose(self) -> None: ...
