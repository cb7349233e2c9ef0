"""/admin/v1: teams, keys, usage, the story of a request, the audit. One guard before all of it.

The acts are `administration`'s and the answers `tenant_views`' and `reports`'; here are only routes and status codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.administration import AUDIT_SHOWN, Actor, Administration, wall_clock_ms
from gateway.errors import InvalidRequest
from gateway.reports import Reports
from gateway.suggest import did_you_mean
from gateway.tenant_views import audit_view, key_view, team_view
from gateway.tenants import Key, Team
from gateway.usage_report import FORMATS, read_query
from gateway.web.auth import AdminGuard
from gateway.web.json_body import Handler, answering_errors, raw_headers, read_json
from gateway.web.responses import json_response

USAGE_PARAMETERS: Final = ("from", "to", "team", "group_by", "format")


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the admin routes stand on."""

    guard: AdminGuard
    administration: Callable[[], Administration]
    """One for each request."""
    reports: Reports
    changed: Callable[[], None]
    """Called after each act, so that this worker knows of it at once."""
    clock_ms: Callable[[], int] = wall_clock_ms


def admin_routes(services: AdminServices) -> list[Route]:
    """Every route asks the guard before anything else."""
    teams, keys, questions = _Teams(services), _Keys(services), _Questions(services)
    team, key = "/admin/v1/teams/{team}", "/admin/v1/teams/{team}/keys/{key_id}"
    table: list[tuple[str, str, Handler]] = [
        ("POST", "/admin/v1/teams", teams.create),
        ("GET", "/admin/v1/teams", teams.list),
        ("GET", team, teams.show),
        ("PATCH", team, teams.update),
        ("DELETE", team, teams.delete),
        ("POST", f"{team}/keys", keys.create),
        ("GET", f"{team}/keys", keys.list),
        ("GET", key, keys.show),
        ("PATCH", key, keys.update),
        ("DELETE", key, keys.revoke),
        ("POST", f"{key}/rotate", keys.rotate),
        ("GET", "/admin/v1/usage", questions.usage),
        ("GET", "/admin/v1/requests/{inference_id}", questions.story),
        ("GET", "/admin/v1/audit", questions.audit),
    ]
    by_path: dict[str, dict[str, Handler]] = {}
    for method, path, handler in table:
        by_path.setdefault(path, {})[method] = handler
    return [_route(path, handlers, services.guard, services.changed) for path, handlers in by_path.items()]


def _route(path: str, handlers: dict[str, Handler], guard: AdminGuard, changed: Callable[[], None]) -> Route:
    async def guarded(request: Request) -> Response:
        guard.check(raw_headers(request))
        try:
            return await handlers[request.method if request.method != "HEAD" else "GET"](request)
        finally:
            if request.method not in ("GET", "HEAD"):
                changed()

    return Route(path, answering_errors(guarded), methods=list(handlers))


def _actor(request: Request) -> Actor:
    return Actor("admin-api", request.client.host if request.client is not None else "unknown")


def _done(acts: Administration, view: Mapping[str, Any] | None, status: int = 200) -> Response:
    """The answer to a change; `view` None: no content. Where not every replica has the change a failover could undo it,
    and the answer says so."""
    if acts.durable:
        return Response(status_code=204) if view is None else json_response(view, status)
    answer = Response(status_code=204) if view is None else json_response({**view, "durable": False}, status)
    answer.headers["x-gateway-durable"] = "false"
    return answer


class _Teams:
    def __init__(self, services: AdminServices) -> None:
        self._administration = services.administration

    async def create(self, request: Request) -> Response:
        acts = self._administration()
        team = await acts.create_team(await read_json(request), _actor(request))
        return _done(acts, team_view(team), 201)

    async def list(self, request: Request) -> Response:
        return json_response({"data": [team_view(team) for team in await self._administration().teams()]})

    async def show(self, request: Request) -> Response:
        return json_response(team_view(await self._administration().team(request.path_params["team"])))

    async def update(self, request: Request) -> Response:
        acts, given = self._administration(), await read_json(request)
        return _done(acts, team_view(await acts.update_team(request.path_params["team"], given, _actor(request))))

    async def delete(self, request: Request) -> Response:
        acts = self._administration()
        await acts.delete_team(request.path_params["team"], _actor(request))
        return _done(acts, None)


