"""The admin API and a team's own view, over HTTP on a real embedded store."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.administration import Administration, wall_clock_ms
from gateway.ids import InferenceIds
from gateway.moments import format_moment
from gateway.periods import day_start_ms, hour_of
from gateway.records import ClosedEntry, Run
from gateway.reports import Reports
from gateway.store.base import AuditEntry, Store, StoreAway
from gateway.store.open import open_store
from gateway.web.admin import AdminServices, admin_routes
from gateway.web.auth import AdminGuard, Authenticator
from gateway.web.team import team_routes

ADMIN_KEY = "correct-horse-battery"
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


@dataclass
class Office:
    http: httpx.AsyncClient
    store: Store

    async def call(self, method: str, path: str, body: Any = None, *, expect: int, key: str | None = None) -> Any:
        headers = ADMIN if key is None else {"authorization": f"Bearer {key}"}
        answer = await self.http.request(method, path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    async def team_with_key(self, name: str, **fields: Any) -> tuple[dict[str, Any], str]:
        team = await self.call("POST", "/admin/v1/teams", {"team": name}, expect=201)
        key = await self.call("POST", f"/admin/v1/teams/{name}/keys", fields, expect=201)
        return team, key["key"]

    async def spend(self, team_id: str, *entries: dict[str, Any]) -> list[str]:
        """Settles closed entries of a team; their inference ids."""
        ids, now_ms, closed = InferenceIds(), wall_clock_ms(), []
        for number, fields in enumerate(entries, 1):
            entry = {
                "inference_id": ids.next(), "number": 1, "last": True, "key_id": "k1", "hub_model": "org/m",
                "provider": "groq", "provider_model": "pm", "request_id": "label", "status": 200, "answered": True,
                **fields,
            }  # fmt: skip
            hour = hour_of(now_ms, "UTC")
            closed.append(
                ClosedEntry(
                    kind="use", seq=number, prev=number - 1, at_ms=now_ms, day=hour.day, team_id=team_id,
                    hour_start_ms=hour.start_ms, day_start_ms=day_start_ms(hour.day, "UTC"), **entry,
                )
            )  # fmt: skip
        settled = await self.store.settle(Run(team_id, "i_test", 0, tuple(closed)))
        assert settled.outcome == "applied"
        return [entry.inference_id for entry in closed]


class _Away:
    """Stands before a store that was closed: every question ends in StoreAway."""

    def __getattr__(self, name: str) -> Any:
        async def away(*_: Any, **__: Any) -> None:
            raise StoreAway("it is being restarted")

        return away


class _Lagging:
    """A store one of whose replicas is behind."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append_audit(self, entry: AuditEntry) -> bool:
        await self._store.append_audit(entry)
        return False


