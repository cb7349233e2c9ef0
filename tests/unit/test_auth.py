"""Who calls: keys from headers to principals, what is remembered of them, and how soon a revocation works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway import keys
from gateway.errors import Forbidden, GatewayError, InvalidKey, LedgerUnavailable, NotFound
from gateway.tenants import Key, Team
from gateway.web.auth import AdminGuard, Authenticator
from gateway.web.credentials import Credentials, read_credentials
from tests.unit.memory_tenants import MemoryTenants

NOW_MS = 1_795_000_000_000
SEARCH = Team(id="t_1", name="search", created_at_ms=0)
ADS = Team(id="t_2", name="ads", created_at_ms=0, accepts_from=("search",))


class Door:
    """An authenticator before a store with one key of the team `search`, and the clocks of both."""

    def __init__(self, **options: Any) -> None:
        self.store = MemoryTenants()
        self.store.now_ms = NOW_MS
        self.store.kept_teams = {team.id: team for team in (SEARCH, ADS)}
        self.now_s = 1000.0
        self.auth = Authenticator(
            self.store, clock_s=lambda: self.now_s, wall_clock_ms=lambda: self.store.now_ms, **options
        )
        self.text = self.add_key()

    def add_key(self, **fields: Any) -> str:
        minted = keys.mint()
        key = Key(id=minted.id, team_id="t_1", prefix=minted.prefix, digest=minted.digest, **fields)
        self.store.kept_keys["t_1", key.id] = key
        return minted.text

    def change_key(self, **fields: Any) -> None:
        [(place, key)] = self.store.kept_keys.items()
        self.store.kept_keys[place] = replace(key, **fields)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.store.now_ms += round(seconds * 1000)

    def headers(self, text: str | None = None, bill_to: bytes | None = None) -> dict[bytes, bytes]:
        headers = {b"authorization": b"Bearer " + (text or self.text).encode()}
        return headers if bill_to is None else {**headers, b"x-hf-bill-to": bill_to}

    async def enter(self, text: str | None = None, bill_to: bytes | None = None) -> str:
        """Team name that pays."""
        headers = self.headers(text, bill_to)
        return (await self.auth.principal(headers)).billed.name

    async def refused(self, kind: type[GatewayError], *args: Any) -> GatewayError:
        with pytest.raises(kind) as caught:
            await self.enter(*args)
        return caught.value

    def cached(self) -> bool:
        return self.auth.principal_cached(self.headers()) is not None


def at_the_door(story: Callable[[Door], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        door = Door(**options)
        await story(door)
        await door.auth.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer K"),
        (b"authorization", b"bearer   K "),
        (b"authorization", b"Bearer: K"),
        (b"bearer", b"K"),
        (b"x-api-key", b"K"),
    ],
)
def test_a_key_is_found_in_every_header_that_clients_use(header: tuple[bytes, bytes]) -> None:
    assert read_credentials({b"host": b"x", header[0]: header[1]}) == Credentials(b"K")


def test_the_authorization_counts_before_a_key_of_another_header() -> None:
    assert read_credentials({b"x-api-key": b"L", b"authorization": b"Bearer K"}) == Credentials(b"K")
    assert read_credentials({b"x-api-key": b"L", b"authorization": b"Basic K"}) == Credentials(b"L")


@pytest.mark.parametrize("value", [b"", b"K", b"Basic K", b"Bearer", b"Bearer ", b"Bearer K L", b"BearerK"])
def test_other_authorizations_carry_no_key(value: bytes) -> None:
    assert read_credentials({b"authorization": value}) is None


def test_a_key_is_asked_of_the_store_once_and_then_remembered() -> None:
    async def story(door: Door) -> None:
        assert not door.cached()
        assert await asyncio.gather(*(door.enter() for _ in range(20))) == ["search"] * 20
        assert door.cached()
        assert len(door.store.look_ups) == 1

    at_the_door(story)


def test_no_key_and_a_text_that_is_no_key_never_reach_the_store() -> None:
    async def story(door: Door) -> None:
        with pytest.raises(InvalidKey, match="needs a key"):
            await door.auth.principal({})
        for text in ("hf_abc", "sk-123", door.text[:-1] + "_", "ÿ"):
            await door.refused(InvalidKey, text)
        assert door.store.look_ups == []

    at_the_door(story)


def test_unknown_revoked_and_expired_keys_get_the_same_answer() -> None:
    async def story(door: Door) -> None:
        unknown = keys.mint().text
        revoked = door.add_key(revoked_at_ms=NOW_MS)
        expired = door.add_key(expires_at_ms=NOW_MS)
        answers = {str((await door.refused(InvalidKey, text)).as_json()) for text in (unknown, revoked, expired)}
        assert len(answers) == 1

    at_the_door(story)


def test_an_unknown_key_is_asked_once_in_a_while() -> None:
    async def story(door: Door) -> None:
        unknown = keys.mint().text
        await door.refused(InvalidKey, unknown)
        await door.refused(InvalidKey, unknown)
        assert len(door.store.look_ups) == 1
        door.later(5)
        await door.refused(InvalidKey, unknown)
        assert len(door.store.look_ups) == 2

    at_the_door(story)


def test_what_is_remembered_is_bounded() -> None:
    async def story(door: Door) -> None:
        for text in [door.add_key() for _ in range(5)]:
            await door.enter(text)
        for _ in range(5):
            await door.refused(InvalidKey, keys.mint().text)
        assert len(door.auth._known) == 3
        assert len(door.auth._refused) == 3

    at_the_door(story, entries_max=3)


def test_a_revocation_works_within_five_seconds_of_steady_use() -> None:
    async def story(door: Door) -> None:
        await door.enter()
        door.change_key(revoked_at_ms=NOW_MS)
        door.later(4.9)
        assert door.cached(), "still fresh; the store is asked in the background"
        await door.auth.aclose()
        assert not door.cached()
        await door.refused(InvalidKey)

    at_the_door(story)


def test_a_change_that_is_told_works_at_once_also_while_the_store_is_being_asked() -> None:
    async def story(door: Door) -> None:
        assert await door.enter() == "search"
        door.change_key(revoked_at_ms=NOW_MS)
        assert door.cached()
        door.auth.changed()
        assert not door.cached()
        await door.refused(InvalidKey)

        other = Door()
        asked = asyncio.create_task(other.enter())
        await asyncio.sleep(0)  # the question is on its way
        other.auth.changed()
        assert await asked == "search"
        assert not other.cached(), "that was the answer from before"
        await other.auth.aclose()

    at_the_door(story)


def test_a_key_that_was_just_allowed_what_it_was_refused_need_not_wait() -> None:
    async def story(door: Door) -> None:
        door.change_key(revoked_at_ms=NOW_MS)
        await door.refused(InvalidKey)
        door.change_key(revoked_at_ms=None)
        door.auth.changed()
        assert await door.enter() == "search"

    at_the_door(story)


def test_a_key_in_steady_use_is_renewed_without_anybody_waiting() -> None:
    async def story(door: Door) -> None:
        await door.enter()
        for _ in range(10):
            door.later(3)
            assert door.cached()
            await door.auth.aclose()
        assert len(door.store.look_ups) == 11

    at_the_door(story)


def test_a_key_that_was_seen_revoked_stays_dead_when_the_store_goes_back() -> None:
    async def story(door: Door) -> None:
        await door.enter()
        door.change_key(revoked_at_ms=NOW_MS)
        door.later(5)
        await door.refused(InvalidKey)
        door.change_key(revoked_at_ms=None)
        door.later(3600)
        await door.refused(InvalidKey)

    at_the_door(story)


def test_a_key_that_the_store_lost_and_got_back_works_again() -> None:
    async def story(door: Door) -> None:
        await door.enter()
        kept, door.store.kept_keys = door.store.kept_keys, {}
        door.later(5)
        await door.refused(InvalidKey)
        door.store.kept_keys = kept
        door.later(5)
        assert await door.enter() == "search"

    at_the_door(story)


def test_an_expiry_and_the_end_of_a_rotation_are_exact_though_cached() -> None:
    async def story(door: Door) -> None:
        door.change_key(expires_at_ms=NOW_MS + 1000)
        await door.enter()
        door.later(0.4)
        assert door.cached()
        door.later(0.6)
        await door.refused(InvalidKey)

    at_the_door(story)


def test_a_rotated_key_opens_until_its_overlap_ends() -> None:
    async def story(door: Door) -> None:
        new = keys.mint()
        door.change_key(digest=new.digest, old_digest=keys.digest(door.text), old_digest_until_ms=NOW_MS + 2000)
        assert await door.enter() == "search"
        assert await door.enter(new.text) == "search"
        door.later(2)
        await door.refused(InvalidKey)
        assert await door.enter(new.text) == "search"

    at_the_door(story)


def test_known_keys_work_for_ten_minutes_while_the_store_is_away() -> None:
    async def story(door: Door) -> None:
        other = door.add_key()
        await door.enter()
        door.store.away = True
        door.later(590)
        assert await door.enter() == "search"
        error = await door.refused(LedgerUnavailable, other)
        assert error.retry_after_s is not None
        door.later(11)
        await door.refused(LedgerUnavailable)

    at_the_door(story)


def test_a_store_that_is_away_is_not_asked_by_every_request() -> None:
    async def story(door: Door) -> None:
        await door.enter()
        door.store.away = True
        door.later(6)
        await door.enter()
        assert door.cached()
        door.store.away = False
        door.later(1)
        await door.enter()
        assert len(door.store.look_ups) == 2

    at_the_door(story)


def test_another_team_is_billed_where_both_sides_allow_it() -> None:
    async def story(door: Door) -> None:
        door.change_key(may_bill=("ads",))
        assert await door.enter(None, b"ads") == "ads"
        assert door.auth.principal_cached(door.headers(None, b"ads")) is not None
        assert await door.enter() == "search"

    at_the_door(story)


def test_the_own_team_may_be_named() -> None:
    async def story(door: Door) -> None:
        assert await door.enter(None, b"search") == "search"

    at_the_door(story)


@pytest.mark.parametrize(
    ("may_bill", "accepts_from", "bill_to"),
    [
        ((), ("search",), b"ads"),
        (("ads",), (), b"ads"),
        (("ads",), ("search",), b"t_2"),
        (("nobody",), ("search",), b"nobody"),
        (("ads",), ("search",), b"\xff\x00"),
    ],
)
def test_another_team_is_not_billed_where_one_side_does_not_allow_it(
    may_bill: tuple[str, ...], accepts_from: tuple[str, ...], bill_to: bytes
) -> None:
    async def story(door: Door) -> None:
        door.change_key(may_bill=may_bill)
        door.store.kept_teams["t_2"] = replace(ADS, accepts_from=accepts_from)
        error = await door.refused(Forbidden, None, bill_to)
        assert error.code == "billing_not_allowed"
        await door.refused(Forbidden, None, bill_to)
        assert len(door.store.look_ups) == 1

    at_the_door(story)


def test_a_last_use_is_written_at_most_once_a_minute() -> None:
    async def story(door: Door) -> None:
        uses = []
        for _ in range(5):
            await door.enter()
            await door.auth.aclose()
            uses.append(next(iter(door.store.kept_keys.values())).last_used_at_ms)
            door.later(25)
        assert uses == [NOW_MS, NOW_MS, NOW_MS, NOW_MS + 75_000, NOW_MS + 75_000]

    at_the_door(story)


def test_a_caller_that_leaves_does_not_spoil_the_look_up_of_others() -> None:
    async def story(door: Door) -> None:
        first = asyncio.create_task(door.enter())
        second = asyncio.create_task(door.enter())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "search"
        with pytest.raises(asyncio.CancelledError):
            await first

    at_the_door(story)


def test_a_scope_that_a_key_has_not_is_refused() -> None:
    async def story(door: Door) -> None:
        door.change_key(scopes=("usage",))
        principal = await door.auth.principal({b"x-api-key": door.text.encode()})
        door.auth.require_scope(principal, "usage")
        with pytest.raises(Forbidden, match="no scope 'inference'"):
            door.auth.require_scope(principal, "inference")

    at_the_door(story)


def test_the_admin_door_opens_to_its_key_alone() -> None:
    guard = AdminGuard("correct-horse-battery")
    guard.check({b"authorization": b"Bearer correct-horse-battery"})
    for value in (b"", b"Bearer correct-horse-batterz", b"Bearer \xff"):
        with pytest.raises(InvalidKey, match="needs the admin key"):
            guard.check({b"authorization": value})


def test_without_an_admin_key_there_is_no_admin_door() -> None:
    with pytest.raises(NotFound) as caught:
        AdminGuard(None).check({b"authorization": b"Bearer x"})
    assert caught.value.code == "not_found"