class _Keys:
    def __init__(self, services: AdminServices) -> None:
        self._administration = services.administration
        self._clock_ms = services.clock_ms

    async def create(self, request: Request) -> Response:
        acts, given = self._administration(), await read_json(request, optional=True)
        issued = await acts.create_key(request.path_params["team"], given, _actor(request))
        return _done(acts, {**self._view(issued.team, issued.key), "key": issued.text}, 201)

    async def list(self, request: Request) -> Response:
        team, keys = await self._administration().keys(request.path_params["team"])
        return json_response({"data": [self._view(team, key) for key in keys]})

    async def show(self, request: Request) -> Response:
        return json_response(self._view(*await self._administration().key(*_key_path(request))))

    async def update(self, request: Request) -> Response:
        acts, given = self._administration(), await read_json(request)
        return _done(acts, self._view(*await acts.update_key(*_key_path(request), given, _actor(request))))

    async def rotate(self, request: Request) -> Response:
        acts, given = self._administration(), await read_json(request, optional=True)
        issued = await acts.rotate_key(*_key_path(request), given, _actor(request))
        return _done(acts, {**self._view(issued.team, issued.key), "key": issued.text})

    async def revoke(self, request: Request) -> Response:
        acts = self._administration()
        await acts.revoke_key(*_key_path(request), _actor(request))
        return _done(acts, None)

    def _view(self, team: Team, key: Key) -> dict[str, Any]:
        return key_view(key, team.name, self._clock_ms())


def _key_path(request: Request) -> tuple[str, str]:
    return request.path_params["team"], request.path_params["key_id"]


class _Questions:
    def __init__(self, services: AdminServices) -> None:
        self._administration = services.administration
        self._reports = services.reports
        self._clock_ms = services.clock_ms

    async def usage(self, request: Request) -> Response:
        names = [name for text in request.query_params.getlist("team") for name in text.split(",") if name]
        return await usage_response(
            request,
            self._reports,
            now_ms=self._clock_ms(),
            team_ids=await self._reports.team_ids(names) if names else None,
            provider_costs=True,
        )

    async def story(self, request: Request) -> Response:
        story = await self._reports.story(request.path_params["inference_id"], now_ms=self._clock_ms())
        return json_response(story.as_json(provider_costs=True))

    async def audit(self, request: Request) -> Response:
        limit = request.query_params.get("limit", str(AUDIT_SHOWN))
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= AUDIT_SHOWN):
            raise InvalidRequest(f"limit must be an integer from 1 to {AUDIT_SHOWN}", param="limit")
        return json_response(
            {"data": [audit_view(entry) for entry in await self._administration().audit(limit=int(limit))]}
        )


async def usage_response(
    request: Request,
    reports: Reports,
    *,
    now_ms: int,
    team_ids: Sequence[str] | None,
    provider_costs: bool,
    parameters: Sequence[str] = USAGE_PARAMETERS,
) -> Response:
    """The report that the query asks for, as JSON or CSV; `team_ids` None: of all teams."""
    given = request.query_params
    for name in given:
        if name not in parameters:
            raise InvalidRequest(
                f"{name[:64]!r} is not a parameter of usage.{did_you_mean(name, parameters)}", param=name[:64]
            )
    form = given.get("format", "json")
    if form not in FORMATS:
        raise InvalidRequest(f"format must be one of: {', '.join(FORMATS)}", param="format")
    query = read_query(
        from_text=given.get("from"),
        to_text=given.get("to"),
        group_by=given.get("group_by"),
        now_ms=now_ms,
        zone=reports.zone_info(),
    )
    report = await reports.usage(query, team_ids)
    if form == "csv":
        return Response(report.as_csv(provider_costs=provider_costs), media_type="text/csv")
    return json_response(report.as_json(provider_costs=provider_costs))
