"""Who calls: a request's headers to a Principal, by way of the store and a small cache.

A key that was looked up holds until somebody changes teams or keys (`changed`), and for five seconds at most: it is
asked again in the background before they are over, so that a request seldom waits for the store. While the store is
away what is known holds for up to ten minutes. The cache holds digests, never keys; a text that is no key never reaches
a store.
What a principal may do is decided elsewhere, but for the scope of a key (`require_scope`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

from gateway import keys
from gateway.errors import Forbidden, GatewayError, InvalidKey, LedgerUnavailable, NotFound
from gateway.store.base import StoreAway, Tenants
from gateway.tenants import Key, Principal, Team
from gateway.web.credentials import Headers, read_credentials

ENTRIES_MAX: Final = 10_000
AWAY_PAUSE_S: Final = 1.0
"""How long a store that was found away is not asked again about a key that is known."""
TOUCH_MS: Final = 60_000
"""A key's last use is written at most this often."""

NO_KEY: Final = "This needs a key of the gateway: send 'Authorization: Bearer hf_gw_…'."
WRONG_KEY: Final = "This key is unknown, revoked or expired. Ask whoever runs the gateway for another one."
WRONG_ADMIN_KEY: Final = "This needs the admin key: send 'Authorization: Bearer' with the value of GATEWAY_ADMIN_KEY."

Place = tuple[bytes, bytes | None]
"""SHA-256 of a key, and the team that its request wants billed."""
Value = TypeVar("Value")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Known:
    """A principal that the store confirmed. Times of the monotonic clock."""

    principal: Principal
    fresh_until_s: float
    refresh_at_s: float
    stale_until_s: float


