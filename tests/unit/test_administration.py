"""The acts of an administrator: what they keep, what they refuse, and what the audit tells of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from gateway import keys as key_texts
from gateway.administration import Actor, Administration
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.tenant_views import audit_view, key_view, team_view
from tests.unit.memory_tenants import MemoryTenants

NOW_MS = 1_795_000_000_000
ACTOR = Actor("cli", "host-1")


class Office:
    """An administration over a fresh store, at a time that a test sets."""

    def __init__(self) -> None:
        self.store = MemoryTenants()
        self.now_ms = NOW_MS
        numbers = count(1)
        self.acts = Administration(self.store, new_team_id=lambda: f"t_{next(numbers)}", clock_ms=lambda: self.now_ms)


def with_office(story: Callable[[Office], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Office())

    asyncio.run(run())


def refused(given: object, *, key: bool = False) -> GatewayError:
    """The error that creating a team (or a key of one) from these fields ends in."""

    async def run() -> GatewayError:
        office = Office()
        await office.acts.create_team({"team": "search"}, ACTOR)
        with pytest.raises(InvalidRequest) as caught:
            await (office.acts.create_key("search", given, ACTOR) if key else office.acts.create_team(given, ACTOR))
        assert len(office.store.kept_audit) == 1, "what was refused leaves no trace"
        return caught.value

    return asyncio.run(run())


FULL_TEAM: dict[str, Any] = {
    "team": "search",
    "budget": {"usd": "100.00", "period": "day", "enforce": "soft", "warn_at": [100, 50]},
    "limits": {"requests_per_minute": 60, "tokens_per_minute": 100_000, "concurrency": 8},
    "models": ["meta-llama/*"],
    "providers": ["groq"],
    "timezone": "Europe/Berlin",
    "when_store_down": "deny",
    "unpriced": "refuse",
    "accepts_from": ["ads"],
    "ceilings": {"only": ["groq"], "max_price": {"input": 5, "output": "15.5"}},
    "webhook": {"url": "https://hooks.example.com/budget", "secret": "a secret of the hook"},
}


def test_a_team_is_kept_as_it_was_described() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team(FULL_TEAM, ACTOR)
        view = team_view(await office.acts.team("search"))
        assert view == {
            **FULL_TEAM,
            "id": "t_1",
            "created_at": "2026-11-18T11:06:40Z",
            "deleted_at": None,
            "budget": {"usd": "100", "period": "day", "enforce": "soft", "warn_at": [50, 100]},
            "ceilings": {"only": ["groq"], "max_price": {"input": "5", "output": "15.5"}},
            "webhook": {"url": "https://hooks.example.com/budget"},
        }

    with_office(story)


def test_a_name_alone_makes_a_team_without_limits() -> None:
    async def story(office: Office) -> None:
        team = await office.acts.create_team({"team": "search"}, ACTOR)
        assert team.budget is None
        assert not team.limits

    with_office(story)


@pytest.mark.parametrize(
    ("usd", "nano_usd"),
    [("100.00", 100_000_000_000), (100, 100_000_000_000), (0.1, 100_000_000), (5.0, 5_000_000_000), ("0", 0)],
)
def test_an_amount_is_a_text_or_a_number_and_exact(usd: object, nano_usd: int) -> None:
    async def story(office: Office) -> None:
        team = await office.acts.create_team({"team": "search", "budget": {"usd": usd}}, ACTOR)
        assert team.budget is not None
        assert (team.budget.nano_usd, team.budget.period, team.budget.enforce) == (nano_usd, "month", "strict")
        assert team.budget.warn_at == (80, 100)

    with_office(story)


@pytest.mark.parametrize(
    ("given", "param", "says"),
    [
        ({}, "team", "must be 1 to 63"),
        ({"team": "Search"}, "team", "must be 1 to 63"),
        ({"team": "-a"}, "team", "begin with a letter"),
        ({"team": "a" * 64}, "team", "must be 1 to 63"),
        ({"team": None}, "team", "cannot be null"),
        ({"team": "a\n"}, "team", "must be 1 to 63"),
        ({"team": "a", "bugdet": {}}, "bugdet", "Did you mean 'budget'?"),
        ({"team": "a", "id": "t_9"}, "id", "Expected: team, budget"),
        ({"team": "a", "budget": {}}, "budget.usd", "is missing"),
        ({"team": "a", "budget": 5}, "budget", "must be a JSON object"),
        ({"team": "a", "budget": {"usd": "-1"}}, "budget.usd", "is not an amount"),
        ({"team": "a", "budget": {"usd": 1e-7}}, "budget.usd", "is not an amount"),
        ({"team": "a", "budget": {"usd": True}}, "budget.usd", "must be a text"),
        ({"team": "a", "budget": {"usd": "9" * 9}}, "budget.usd", "is more than"),
        ({"team": "a", "budget": {"usd": "1", "period": "week"}}, "budget.period", "one of: day, month, total"),
        ({"team": "a", "budget": {"usd": "1", "enforce": "strikt"}}, "budget.enforce", "'strict'"),
        ({"team": "a", "budget": {"usd": "1", "warn_at": [0]}}, "budget.warn_at", "from 1 to 1000"),
        ({"team": "a", "budget": {"usd": "1", "warn_at": "80"}}, "budget.warn_at", "a list"),
        ({"team": "a", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute", "an integer from 1 to"),
        ({"team": "a", "limits": {"concurrency": True}}, "limits.concurrency", "an integer from 1 to"),
        ({"team": "a", "limits": {"rpm": 1}}, "limits.rpm", "Expected: requests_per_minute"),
        ({"team": "a", "models": "meta-llama/*"}, "models", "must be a list"),
        ({"team": "a", "models": ["a b"]}, "models[0]", "pattern such as"),
        ({"team": "a", "providers": ["groq", 1]}, "providers[1]", "the name of a provider"),
        ({"team": "a", "timezone": "Europe/Berln"}, "timezone", "'Europe/Berlin'"),
        ({"team": "a", "timezone": "../etc/passwd"}, "timezone", "is not a time zone"),
        ({"team": "a", "when_store_down": "maybe"}, "when_store_down", "allow-bounded"),
        ({"team": "a", "unpriced": "deny"}, "unpriced", "allow, refuse"),
        ({"team": "a", "accepts_from": ["B"]}, "accepts_from[0]", "the name of a team"),
        ({"team": "a", "webhook": {"secret": "x" * 16}}, "webhook.url", "is missing"),
        ({"team": "a", "webhook": {"url": "https://a"}}, "webhook.secret", "is missing"),
        ({"team": "a", "webhook": {"url": "https://a", "secret": "short"}}, "webhook.secret", "at least 16"),
        ({"team": "a", "webhook": {"url": "file:///etc", "secret": "x" * 16}}, "webhook.url", "http://"),
        ({"team": "a", "webhook": {"url": "https://a:b@c", "secret": "x" * 16}}, "webhook.url", "user name"),
        ({"team": "a", "ceilings": {"max_price": {"input": "x"}}}, "ceilings.max_price.input", "is not an amount"),
        ([], None, "the body must be a JSON object"),
    ],
)
def test_a_wrong_field_of_a_team_is_named(given: object, param: str | None, says: str) -> None:
    error = refused(given)
    assert error.param == param
    assert says in error.message


@pytest.mark.parametrize(
    ("given", "param", "says"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "lies in the past"),
        ({"expires_at": "tomorrow"}, "expires_at", "is not an ISO 8601"),
        ({"expires_at": 1_900_000_000}, "expires_at", "must be a text"),
        ({"scopes": []}, "scopes", "at least one"),
        ({"scopes": ["admin"]}, "scopes[0]", "inference, usage"),
        ({"may_bill": ["*"]}, "may_bill[0]", "the name of a team"),
        ({"timezone": "UTC"}, "timezone", "is not a field of a key"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(given: object, param: str, says: str) -> None:
    error = refused(given, key=True)
    assert error.param == param
    assert says in error.message


def test_a_name_is_taken_until_its_team_is_deleted() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        with pytest.raises(Conflict, match="already"):
            await office.acts.create_team({"team": "search"}, ACTOR)
        await office.acts.delete_team("search", ACTOR)
        again = await office.acts.create_team({"team": "search"}, ACTOR)
        assert again.id != "t_1"

    with_office(story)


def test_an_unknown_team_is_told_with_near_names() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        with pytest.raises(NotFound, match="Did you mean 'search'") as caught:
            await office.acts.team("serach")
        assert caught.value.code == "team_not_found"

    with_office(story)


def test_an_update_changes_what_it_names_and_nothing_else() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team(FULL_TEAM, ACTOR)
        await office.acts.update_team(
            "search",
            {"team": "find", "budget": {"usd": "7"}, "limits": {"concurrency": None}, "providers": None},
            ACTOR,
        )
        team = await office.acts.team("find")
        assert team_view(team)["budget"] == {"usd": "7", "period": "day", "enforce": "soft", "warn_at": [50, 100]}
        assert (team.limits.requests_per_minute, team.limits.concurrency) == (60, None)
        assert team.providers == ()
        assert team.models == ("meta-llama/*",)
        assert team.webhook is not None
        assert team.webhook.secret == "a secret of the hook"

    with_office(story)


def test_null_takes_a_budget_away() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team(FULL_TEAM, ACTOR)
        assert (await office.acts.update_team("search", {"budget": None}, ACTOR)).budget is None

    with_office(story)


def test_a_key_opens_by_the_text_that_is_given_once() -> None:
    async def story(office: Office) -> None:
        team = await office.acts.create_team({"team": "search"}, ACTOR)
        issued = await office.acts.create_key(
            "search",
            {"expires_at": "2027-01-01T00:00:00+01:00", "scopes": ["usage"], "may_bill": ["ads"], "budget": {"usd": 1}},
            ACTOR,
        )
        key, text = issued.key, issued.text
        assert await office.store.find_key(key_texts.digest(text)) == (key, team)
        view = key_view(key, team.name, NOW_MS)
        assert view["expires_at"] == "2026-12-31T23:00:00Z"
        assert (view["team"], view["prefix"], view["revoked"]) == ("search", text[:14], False)
        assert text not in json.dumps(view)
        assert key.digest not in json.dumps(view)

    with_office(story)


def test_a_rotated_key_lives_on_for_its_overlap() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        issued = await office.acts.create_key("search", {}, ACTOR)
        key, old = issued.key, issued.text
        rotated = await office.acts.rotate_key("search", key.id, {"overlap_seconds": 60}, ACTOR)
        assert rotated.key.id == key.id
        for text in (old, rotated.text):
            assert await office.store.find_key(key_texts.digest(text)) is not None
        office.store.now_ms = NOW_MS + 60_000
        assert await office.store.find_key(key_texts.digest(old)) is None
        assert await office.store.find_key(key_texts.digest(rotated.text)) is not None

    with_office(story)


@pytest.mark.parametrize("overlap", [-1, 1.5, "60", True, 31 * 86400])
def test_an_overlap_of_another_kind_is_refused(overlap: object) -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        issued = await office.acts.create_key("search", {}, ACTOR)
        key = issued.key
        with pytest.raises(InvalidRequest, match="overlap_seconds must be an integer"):
            await office.acts.rotate_key("search", key.id, {"overlap_seconds": overlap}, ACTOR)

    with_office(story)


def test_a_revoked_key_is_dead_with_its_old_secret_and_stays_listed() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        issued = await office.acts.create_key("search", {}, ACTOR)
        key, old = issued.key, issued.text
        rotated = await office.acts.rotate_key("search", key.id, {"overlap_seconds": 60}, ACTOR)
        await office.acts.revoke_key("search", key.id, ACTOR)
        for text in (old, rotated.text):
            assert await office.store.find_key(key_texts.digest(text)) is None
        _, listed = await office.acts.keys("search")
        assert [entry.revoked_at_ms for entry in listed] == [NOW_MS]
        with pytest.raises(Conflict, match="revoked"):
            await office.acts.rotate_key("search", key.id, {}, ACTOR)
        await office.acts.revoke_key("search", key.id, ACTOR)

    with_office(story)


def test_another_teams_key_is_not_there() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team({"team": "search"}, ACTOR)
        await office.acts.create_team({"team": "ads"}, ACTOR)
        issued = await office.acts.create_key("search", {}, ACTOR)
        key = issued.key
        with pytest.raises(NotFound) as caught:
            await office.acts.revoke_key("ads", key.id, ACTOR)
        assert caught.value.code == "key_not_found"

    with_office(story)


def test_every_act_is_audited_without_a_secret() -> None:
    async def story(office: Office) -> None:
        await office.acts.create_team(FULL_TEAM, ACTOR)
        await office.acts.update_team("search", {"budget": {"usd": "1"}}, ACTOR)
        issued = await office.acts.create_key("search", {}, ACTOR)
        key, text = issued.key, issued.text
        await office.acts.update_key("search", key.id, {"models": ["openai/*"]}, ACTOR)
        rotated = await office.acts.rotate_key("search", key.id, {}, ACTOR)
        await office.acts.revoke_key("search", key.id, ACTOR)
        await office.acts.delete_team("search", ACTOR)
        audit = [audit_view(entry) for entry in await office.acts.audit()]
        assert [entry["act"] for entry in reversed(audit)] == [
            "team.create",
            "team.update",
            "key.create",
            "key.update",
            "key.rotate",
            "key.revoke",
            "team.delete",
        ]
        assert (audit[-1]["actor"], audit[-1]["origin"], audit[-1]["subject"]) == ("cli", "host-1", "search")
        assert (audit[-2]["before"]["budget"]["usd"], audit[-2]["after"]["budget"]["usd"]) == ("100", "1")
        told = json.dumps(audit)
        for secret in (text, rotated.text, key.digest, "a secret of the hook"):
            assert secret not in told

    with_office(story)