@asynccontextmanager
async def office(
    tmp_path: Path, admin_key: str | None = ADMIN_KEY, *, away: bool = False, lagging: bool = False
) -> AsyncIterator[Office]:
    store = await open_store(state_dir=tmp_path)
    asked: Any = _Away() if away else _Lagging(store) if lagging else store
    authenticator = Authenticator(asked)
    reports = Reports(asked, lambda: "UTC")
    services = AdminServices(AdminGuard(admin_key), lambda: Administration(asked), reports, lambda: None)
    app = Starlette(routes=[*admin_routes(services), *team_routes(authenticator, reports)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        yield Office(http, store)
    await authenticator.aclose()
    await store.aclose()


def in_office(tmp_path: Path, story: Callable[[Office], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with office(tmp_path, **options) as here:
            await story(here)

    asyncio.run(run())


def test_what_a_failover_could_undo_is_said_to_be_so(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        teams = "/admin/v1/teams"
        assert (await here.call("POST", teams, {"team": "search"}, expect=201))["durable"] is False
        assert (await here.call("PATCH", f"{teams}/search", {"models": ["a/*"]}, expect=200))["durable"] is False
        key = await here.call("POST", f"{teams}/search/keys", expect=201)
        assert (key["durable"], key["key"][:6]) == (False, "hf_gw_")
        one = f"{teams}/search/keys/{key['id']}"
        assert (await here.call("PATCH", one, {"models": ["a/*"]}, expect=200))["durable"] is False
        assert (await here.call("POST", f"{one}/rotate", expect=200))["durable"] is False
        for place in (one, f"{teams}/search"):
            answer = await here.http.delete(place, headers=ADMIN)
            assert (answer.status_code, answer.headers["x-gateway-durable"]) == (204, "false")

    async def durable(here: Office) -> None:
        made = await here.http.post("/admin/v1/teams", json={"team": "ads"}, headers=ADMIN)
        assert "durable" not in made.json()
        assert "x-gateway-durable" not in made.headers

    in_office(tmp_path, story, lagging=True)
    in_office(tmp_path, durable)


def test_a_team_lives_from_creation_to_deletion(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        made = await here.call(
            "POST", "/admin/v1/teams", {"team": "search", "budget": {"usd": "100.00", "period": "day"}}, expect=201
        )
        assert made["budget"]["usd"] == "100"
        taken = await here.call("POST", "/admin/v1/teams", {"team": "search"}, expect=409)
        assert taken["error"]["code"] == "team_exists"
        listed = await here.call("GET", "/admin/v1/teams", expect=200)
        assert listed == {"data": [made]}
        changed = await here.call("PATCH", "/admin/v1/teams/search", {"limits": {"requests_per_minute": 5}}, expect=200)
        assert changed == made | {"limits": {"requests_per_minute": 5, "tokens_per_minute": None, "concurrency": None}}
        assert await here.call("GET", "/admin/v1/teams/search", expect=200) == changed
        await here.call("DELETE", "/admin/v1/teams/search", expect=204)
        gone = await here.call("GET", "/admin/v1/teams/search", expect=404)
        assert gone["error"] == {
            "message": "there is no team 'search'.",
            "type": "invalid_request_error",
            "param": None,
            "code": "team_not_found",
        }
        again = await here.call("POST", "/admin/v1/teams", {"team": "search"}, expect=201)
        assert again["id"] != made["id"]

    in_office(tmp_path, story)


def test_a_key_opens_until_it_is_rotated_away_or_revoked(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        await here.call("POST", "/admin/v1/teams", {"team": "search"}, expect=201)
        made = await here.call("POST", "/admin/v1/teams/search/keys", expect=201)
        path = f"/admin/v1/teams/search/keys/{made['id']}"
        await here.call("GET", "/v1/usage", key=made["key"], expect=200)
        shown = await here.call("GET", path, expect=200)
        assert made == shown | {"key": made["key"], "last_used_at": None}
        assert (await here.call("PATCH", path, {"models": ["a/*"]}, expect=200))["models"] == ["a/*"]
        rotated = await here.call("POST", f"{path}/rotate", {"overlap_seconds": 86400}, expect=200)
        assert rotated["id"] == made["id"]
        for key in (made["key"], rotated["key"]):
            await here.call("GET", "/v1/usage", key=key, expect=200)
        last = await here.call("POST", f"{path}/rotate", {"overlap_seconds": 0}, expect=200)
        await here.call("DELETE", path, expect=204)
        await here.call("GET", "/v1/usage", key=last["key"], expect=401)
        [listed] = (await here.call("GET", "/admin/v1/teams/search/keys", expect=200))["data"]
        assert (listed["id"], listed["revoked"]) == (made["id"], True)
        refused = await here.call("POST", f"{path}/rotate", expect=409)
        assert refused["error"]["code"] == "key_not_live"

    in_office(tmp_path, story)


def test_a_deleted_teams_keys_are_dead_and_its_usage_stays(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        team, key = await here.team_with_key("search")
        await here.spend(team["id"], {"charge_nano_usd": 7})
        await here.call("DELETE", "/admin/v1/teams/search", expect=204)
        await here.call("GET", "/v1/usage", key=key, expect=401)
        usage = await here.call("GET", "/admin/v1/usage?group_by=team", expect=200)
        assert [(row["team"], row["cost_usd"]) for row in usage["data"]] == [("search", "0.000000007")]

    in_office(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b'{"team": "a", "budget": {"usd": NaN}}', 400, "not JSON"),
        (b"[" * 5000, 400, "not JSON"),
        (b'{"team": "a", "modles": []}', 400, "Did you mean 'models'?"),
        (b'{"team": "' + b"a" * (1 << 20) + b'"}', 413, "larger than 1 MiB"),
    ],
)
def test_a_bad_body_is_refused_with_a_reason(tmp_path: Path, body: bytes, status: int, says: str) -> None:
    async def story(here: Office) -> None:
        answer = await here.http.post("/admin/v1/teams", content=body, headers=ADMIN)
        assert answer.status_code == status
        assert says in answer.json()["error"]["message"]

    in_office(tmp_path, story)


PATHS = ["/admin/v1/teams", "/admin/v1/teams/a", "/admin/v1/teams/a/keys", "/admin/v1/usage", "/admin/v1/audit"]


@pytest.mark.parametrize("path", [*PATHS, "/admin/v1/requests/a"])
@pytest.mark.parametrize(("admin_key", "status"), [(ADMIN_KEY, 401), (None, 404)])
def test_every_admin_route_is_behind_the_guard(tmp_path: Path, path: str, admin_key: str | None, status: int) -> None:
    async def story(here: Office) -> None:
        for headers in ({}, {"authorization": "Bearer wrong-key-of-some-length"}):
            answer = await here.http.get(path, headers=headers)
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == {401: "invalid_api_key", 404: "not_found"}[status]

    in_office(tmp_path, story, admin_key=admin_key)


def test_usage_is_grouped_and_adds_up(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        search, key = await here.team_with_key("search")
        ads, _ = await here.team_with_key("ads")
        used = {"prompt_tokens": 10, "completion_tokens": 5, "charge_nano_usd": 100, "provider_cost_nano_usd": 90}
        await here.spend(search["id"], used, used | {"provider": "together"}, used | {"tags": {"env": "prod"}})
        await here.spend(ads["id"], used)
        found = await here.call("GET", "/admin/v1/usage?group_by=team,provider", expect=200)
        assert [(row["team"], row["provider"], row["requests"], row["cost_usd"]) for row in found["data"]] == [
            ("ads", "groq", 1, "0.0000001"),
            ("search", "groq", 2, "0.0000002"),
            ("search", "together", 1, "0.0000001"),
        ]
        assert (found["total"]["total_tokens"], found["total"]["provider_cost_usd"]) == (60, "0.00000036")
        tagged = await here.call("GET", "/admin/v1/usage?group_by=tag:env&team=search", expect=200)
        assert [(row["tag"], row["requests"]) for row in tagged["data"]] == [("prod", 1), (None, 2)]
        just_now = format_moment(wall_clock_ms() - 1000)
        lately = await here.call("GET", f"/admin/v1/usage?from={just_now}", expect=200)
        assert lately["total"]["requests"] == 4
        answer = await here.http.get("/admin/v1/usage?group_by=day&format=csv", headers=ADMIN)
        assert answer.headers["content-type"].startswith("text/csv")
        [line] = csv.DictReader(io.StringIO(answer.text))
        assert line["requests"] == "4"
        own = await here.call("GET", "/v1/usage?group_by=model", key=key, expect=200)
        assert [(row["model"], row["requests"]) for row in own["data"]] == [("org/m", 3)]
        assert "provider_cost_usd" not in own["total"]

    in_office(tmp_path, story)


@pytest.mark.parametrize(
    ("query", "param"),
    [("form=csv", "form"), ("format=xml", "format"), ("from=x", "from"), ("group_by=x", "group_by")],
)
def test_a_wrong_question_names_its_parameter(tmp_path: Path, query: str, param: str) -> None:
    async def story(here: Office) -> None:
        refused = await here.call("GET", f"/admin/v1/usage?{query}", expect=400)
        assert refused["error"]["param"] == param

    in_office(tmp_path, story)


def test_a_team_sees_its_own_requests_and_no_others(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        search, key = await here.team_with_key("search")
        _, other = await here.team_with_key("ads")
        inference_id = InferenceIds().next()
        await here.spend(
            search["id"],
            {
                "inference_id": inference_id,
                "last": False,
                "status": 429,
                "failure": "rate_limited",
                "answered": False,
                "prompt_tokens": 9,
            },
            {"inference_id": inference_id, "number": 2, "provider": "together", "charge_nano_usd": 42},
            {"request_id": "later", "charge_nano_usd": 1},
        )
        found = await here.call("GET", f"/v1/requests/{inference_id}", key=key, expect=200)
        assert (found["team"], found["cost_usd"], found["finished"]) == ("search", "0.000000042", True)
        assert found["prompt_tokens"] == 0, "what did not answer is not charged"
        assert [(one["provider"], one["status"], one["answered"]) for one in found["attempts"]] == [
            ("groq", 429, False),
            ("together", 200, True),
        ]
        assert await here.call("GET", "/v1/requests/label", key=key, expect=200) == found
        later = await here.call("GET", "/v1/requests/later", key=key, expect=200)
        assert later["cost_usd"] == "0.000000001"
        mine = await here.call("GET", f"/v1/requests/{inference_id}", key=other, expect=404)
        nobodys = InferenceIds().next()
        none = await here.call("GET", f"/v1/requests/{nobodys}", key=other, expect=404)
        assert str(mine).replace(inference_id, "") == str(none).replace(nobodys, "")
        admins = await here.call("GET", f"/admin/v1/requests/{inference_id}", expect=200)
        assert "provider_cost_usd" in admins["attempts"][0]
        await here.call("GET", "/admin/v1/requests/label", expect=404)

    in_office(tmp_path, story)


def test_costs_are_told_by_inference_id_for_what_a_team_was_billed(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        search, key = await here.team_with_key("search", scopes=["inference"])
        _, other = await here.team_with_key("ads")
        paid, unpriced, running = await here.spend(
            search["id"], {"charge_nano_usd": 42}, {"charge_nano_usd": None}, {"last": False}
        )
        asked = {"requestIds": [paid, unpriced, running, paid, InferenceIds().next(), "label", ""]}
        found = await here.call("POST", "/v1/billing/costs", asked, key=key, expect=200)
        assert found == {"requests": [{"requestId": paid, "costNanoUsd": 42}]}
        assert await here.call("POST", "/v1/billing/costs", asked, key=other, expect=200) == {"requests": []}
        wrongs: list[Any] = [{}, {"requestIds": [1]}, []]
        for wrong in wrongs:
            refused = await here.call("POST", "/v1/billing/costs", wrong, key=key, expect=400)
            assert refused["error"]["param"] == "requestIds"

    in_office(tmp_path, story)


def test_a_key_without_the_scope_reads_no_usage(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        _, key = await here.team_with_key("search", scopes=["inference"])
        refused = await here.call("GET", "/v1/usage", key=key, expect=403)
        assert refused["error"]["type"] == "permission_error"

    in_office(tmp_path, story)


def test_the_audit_tells_who_did_what_newest_first(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        _, key = await here.team_with_key("search")
        found = await here.call("GET", "/admin/v1/audit", expect=200)
        assert [(entry["act"], entry["actor"]) for entry in found["data"]] == [
            ("key.create", "admin-api"),
            ("team.create", "admin-api"),
        ]
        assert found["data"][0]["origin"] == "127.0.0.1"
        assert key not in str(found)
        assert len((await here.call("GET", "/admin/v1/audit?limit=1", expect=200))["data"]) == 1
        await here.call("GET", "/admin/v1/audit?limit=0", expect=400)

    in_office(tmp_path, story)


def test_a_store_that_is_away_is_said_and_never_a_503(tmp_path: Path) -> None:
    async def story(here: Office) -> None:
        answer = await here.http.get("/admin/v1/teams", headers=ADMIN)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "ledger_unavailable"
        assert "retry-after" in answer.headers

    in_office(tmp_path, story, away=True)