class Authenticator:
    """The keys that this worker knows. Built once, in app.py; `aclose` ends what runs in the background."""

    def __init__(
        self,
        store: Tenants,
        *,
        cache_s: float = 5.0,
        stale_s: float = 600.0,
        negative_s: float = 5.0,
        entries_max: int = ENTRIES_MAX,
        clock_s: Callable[[], float] = time.monotonic,
        wall_clock_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._store = store
        self._cache_s = cache_s
        self._stale_s = stale_s
        self._negative_s = negative_s
        self._entries_max = entries_max
        self._clock_s = clock_s
        self._wall_clock_ms = wall_clock_ms
        self._known: dict[Place, _Known] = {}
        self._refused: dict[Place, tuple[GatewayError, float]] = {}
        self._ended: dict[bytes, None] = {}
        """Digests that were seen revoked: refused as long as this worker lives, even by a store that went back."""
        self._asking: dict[Place, asyncio.Task[Principal | GatewayError]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._changed_at_s = -math.inf

    async def principal(self, headers: Headers) -> Principal:
        """The caller. Raises InvalidKey, Forbidden (another team may not be billed) and LedgerUnavailable."""
        credentials = read_credentials(headers)
        if credentials is None:
            raise InvalidKey(NO_KEY)
        place = (sha256(credentials.token).digest(), credentials.bill_to)
        return self._cached(place) or await self._look_up(place, credentials.token)

    def principal_cached(self, headers: Headers) -> Principal | None:
        """The caller where this worker knows it without asking: one look into a dictionary. Needs a running loop."""
        credentials = read_credentials(headers)
        if credentials is None:
            return None
        return self._cached((sha256(credentials.token).digest(), credentials.bill_to))

    @staticmethod
    def require_scope(principal: Principal, scope: str) -> None:
        """Raises Forbidden unless the key has this scope: `inference` or `usage`."""
        if scope not in principal.key.scopes:
            raise Forbidden(f"this key has no scope {scope!r}", code="scope_not_allowed")

    def changed(self) -> None:
        """Somebody changed teams or keys: the store is asked again about each, as soon as it is used."""
        now_s = self._changed_at_s = self._clock_s()
        for known in self._known.values():
            known.fresh_until_s = known.refresh_at_s = min(known.fresh_until_s, now_s)
        self._refused.clear()
        # What was asked before may be answered with what was before.
        self._background.update(self._asking.values())
        for task in self._asking.values():
            task.add_done_callback(self._background.discard)
        self._asking.clear()

    async def aclose(self) -> None:
        """Waits for what still runs in the background."""
        while running := [*self._asking.values(), *self._background]:
            await asyncio.gather(*running)

    def _cached(self, place: Place) -> Principal | None:
        known = self._known.get(place)
        if known is None:
            return None
        now_s = self._clock_s()
        if now_s >= known.refresh_at_s:
            if now_s >= known.fresh_until_s:
                return None
            self._ask_once(place)
        return known.principal

    async def _look_up(self, place: Place, token: bytes) -> Principal:
        if keys.parse(token.decode("latin-1")) is None:
            raise InvalidKey(WRONG_KEY)
        refusal = self._refusal(place)
        if refusal is not None:
            raise refusal
        # Shielded: others wait for the same answer, and the first caller may leave.
        outcome = await asyncio.shield(self._ask_once(place))
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    def _refusal(self, place: Place) -> GatewayError | None:
        if place[0] in self._ended:
            return InvalidKey(WRONG_KEY)
        now_s = self._clock_s()
        for refused in (self._refused.get((place[0], None)), self._refused.get(place)):
            if refused is not None and now_s < refused[1]:
                return refused[0]
        return None

    def _ask_once(self, place: Place) -> asyncio.Task[Principal | GatewayError]:
        """The running question about a key, or a new one: however many requests wait, the store is asked once."""
        task = self._asking.get(place)
        if task is None:
            task = asyncio.create_task(self._ask(place))
            self._asking[place] = task
            task.add_done_callback(lambda done: self._asked(place, done))
        return task

    def _asked(self, place: Place, task: asyncio.Task[Principal | GatewayError]) -> None:
        if self._asking.get(place) is task:
            del self._asking[place]

    async def _ask(self, place: Place) -> Principal | GatewayError:
        """What the store says of a key. An error is returned, not raised: a refresh has nobody to raise it to."""
        asked_at_s = self._clock_s()
        try:
            found = await self._store.find_key(place[0].hex())
            if found is None or not _opens(found[0], place[0].hex()):
                return InvalidKey(WRONG_KEY) if self._is_old(asked_at_s) else await self._forget(place)
            key, team = found
            billed = team if place[1] is None else await self._billed(key, team, place[1].decode("latin-1"))
        except StoreAway as away:
            return self._while_away(place, away)
        except Forbidden as error:
            if not self._is_old(asked_at_s):
                self._known.pop(place, None)
                self._refuse(place, error)
            return error
        return self._remember(place, Principal(key=key, team=team, billed=billed), asked_at_s)

    async def _billed(self, key: Key, team: Team, name: str) -> Team:
        if name in (team.name, team.id):
            return team
        # Whether there is such a team is told to nobody who may not bill it.
        if name in key.may_bill:
            billed = await self._store.find_team(name)
            if billed is not None and billed.deleted_at_ms is None and team.name in billed.accepts_from:
                return billed
        raise Forbidden(
            f"X-HF-Bill-To: this key may not bill the team {name[:64]!r}: both the key's 'may_bill' and that team's "
            "'accepts_from' must allow it",
            code="billing_not_allowed",
        )

    def _is_old(self, asked_at_s: float) -> bool:
        """Whether something was changed since the store was asked, so that its answer holds for nobody else."""
        return asked_at_s <= self._changed_at_s

    def _remember(self, place: Place, principal: Principal, asked_at_s: float) -> Principal:
        # The age of an answer counts from its question: what the store said may be as old as that.
        now_ms = self._wall_clock_ms()
        left_s = _life_ms(principal.key, place[0].hex(), now_ms) / 1000
        fresh_s = 0.0 if self._is_old(asked_at_s) else min(self._cache_s, left_s)
        known = _Known(
            principal,
            fresh_until_s=asked_at_s + fresh_s,
            refresh_at_s=asked_at_s + fresh_s / 2,
            stale_until_s=asked_at_s + min(self._stale_s, left_s),
        )
        _put(self._known, place, known, self._entries_max)
        last_used_ms = principal.key.last_used_at_ms
        if last_used_ms is None or now_ms - last_used_ms >= TOUCH_MS:
            self._in_background(self._touch(principal.key, now_ms))
        return principal

    async def _forget(self, place: Place) -> GatewayError:
        """The store knows no living key of this digest (any more)."""
        known = self._known.pop(place, None)
        error = InvalidKey(WRONG_KEY)
        self._refuse((place[0], None), error)
        if known is not None and await self._was_ended(known.principal.key, place[0].hex()):
            _put(self._ended, place[0], None, self._entries_max)
        return error

    async def _was_ended(self, key: Key, digest: str) -> bool:
        """Whether the key was revoked or rotated away, rather than expired or lost with the store's data."""
        for kept in await self._store.keys(key.team_id):
            if kept.id == key.id:
                return kept.revoked_at_ms is not None or digest not in (kept.digest, kept.old_digest)
        return False

    def _while_away(self, place: Place, away: StoreAway) -> Principal | GatewayError:
        now_s = self._clock_s()
        known = self._known.get(place)
        if known is None or now_s >= known.stale_until_s:
            return LedgerUnavailable(f"The key cannot be checked now: {away.reason}.", retry_after_s=AWAY_PAUSE_S)
        until_s = min(now_s + AWAY_PAUSE_S, known.stale_until_s)
        known.fresh_until_s = max(known.fresh_until_s, until_s)
        known.refresh_at_s = until_s
        return known.principal

    def _refuse(self, place: Place, error: GatewayError) -> None:
        _put(self._refused, place, (error, self._clock_s() + self._negative_s), self._entries_max)

    async def _touch(self, key: Key, at_ms: int) -> None:
        try:
            await self._store.touch_keys({(key.team_id, key.id): at_ms})
        except StoreAway:
            # Nothing depends on it, and the next look-up of the key writes it again.
            return

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class AdminGuard:
    """The door of the admin API: one key, or none, which closes it."""

    def __init__(self, admin_key: str | None) -> None:
        self._digest = None if admin_key is None else keys.digest(admin_key)

    def check(self, headers: Headers) -> None:
        """Raises NotFound (`not_found`) where admin is off over HTTP, InvalidKey where the key is not the right one."""
        if self._digest is None:
            raise NotFound("there is nothing here", code="not_found")
        credentials = read_credentials(headers)
        # Digests are compared, so that not even the length of the right key shows in the time it takes.
        given = "" if credentials is None else sha256(credentials.token).hexdigest()
        if not keys.equal(given, self._digest):
            raise InvalidKey(WRONG_ADMIN_KEY)


def _opens(key: Key, digest: str) -> bool:
    """A second look at what a store found, in constant time."""
    return keys.equal(key.digest, digest) or (key.old_digest is not None and keys.equal(key.old_digest, digest))


def _life_ms(key: Key, digest: str, now_ms: int) -> float:
    """How long a key can still be used by this digest, at most."""
    ends_ms = [key.expires_at_ms]
    if digest != key.digest:
        ends_ms.append(key.old_digest_until_ms)
    return max(0.0, min((end - now_ms for end in ends_ms if end is not None), default=float("inf")))


def _put(kept: dict[Any, Value], place: Any, value: Value, most: int) -> None:
    """Keeps a value as the newest; the oldest goes where there would be more than `most`."""
    kept.pop(place, None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[place] = value
